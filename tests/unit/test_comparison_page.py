"""The comparison's and the ladder's page as files: whole, safe, and equal to the results."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.synthetic_ab_run import AbRun, write_ab_run
from tests.unit.synthetic_ladder import write_synthetic_ladder
from tests.unit.synthetic_run import write_synthetic_run
from vlmprof.cli.report import find_report
from vlmprof.errors import FileUnreadable
from vlmprof.model.ladder import read_ladder
from vlmprof.session.compare import compare_folders
from vlmprof_reports import comparison, ladder

HOSTILE = "</script><script>alert(1)</script><!--"


def _data(page: str) -> Any:
    """What the page's script reads at once."""
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    return json.loads(embedded[1])


def test_the_page_holds_the_result_as_it_is(tmp_path: Path) -> None:
    run = write_ab_run(tmp_path / "run", AbRun(rounds=3))
    result = compare_folders([run])
    assert _data(comparison.render([run], result))["result"] == msgspec.to_builtins(result)


def test_the_ladders_page_holds_every_row_without_its_stages(tmp_path: Path) -> None:
    """Stages of ten rows would be most of the file, and the page does not show them."""
    folder = write_synthetic_ladder(tmp_path / "run")
    shown = _data(ladder.render(folder))["ladder"]
    own = msgspec.to_builtins(read_ladder(folder))
    assert [step["title"] for step in shown["steps"]] == [step["title"] for step in own["steps"]]
    assert shown["steps"][0]["comparison"]["metrics"] == own["steps"][0]["comparison"]["metrics"]
    assert shown["steps"][0]["comparison"]["parts"] == []


def test_hostile_names_cannot_end_their_element(tmp_path: Path) -> None:
    """The only scripts are the page's own, and their number does not change."""
    pages = []
    for name, hostile in (("plain", ""), ("hostile", HOSTILE)):
        runs = [
            write_synthetic_run(tmp_path / f"{name}{i}", requests=n, hostile=hostile)
            for i, n in ((0, 12), (1, 24))
        ]
        pages.append(comparison.render(runs, compare_folders(runs)))
        pages.append(ladder.render(write_synthetic_ladder(tmp_path / f"{name}-ladder", hostile=hostile)))
    assert pages[0].count("<script") == pages[2].count("<script")
    assert pages[1].count("<script") == pages[3].count("<script")
    assert "alert(1)</script>" not in pages[2] + pages[3]


def test_both_are_offered_to_the_command_line() -> None:
    assert find_report("comparison") is comparison.render
    assert find_report("ladder") is ladder.render


def test_a_run_without_a_ladder_has_no_such_page(tmp_path: Path) -> None:
    run = write_ab_run(tmp_path / "run", AbRun(rounds=3))
    with pytest.raises(FileUnreadable, match=r"ladder\.json"):
        ladder.render(run)
