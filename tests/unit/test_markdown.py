"""Reports as Markdown: `report.md` and `ladder.md`, as a pull request shows them."""

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.browser.traced_run import write_traced_run
from tests.unit.synthetic_ladder import write_synthetic_ladder
from tests.unit.synthetic_run import write_empty_run, write_synthetic_run
from vlmprof.cli.ladder import write_ladder
from vlmprof.cli.ladder_markdown import ladder_markdown
from vlmprof.cli.markdown_text import commands, text
from vlmprof.cli.report import report, report_markdown, write_report
from vlmprof.model.ladder import read_ladder
from vlmprof.model.run_info import BaselineUse

HOSTILE = "</script><img src=x onerror=alert(1)>|`[x](javascript:1)` ``` @user\x1b[31m\u202e\n# head"
OWN_TAGS = re.compile(r"(?<!\\)<(?!/?(?:details|summary)>)")


def test_a_run_as_markdown_is_the_golden_text(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    """Diagnosis, TTFT, stages, suggestions with their commands, functions, quality."""
    golden("report.md", report_markdown(write_traced_run(tmp_path / "run")))


def test_a_ladder_as_markdown_is_the_golden_text(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    golden("ladder.md", ladder_markdown(read_ladder(write_synthetic_ladder(tmp_path / "run"))))


def test_a_ladder_from_an_old_behaviour_names_it_in_its_first_row(tmp_path: Path) -> None:
    """And says which row is the engine as it is, and what it does not leave out."""
    ladder = read_ladder(write_synthetic_ladder(tmp_path / "run"))
    use = BaselineUse(name="pil", title="PIL and numpy", recipe=2, span="mm.pil")
    told = ladder_markdown(
        msgspec.structs.replace(ladder, baseline=use, notes=["no row leaves out recipe 2"])
    )
    assert "| baseline pil | 231.5 |" in told
    assert "; the baseline is PIL and numpy, + 2 the engine as it is today" in told
    assert "- Note: no row leaves out recipe 2" in told


def test_a_run_with_an_old_behaviour_says_so_beside_its_recipes(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run")
    assert "baseline" not in report_markdown(folder).partition("\n\n")[2].partition("\n")[0]
    use = BaselineUse(name="pil", title="PIL and numpy", recipe=2, span="mm.pil")
    folder.write_info(msgspec.structs.replace(folder.read_info(), baseline=use))
    assert "baseline pil (PIL and numpy) · " in report_markdown(folder)


def test_the_markdown_stands_beside_the_page_wherever_that_is(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run")
    write_report(folder)
    write_report(folder, tmp_path / "page.html")
    assert (folder.path / "report.md").read_text(encoding="utf-8") == report_markdown(folder)
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == report_markdown(folder)


def test_a_ladders_own_pages_are_written_again_with_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`vlmprof report --markdown` prints the run's; ladder.html and ladder.md stand in the folder."""
    folder = write_synthetic_ladder(tmp_path / "run")
    report(folder.path, markdown=True)
    assert capsys.readouterr().out == report_markdown(folder)
    again = {path.name: path.read_text(encoding="utf-8") for path in write_ladder(folder)}
    assert set(again) == {"ladder.html", "ladder.md"}
    assert again["ladder.md"] == ladder_markdown(read_ladder(folder))


def test_a_run_without_requests_says_so(tmp_path: Path) -> None:
    markdown = report_markdown(write_empty_run(tmp_path / "run"))
    assert "No request got a first token." in markdown
    assert "the engine died" in markdown


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    """No tag but ours, no heading but the first line, every table row with as many cells as its head."""
    ladder = read_ladder(write_synthetic_ladder(tmp_path / "ladder", hostile=HOSTILE))
    for markdown in (
        report_markdown(write_traced_run(tmp_path / "run", hostile=HOSTILE)),
        ladder_markdown(ladder),
    ):
        outside = re.sub(r"(?s)(`{4,})sh\n.*?\n\1\n", "", markdown)
        assert not OWN_TAGS.search(outside)
        assert not {"\x1b", "\u202e"} & set(markdown)
        assert [line for line in outside.splitlines() if line.startswith("#")] == [outside.splitlines()[0]]
        assert not re.search(r"(?<!\\)[`@]", outside)
        _check_tables(outside)


def _check_tables(markdown: str) -> None:
    for block in markdown.split("\n\n"):
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines() if line.startswith("|")]
        assert len(set(cells)) <= 1


def test_a_fence_is_longer_than_any_in_its_commands() -> None:
    """A command with four backticks needs five around it."""
    assert commands(["a ```` b", "c"]) == ["`````sh", "a ```` b", "c", "`````"]


def test_a_long_name_is_cut_before_it_is_escaped() -> None:
    """Three stars of ten: each escaped, and the ellipsis."""
    assert text("*" * 10, 3) == r"\*\*\*…"
