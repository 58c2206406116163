"""A finished run whose captures were spoilt afterwards: results from what is left, and a word about it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.vlmprof_process import Outcome, assert_refused
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import read_table

pytestmark = pytest.mark.e2e

Run = Callable[..., Outcome]


@pytest.fixture
def mojo(run_copy: Path) -> Path:
    """austin's capture in the copy; skips where austin did not run."""
    path = run_copy / "raw" / "austin.mojo"
    if not path.exists():
        pytest.skip("the run has no austin capture: see `vlmprof doctor`")
    return path


def test_a_truncated_austin_capture_gives_the_samples_before_the_cut(
    run_cli: Run, run_copy: Path, mojo: Path
) -> None:
    """Cut in the middle of a sample, two thirds into the file: fewer samples, the same breakdown, marked."""
    folder = RunFolder(run_copy)
    breakdown = (folder.results / "breakdown.json").read_bytes()
    samples = read_table(folder, "samples").num_rows
    with mojo.open("r+b") as capture:
        capture.truncate(mojo.stat().st_size * 2 // 3 + 1)
    outcome = run_cli("report", run_copy, "--rebuild")
    assert outcome.exit_code == 0, outcome.stderr
    assert (folder.results / "breakdown.json").read_bytes() == breakdown
    assert 0 < read_table(folder, "samples").num_rows < samples
    (austin,) = [source for source in folder.read_info().quality if source.source == "austin"]
    assert austin.truncated
    assert "truncated" in outcome.stdout


def test_without_its_austin_capture_a_run_keeps_its_waterfall(
    run_cli: Run, run_copy: Path, mojo: Path
) -> None:
    """The spans alone give the same breakdown; there are no functions to show."""
    folder = RunFolder(run_copy)
    breakdown = (folder.results / "breakdown.json").read_bytes()
    mojo.unlink()
    outcome = run_cli("report", run_copy, "--rebuild")
    assert outcome.exit_code == 0, outcome.stderr
    assert (folder.results / "breakdown.json").read_bytes() == breakdown
    assert read_table(folder, "samples").num_rows == 0


def test_a_foreign_file_in_the_place_of_the_capture_is_left_out_and_named(
    run_cli: Run, run_copy: Path, mojo: Path
) -> None:
    """No MOJO at all: a warning in the result, not a crash."""
    mojo.write_bytes(b"P5 640 480 255\n" * 1000)
    outcome = run_cli("report", run_copy, "--rebuild")
    assert outcome.exit_code == 0, outcome.stderr
    assert any("austin.mojo" in warning for warning in RunFolder(run_copy).read_info().analysis_warnings)


def test_a_span_file_that_a_kill_cut_costs_its_last_record_only(run_cli: Run, run_copy: Path) -> None:
    """Seven bytes less than whole records, in each process: the run is shown, the loss is in its quality."""
    for spans in (run_copy / "raw").glob("spans.*.bin"):
        with spans.open("r+b") as records:
            records.truncate(spans.stat().st_size - 7)
    outcome = run_cli("report", run_copy, "--rebuild")
    assert outcome.exit_code == 0, outcome.stderr
    sources = [
        source for source in RunFolder(run_copy).read_info().quality if source.source.startswith("spans:")
    ]
    assert len(sources) >= 3
    assert all(source.truncated for source in sources)


def test_a_damaged_run_json_is_refused(run_cli: Run, run_copy: Path) -> None:
    """It ends in the middle: exit code 5."""
    path = run_copy / "run.json"
    path.write_bytes(path.read_bytes()[:200])
    assert_refused(run_cli("report", run_copy), 5, "run.json is damaged")


def test_a_damaged_table_is_refused(run_cli: Run, run_copy: Path) -> None:
    """samples.parquet holds nothing of Parquet: exit code 5, or what makes the tables anew."""
    (run_copy / "tables" / "samples.parquet").write_bytes(b"nothing")
    assert_refused(run_cli("report", run_copy), 5, "samples.parquet")
    assert run_cli("report", run_copy, "--rebuild").exit_code == 0
