"""The result in the terminal."""

import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.unit.synthetic_run import write_synthetic_run
from vlmprof.cli.render import render_summary
from vlmprof.cli.terminal_text import keep_ends, keep_start, plain, solid_bar, thin_bar
from vlmprof.model.results import SummaryResult, read_summary
from vlmprof.model.run_info import ClockEvidence, RunInfo, SourceQuality

HOSTILE = "\x1b]0;owned\x07\x1b[31m[bold]</script>'\"\u202e 🎉漢字\n\r\t" + "x" * 5000


def _text(summary: SummaryResult, info: RunInfo, width: int, *, colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="truecolor" if colour else None
    )
    console.print(render_summary(summary, info, width, report=Path("runs/demo/report.html")))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [100, 120])
def test_the_terminal_result_of_a_whole_run(
    tmp_path: Path, golden: Callable[[str, str], None], width: int
) -> None:
    """12 requests of the synthetic run; every line fits the width, nothing wraps."""
    folder = write_synthetic_run(tmp_path / "run")
    text = _text(read_summary(folder), folder.read_info(), width)
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(cell_len(line) for line in lines) <= width
    golden(f"terminal_{width}.txt", "\n".join(lines) + "\n")


def test_colour_adds_nothing_that_the_plain_text_does_not_say(tmp_path: Path) -> None:
    """Without its escape sequences the coloured text is the plain one."""
    folder = write_synthetic_run(tmp_path / "run")
    summary, info = read_summary(folder), folder.read_info()
    console = Console(file=io.StringIO(), width=100)
    coloured = _text(summary, info, 100, colour=True)
    assert "\x1b[" in coloured
    without = "".join(
        part.partition("m")[2] if number else part for number, part in enumerate(coloured.split("\x1b["))
    )
    assert without == _text(summary, info, 100)
    assert console.width == 100


@pytest.mark.parametrize("width", [80, 100, 120, 300])
def test_hostile_names_neither_steer_the_terminal_nor_break_the_layout(tmp_path: Path, width: int) -> None:
    """Escape sequences, markup, bidi overrides, line breaks and 5,000 characters in every name."""
    folder = write_synthetic_run(tmp_path / "run", hostile=HOSTILE)
    info = msgspec.structs.replace(folder.read_info(), error=HOSTILE, status="partial")
    text = _text(read_summary(folder), info, width)
    assert not set(text) & set("\x1b\x07\r\t\u202e")
    assert "[bold]" in text
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert len(text.splitlines()) < 90


def test_a_run_without_results_still_says_what_happened(tmp_path: Path) -> None:
    """No request, no samples, no processes: the diagnosis, the error and nothing that divides by zero."""
    folder = write_synthetic_run(tmp_path / "run")
    full = read_summary(folder)
    empty = msgspec.structs.replace(
        full,
        diagnosis="No request got a first token.",
        control=None,
        profiled=None,
        groups=[],
        stages=[],
        processes=[],
        hot=[],
        split=None,
    )
    info = msgspec.structs.replace(folder.read_info(), overhead=None, error="the engine died")
    text = _text(empty, info, 100)
    assert "No request got a first token." in text
    assert "the engine died" in text


def test_a_run_that_was_cut_off_says_so(tmp_path: Path) -> None:
    """Status partial: a warning above all others."""
    folder = write_synthetic_run(tmp_path / "run")
    info = msgspec.structs.replace(folder.read_info(), status="partial")
    assert "Warnings  the run is partial" in _text(read_summary(folder), info, 100)


def test_many_clocks_become_one_line_with_the_worst(tmp_path: Path) -> None:
    """Five sources of 1 to 5 ms."""
    folder = write_synthetic_run(tmp_path / "run")
    clocks = [
        ClockEvidence(source=f"austin:{n}", method="", offset_ns=0, drift_ppm=0, uncertainty_ns=n * 1_000_000)
        for n in range(1, 6)
    ]
    info = msgspec.structs.replace(folder.read_info(), clocks=clocks)
    text = _text(read_summary(folder), info, 100)
    assert "5 clocks aligned; the least certain: clock of austin:5 ±5.00 ms" in text


def test_losses_other_than_missed_samples_are_named(tmp_path: Path) -> None:
    """A source without samples but with dropped records and a cut-off file."""
    folder = write_synthetic_run(tmp_path / "run")
    quality = [SourceQuality(source="spans", dropped=1200, truncated=True)]
    info = msgspec.structs.replace(folder.read_info(), quality=quality)
    assert "spans: 1,200 dropped, truncated" in _text(read_summary(folder), info, 100)


@pytest.mark.parametrize(
    ("path", "width", "kept"),
    [
        ("vllm/layers/linear.py:229", 25, "vllm/layers/linear.py:229"),
        ("vllm/model_executor/layers/linear.py:229", 30, "vllm/…/layers/linear.py:229"),
        ("vllm/model_executor/layers/linear.py:229", 14, "…/linear.py:229"[-14:].replace("/", "…", 1)),
        ("x.py:3", 4, "…y:3"),
    ],
)
def test_a_long_path_keeps_its_package_and_its_end(path: str, width: int, kept: str) -> None:
    """Folders in the middle go first."""
    assert keep_ends(path, width) == kept
    assert cell_len(kept) <= width


def test_a_wide_character_is_never_cut_in_half() -> None:
    """漢字漢字 has 8 cells; in 6 there is room for two characters and the ellipsis."""
    assert keep_start("漢字漢字", 6) == "漢字…"


def test_control_characters_become_visible() -> None:
    """An escape sequence that would set the title."""
    assert plain("a\x1b]0;b\x07") == "a�]0;b�"


def test_bars_are_never_longer_than_their_track() -> None:
    """Half of ten cells; a sliver at the very end still shows."""
    assert solid_bar(0.0, 0.5, 10).plain == "█████"
    assert solid_bar(1.0, 0.001, 10).plain == " " * 9 + "▏"
    assert thin_bar(0.25, 0.5, 10).plain == "  ╺━━━━╸"
    assert thin_bar(1.0, 0.001, 10).plain == " " * 9 + "╺"
