"""`vlmprof report RUN`."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.synthetic_run import write_synthetic_run
from vlmprof.cli.report import find_report, report, report_markdown, write_report
from vlmprof.errors import FileUnreadable, ToolMissing


def test_the_page_is_written_into_the_run_and_the_result_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """report.html in the folder; the diagnosis and the page's place in the terminal."""
    folder = write_synthetic_run(tmp_path / "run")
    report(folder.path)
    assert folder.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "46% of TTFT is the vision encoder" in capsys.readouterr().out


def test_json_is_one_object_with_the_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else on stdout; the summary is that of results/summary.json."""
    folder = write_synthetic_run(tmp_path / "run")
    report(folder.path, out=tmp_path / "page.html", json_=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["summary"] == json.loads((folder.results / "summary.json").read_bytes())
    assert printed["report"] == str(tmp_path / "page.html")
    assert not folder.report.exists()


def test_markdown_can_be_asked_for_by_the_page_s_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """page.md is Markdown, as the report says; the page itself is not rendered."""
    monkeypatch.setenv("COLUMNS", "200")
    folder = write_synthetic_run(tmp_path / "run")
    page = tmp_path / "page.md"
    report(folder.path, out=page)
    assert page.read_text(encoding="utf-8") == report_markdown(folder)
    assert str(page) in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.md", "run"]


def test_a_folder_gets_the_page_and_the_markdown(tmp_path: Path) -> None:
    """As `compare --out` does it; a name that no folder has is the page's."""
    folder = write_synthetic_run(tmp_path / "run")
    (tmp_path / "pages").mkdir()
    assert write_report(folder, tmp_path / "pages") == tmp_path / "pages" / "report.html"
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == ["report.html", "report.md"]
    write_report(folder, tmp_path / "new")
    assert (tmp_path / "new").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "new.md").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    """An empty folder has no run.json."""
    with pytest.raises(FileUnreadable, match="is no run folder"):
        report(tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The parent of the page is a file."""
    folder = write_synthetic_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileUnreadable, match="cannot write") as caught:
        write_report(folder, tmp_path / "file" / "page.html")
    assert "--out" in caught.value.hint


def test_a_report_that_nobody_offers_is_missing() -> None:
    """The entry-point group has no such name."""
    with pytest.raises(ToolMissing, match="no package offers the report 'nonsense'"):
        find_report("nonsense")


def test_a_report_whose_package_is_broken_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point that points to a module that is not there."""
    from importlib import metadata

    broken = metadata.EntryPoint(name="run", value="no_such_module:render", group="vlmprof.reports")

    def entry_points(**_: Any) -> list[metadata.EntryPoint]:
        return [broken]

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    with pytest.raises(ToolMissing, match="no_such_module"):
        find_report("run")
