"""Every real recording of other people's: imported with the rows that SQL or a scan of the JSON counts, shown, and
exported; or refused with its reason."""

import gzip
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.perfetto_slices import packets_of, slices_of
from tests.unit.shared_data import shared_files
from vlmprof.cli.main import app
from vlmprof.errors import FileUnreadable
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import read_table
from vlmprof.read.collapsed import read_collapsed
from vlmprof.read.kineto import read_kineto
from vlmprof.read.speedscope import read_speedscope
from vlmprof.session.export_run import export_run
from vlmprof.session.import_files import count_rows, import_files

_SQL = {
    "gpu_kernels": ("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"),
    "gpu_copies": ("CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_MEMSET"),
    "cuda_api": ("CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_DRIVER"),
    "gpu_syncs": ("CUPTI_ACTIVITY_KIND_SYNCHRONIZATION",),
    "spans": ("NVTX_EVENTS WHERE eventType IN (59, 60, 70, 71)",),
}
_CATEGORIES = {
    "kernel": "gpu_kernels",
    "gpu_memcpy": "gpu_copies",
    "gpu_memset": "gpu_copies",
    "cuda_runtime": "cuda_api",
    "cuda_driver": "cuda_api",
    "cuda_sync": "gpu_syncs",
    "user_annotation": "spans",
}
_REFUSED = {"skycs97__darknet__6b882b66__slnx.sqlite": "no export of Nsight Systems: no table StringIds"}
_RECORDINGS = [*shared_files("nsys"), *shared_files("kineto")]
_by_name = pytest.mark.parametrize("path", _RECORDINGS, ids=lambda path: path.name)


def _imported(path: Path, folder: Path) -> RunFolder:
    if path.name in _REFUSED:
        pytest.skip("refused, as another test has it")
    return import_files([path], folder / "run")


def _expected_rows(path: Path) -> Counter[str]:
    return Counter(_rows_by_sql(path) if path.suffix == ".sqlite" else _rows_by_scan(path))


def _rows_by_sql(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
        there = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        return {
            table: sum(
                database.execute(f"SELECT count(*) FROM {source}").fetchone()[0]
                for source in sources
                if source.split()[0] in there
            )
            for table, sources in _SQL.items()
        }


def _rows_by_scan(path: Path) -> Iterator[str]:
    for event in json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]:
        if event.get("ph") == "X" and event.get("cat") in _CATEGORIES:
            yield _CATEGORIES[event["cat"]]


@_by_name
def test_a_recording_has_the_rows_that_are_in_it_or_is_refused(path: Path, tmp_path: Path) -> None:
    """Kernels, copies, calls, synchronizations and ranges, counted without this project's readers."""
    if path.name in _REFUSED:
        with pytest.raises(FileUnreadable, match=_REFUSED[path.name]):
            import_files([path], tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return
    rows, expected = count_rows(_imported(path, tmp_path)), _expected_rows(path)
    assert {table: rows[table] for table in _SQL} == {table: expected[table] for table in _SQL}


@_by_name
def test_a_recordings_kernels_and_gpu_time_are_shown(path: Path, tmp_path: Path) -> None:
    """As text and as JSON; families and causes add up. One recording has ranges and no GPU: it is told so."""
    folder = _imported(path, tmp_path)
    if not count_rows(folder)["gpu_kernels"]:
        refused = CliRunner().invoke(app, ["kernels", str(folder.path)])
        assert isinstance(refused.exception, FileUnreadable)
        return
    shown = {}
    for command in ("kernels", "gpu"):
        plain, as_json = (
            CliRunner().invoke(app, [command, str(folder.path), *options]) for options in ((), ("--json",))
        )
        assert (plain.exit_code, as_json.exit_code) == (0, 0), plain.output + as_json.output
        shown[command] = json.loads(as_json.stdout)
    (kernels,) = shown["kernels"]
    assert sum(each["kernels"] for each in kernels["families"]) == kernels["kernels"]
    assert sum(each["total_ns"] for each in kernels["families"]) == kernels["total_ns"]
    for device in shown["gpu"]["devices"]:
        causes = [value for name, value in device.items() if name not in ("device", "window_ns")]
        assert sum(causes) == device["window_ns"]


@_by_name
def test_perfettos_package_reads_a_recordings_slices_back(path: Path, tmp_path: Path) -> None:
    """As many of each name as there are spans, calls, kernels and copies in the tables, each where it began."""
    folder = _imported(path, tmp_path)
    slices = slices_of(packets_of(export_run(folder, "perfetto")))
    tables = {"spans": "name", "cuda_api": "name", "gpu_kernels": "name", "gpu_copies": "kind"}
    rows = [
        (row[name], row["start_ns"])
        for table, name in tables.items()
        for row in read_table(folder, table).select([name, "start_ns"]).to_pylist()
    ]
    assert Counter((name, start_ns) for name, start_ns, _ in slices) == Counter(rows)


@_by_name
def test_a_recordings_other_exports_are_read_back(path: Path, tmp_path: Path) -> None:
    """Chrome's by PyTorch's reader, kernel by kernel; speedscope's and collapsed where there is something."""
    folder = _imported(path, tmp_path)
    rows = count_rows(folder)
    if rows["gpu_kernels"] or rows["cuda_api"]:
        chrome = read_kineto(export_run(folder, "chrome")).gpu
        times = ["name", "start_ns", "end_ns"]
        assert (
            chrome.kernels.select(times).to_pylist()
            == read_table(folder, "gpu_kernels").select(times).to_pylist()
        )
        assert chrome.calls.num_rows == rows["cuda_api"]
    if rows["samples"]:
        collapsed = read_collapsed(export_run(folder, "collapsed"))
        assert set(collapsed.frames["function"].to_pylist()) <= set(
            read_table(folder, "frames")["function"].to_pylist()
        )
    if rows["samples"] or rows["gpu_kernels"]:
        speedscope = read_speedscope(export_run(folder, "speedscope"))
        names = {name for name in read_table(folder, "gpu_kernels")["name"].to_pylist() if name}
        assert names <= set(speedscope.frames["function"].to_pylist())
