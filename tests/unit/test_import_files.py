"""`vlmprof import`: files of other programs, alone and mixed, on one clock or side by side."""

import gzip
import json
import shutil
from contextlib import suppress
from pathlib import Path

import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.unit.shared_data import shared_file
from vlmprof.cli.main import app
from vlmprof.errors import FileUnreadable
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import read_table
from vlmprof.read.kineto import read_kineto
from vlmprof.read.nsys_sqlite import read_gpu, read_nvtx
from vlmprof.session.import_files import count_rows, import_files
from vlmprof.session.import_readers import read_any
from vlmprof.session.pipeline import rebuild

_STACKS = "P41;T42;main (server.py:10) 1500\n"


@pytest.mark.parametrize("fragment", ["9d9d2ff8", "c8f71ebb", "cfa580dc", "4f6385d6", "55daaac0", "53aaf065"])
def test_real_nsys_exports_become_runs(fragment: str, tmp_path: Path) -> None:
    """As many rows as the reader gives, which are as many as SQL counts; times are unix times."""
    path = shared_file("nsys", fragment)
    folder = import_files([path], tmp_path / "run")
    gpu, rows = read_gpu(path), count_rows(folder)
    assert rows["gpu_kernels"] == gpu.kernels.num_rows
    assert rows["gpu_copies"] == gpu.copies.num_rows
    assert rows["cuda_api"] == gpu.calls.num_rows
    assert rows["spans"] == len(read_nvtx(path, kinds=(59, 60), close_open_ranges=True))
    first_ns = read_table(folder, "cuda_api")["start_ns"][0].as_py()
    assert first_ns == gpu.calls["start_ns"][0].as_py() + (gpu.origin_unix_ns or 0)
    assert not folder.read_info().warnings


@pytest.mark.parametrize("fragment", ["0702619a", "2bd22c87", "6f3f5884", "e443f32f"])
def test_real_kineto_traces_become_runs(fragment: str, tmp_path: Path) -> None:
    """As many rows as the reader gives; annotations are spans."""
    path = shared_file("kineto", fragment)
    folder = import_files([path], tmp_path / "run")
    trace, rows = read_kineto(path), count_rows(folder)
    assert rows["gpu_kernels"] == trace.gpu.kernels.num_rows
    assert rows["cuda_api"] == trace.gpu.calls.num_rows
    assert rows["spans"] == pc.sum(pc.equal(trace.ops["category"].cast("string"), "user_annotation")).as_py()


def test_the_environment_in_a_trace_is_not_copied(tmp_path: Path) -> None:
    """These traces hold the environment of the program that wrote them: no file of the run has its names."""
    folder = import_files([shared_file("kineto", "0702619a")], tmp_path / "run")
    assert list(folder.raw.iterdir()) == []
    for path in folder.path.rglob("*"):
        assert path.is_dir() or b"NVIDIA_VISIBLE_DEVICES" not in path.read_bytes()


def test_files_that_say_the_time_share_a_clock_and_the_others_lie_beside(tmp_path: Path) -> None:
    """Stacks without a time start with the trace's first event, at 1.7e18 ns + 10 us; a warning says so."""
    event = {
        "ph": "X",
        "cat": "cuda_runtime",
        "name": "cudaLaunchKernel",
        "pid": 41,
        "tid": 42,
        "ts": 10,
        "dur": 5,
    }
    trace, stacks = tmp_path / "trace.json.gz", tmp_path / "stacks.txt"
    document = {"baseTimeNanoseconds": 1_700_000_000_000_000_000, "traceEvents": [event]}
    trace.write_bytes(gzip.compress(json.dumps(document).encode()))
    stacks.write_text(_STACKS)
    folder = import_files([trace, stacks], tmp_path / "run")
    (call,) = read_table(folder, "cuda_api").to_pylist()
    (sample,) = read_table(folder, "samples").to_pylist()
    assert call["start_ns"] == sample["start_ns"] == 1_700_000_000_000_010_000
    info = folder.read_info()
    assert info.warnings == ["stacks.txt does not say when it was recorded: it is laid beside the others"]
    assert [clock.method for clock in info.clocks] == [
        "unix time of the recording",
        "side by side: the file does not say when it was recorded",
    ]


def test_stacks_of_two_files_keep_their_frames(tmp_path: Path) -> None:
    """The second file's ids are shifted past the first's."""
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text(_STACKS)
    second.write_text("P43;T44;other (x.py:1);leaf (x.py:2) 700\n")
    folder = import_files([first, second], tmp_path / "run")
    names = {row["frame_id"]: row["function"] for row in read_table(folder, "frames").to_pylist()}
    stacks = {row["stack_id"]: row["frame_ids"] for row in read_table(folder, "stacks").to_pylist()}
    samples = read_table(folder, "samples").to_pylist()
    by_pid = {row["pid"]: [names[each] for each in stacks[row["stack_id"]]] for row in samples}
    assert by_pid == {41: ["main"], 43: ["other", "leaf"]}
    assert set(read_table(folder, "processes")["pid"].to_pylist()) == {41, 43}


def test_an_unrecognised_file_lists_why_each_reader_refused(tmp_path: Path) -> None:
    """A note: no JSON, no number at the end of its line; nothing is written."""
    path = tmp_path / "note.txt"
    path.write_text("Where the time goes\n")
    with pytest.raises(FileUnreadable, match="of no format that is read") as raised:
        import_files([path], tmp_path / "run")
    for name in ("nsys SQLite", "MOJO", "PyTorch's profiler: ", "speedscope: ", "py-spy Chrome trace: "):
        assert name in raised.value.message
    assert "collapsed stacks: note.txt, line 1: 'Where the time goes'" in raised.value.message
    assert not (tmp_path / "run").exists()


def test_a_foreign_database_is_judged_by_the_reader_of_databases() -> None:
    """Its first bytes are SQLite's: what speedscope's reader thinks of it is of no interest."""
    with pytest.raises(FileUnreadable, match="no export of Nsight Systems"):
        read_any(shared_file("nsys", "6b882b66"))


@pytest.mark.nsys
@pytest.mark.skipif(shutil.which("nsys") is None, reason="Nsight Systems is not installed")
def test_a_report_that_nsys_refuses_is_told_with_its_version(tmp_path: Path) -> None:
    """The first bytes of a report, and nothing behind them: a newer report ends the same way."""
    path = tmp_path / "newer.nsys-rep"
    path.write_bytes(b"NVIDIA Tegra Profiler Report" + bytes(200))
    with pytest.raises(FileUnreadable, match=r"newer.nsys-rep cannot be exported by nsys \d") as raised:
        read_any(path)
    assert "not older than the one that recorded it" in raised.value.hint
    assert [each.name for each in tmp_path.iterdir()] == ["newer.nsys-rep"]


@settings(max_examples=25)
@given(
    content=st.binary(min_size=1, max_size=200),
    head=st.sampled_from([b"", b"SQLite format 3\0", b"MOJ\3", b"{"]),
)
def test_whatever_is_no_recording_is_refused(content: bytes, head: bytes, tmp_path: Path) -> None:
    """Noise, behind nothing and behind the first bytes of each format: refused, or read as a few events."""
    path = tmp_path / "noise"
    path.write_bytes(head + content)
    with suppress(FileUnreadable):
        read_any(path)


def test_a_run_is_replaced_only_when_asked(tmp_path: Path) -> None:
    """Twice into the same folder: refused, then replaced."""
    path, out = tmp_path / "stacks.txt", tmp_path / "run"
    path.write_text(_STACKS)
    import_files([path], out)
    with pytest.raises(FileUnreadable, match="holds a run already"):
        import_files([path], out)
    assert import_files([path], out, overwrite=True).read_info().status == "complete"


def test_an_imported_run_is_not_analysed_again(tmp_path: Path) -> None:
    """It has no captures: to make its tables from them would empty them."""
    path = tmp_path / "stacks.txt"
    path.write_text(_STACKS)
    folder = import_files([path], tmp_path / "run")
    with pytest.raises(FileUnreadable, match="was imported"):
        rebuild(folder)
    assert count_rows(folder)["samples"] == 1


def test_the_commands_import_report_and_export(tmp_path: Path) -> None:
    """One JSON document each, on standard output."""
    path, out = tmp_path / "stacks.txt", tmp_path / "run"
    path.write_text(_STACKS)
    runner = CliRunner()
    imported = runner.invoke(app, ["import", str(path), "-o", str(out), "--json"])
    assert imported.exit_code == 0, imported.output
    document = json.loads(imported.stdout)
    assert document["rows"]["samples"] == 1
    assert document["files"] == [
        {
            "file": "stacks.txt",
            "format": "collapsed stacks",
            "clock": "side by side: the file does not say when it was recorded",
        }
    ]
    assert RunFolder.open(out).read_info().model.name == "imported"
    for name in ("perfetto", "speedscope", "collapsed", "chrome"):
        exported = runner.invoke(app, ["export", str(out), "--to", name, "--json"])
        assert exported.exit_code == 0, exported.output
        assert Path(json.loads(exported.stdout)["file"]).stat().st_size > 0
    assert (out / "stacks.collapsed.txt").read_text() == _STACKS
