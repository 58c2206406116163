"""Nsight Systems' SQLite exports: real ones of four versions, small ones by hand, and files that are none."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from tests.unit.shared_data import shared_file
from vlmprof.errors import FileUnreadable
from vlmprof.model.clock import ClockMap
from vlmprof.model.tables import CUDA_API, GPU_COPIES, GPU_KERNELS
from vlmprof.read.nsys_sqlite import read_gpu, read_nvtx, read_session

_PID_5, _PID_6 = 5 << 24, 6 << 24

_NVTX = """
    CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT);
    INSERT INTO StringIds VALUES (1, 'mm.hf_processor'), (2, 'vlmprof');
    CREATE TABLE TARGET_INFO_SESSION_START_TIME (utcEpochNs INTEGER);
    INSERT INTO TARGET_INFO_SESSION_START_TIME VALUES (1700000000000000000);
    CREATE TABLE NVTX_EVENTS (
        start INTEGER, end INTEGER, eventType INTEGER, text TEXT, textId INTEGER, globalTid INTEGER,
        domainId INTEGER);
"""


def _database(path: Path, script: str) -> Path:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)
    return path


def _count(path: Path, query: str) -> Any:
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
        return database.execute(query).fetchone()[0]


@pytest.mark.parametrize("fragment", ["9d9d2ff8", "c8f71ebb", "cfa580dc", "4f6385d6", "55daaac0", "53aaf065"])
def test_real_exports_have_as_many_rows_as_their_tables(fragment: str) -> None:
    """nsys 2022.2 to 2026.2: plain SQL counts what the reader returns; an absent table counts 0."""
    path = shared_file("nsys", fragment)
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}

    def count(table: str, where: str = "TRUE") -> int:
        return _count(path, f"SELECT count(*) FROM {table} WHERE {where}") if table in tables else 0

    gpu = read_gpu(path)
    kernels = count("CUPTI_ACTIVITY_KIND_KERNEL") + count("CUPTI_ACTIVITY_KIND_GRAPH_TRACE")
    copies = count("CUPTI_ACTIVITY_KIND_MEMCPY") + count("CUPTI_ACTIVITY_KIND_MEMSET")
    assert (gpu.kernels.num_rows, gpu.copies.num_rows) == (kernels, copies)
    assert gpu.calls.num_rows == count("CUPTI_ACTIVITY_KIND_RUNTIME")
    assert len(read_nvtx(path)) == count("NVTX_EVENTS", "eventType = 59 AND end IS NOT NULL")
    assert (gpu.kernels.schema, gpu.copies.schema, gpu.calls.schema) == (GPU_KERNELS, GPU_COPIES, CUDA_API)
    assert gpu.origin_unix_ns == _count(path, "SELECT utcEpochNs FROM TARGET_INFO_SESSION_START_TIME")


def test_a_real_run_adds_up_to_what_plain_sql_says() -> None:
    """Time in kernels, bytes from pageable and from pinned memory, time in ranges; two processes."""
    path = shared_file("nsys", "cfa580dc")
    gpu, ranges = read_gpu(path), read_nvtx(path)
    busy_ns = pc.sum(pc.subtract(gpu.kernels["end_ns"], gpu.kernels["start_ns"])).as_py()
    assert busy_ns == _count(path, "SELECT sum(end - start) FROM CUPTI_ACTIVITY_KIND_KERNEL")
    pinned = gpu.copies.filter(
        pc.and_(
            pc.equal(gpu.copies["kind"].cast("string"), "HtoD"),
            pc.equal(gpu.copies["source_memory"].cast("string"), "pinned"),
        )
    )
    assert pc.sum(pinned["size_bytes"]).as_py() == _count(
        path, "SELECT sum(bytes) FROM CUPTI_ACTIVITY_KIND_MEMCPY WHERE copyKind = 1 AND srcKind = 1"
    )
    assert set(gpu.kernels["pid"].to_pylist()) == {111, 112}
    assert int((ranges.end_ns - ranges.start_ns).sum()) == _count(
        path, "SELECT sum(end - start) FROM NVTX_EVENTS WHERE eventType = 59"
    )
    assert (np.diff(ranges.start_ns) >= 0).all()


def test_kernel_names_and_call_names_are_texts() -> None:
    """The demangled name; `cudaLaunchKernel_v7000` is the same call as PyTorch's `cudaLaunchKernel`."""
    gpu = read_gpu(shared_file("nsys", "4f6385d6"))
    names = set(gpu.kernels["name"].to_pylist())
    assert names == {"saxpy(double *, double *, double *, double, int)"}
    assert "cudaHostRegister" in gpu.calls["name"].to_pylist()


def test_a_graph_that_was_traced_as_a_whole_is_one_row() -> None:
    """Three kernels and two graph launches: without the launches their time would look idle."""
    gpu = read_gpu(shared_file("nsys", "53aaf065"))
    names = [name.split("(")[0] for name in gpu.kernels["name"].to_pylist()]
    assert sum(name.startswith("CUDA graph") for name in names) == 2
    assert gpu.kernels.num_rows == 5


def test_ranges_are_sorted_and_decoded(tmp_path: Path) -> None:
    """Written late first; globalTid 5 << 24 | 7 is thread 7 of process 5; text in the row or by its id."""
    path = _database(
        tmp_path / "small.sqlite",
        f"""{_NVTX}
        INSERT INTO NVTX_EVENTS VALUES (300, 400, 59, 'late', NULL, {_PID_5 | 7}, 0);
        INSERT INTO NVTX_EVENTS VALUES (100, 200, 59, NULL, 1, {_PID_6 | 8}, 0);
        INSERT INTO NVTX_EVENTS VALUES (150, NULL, 59, 'open', NULL, {_PID_5 | 7}, 0);
        INSERT INTO NVTX_EVENTS VALUES (160, NULL, 34, 'a mark', NULL, {_PID_5 | 7}, 0);
        """,
    )
    ranges = read_nvtx(path)
    assert ranges.start_ns.tolist() == [100, 300]
    assert ranges.end_ns.tolist() == [200, 400]
    assert (ranges.pid.tolist(), ranges.tid.tolist()) == ([6, 5], [8, 7])
    assert [ranges.names[code] for code in ranges.name] == ["mm.hf_processor", "late"]
    assert ranges.unfinished == 1
    assert ranges.session.start_unix_ns == 1_700_000_000_000_000_000


def test_a_domain_is_found_by_name_in_each_process(tmp_path: Path) -> None:
    """Process 5 calls domain "vlmprof" 1, process 6 calls it 2 and another one 1."""
    path = _database(
        tmp_path / "small.sqlite",
        f"""{_NVTX}
        INSERT INTO NVTX_EVENTS VALUES (1, NULL, 75, NULL, 2, {_PID_5 | 5}, 1);
        INSERT INTO NVTX_EVENTS VALUES (1, NULL, 75, 'vlmprof', NULL, {_PID_6 | 6}, 2);
        INSERT INTO NVTX_EVENTS VALUES (1, NULL, 75, 'nccl', NULL, {_PID_6 | 6}, 1);
        INSERT INTO NVTX_EVENTS VALUES (10, 20, 59, 'ours', NULL, {_PID_5 | 5}, 1);
        INSERT INTO NVTX_EVENTS VALUES (30, 40, 59, 'ours', NULL, {_PID_6 | 6}, 2);
        INSERT INTO NVTX_EVENTS VALUES (50, 60, 59, 'theirs', NULL, {_PID_6 | 6}, 1);
        """,
    )
    assert read_nvtx(path, "vlmprof").names == ["ours"]
    assert len(read_nvtx(path, "vlmprof")) == 2
    assert len(read_nvtx(path)) == 3
    assert len(read_nvtx(path, "unknown")) == 0


def test_an_export_without_a_table_has_no_rows_of_it(tmp_path: Path) -> None:
    """Tables exist only where they have rows: nothing was recorded, which is no damage."""
    path = _database(
        tmp_path / "small.sqlite",
        "CREATE TABLE StringIds (id INTEGER, value TEXT); CREATE TABLE ANALYSIS_DETAILS (duration INTEGER);",
    )
    gpu, ranges = read_gpu(path), read_nvtx(path)
    assert (gpu.kernels.num_rows, gpu.copies.num_rows, gpu.calls.num_rows, len(ranges)) == (0, 0, 0, 0)
    assert read_session(path).start_unix_ns is None


def test_columns_that_a_version_lacks_are_null(tmp_path: Path) -> None:
    """No graphNodeId, no demangledName: the short name serves."""
    path = _database(
        tmp_path / "small.sqlite",
        f"""CREATE TABLE StringIds (id INTEGER, value TEXT);
        INSERT INTO StringIds VALUES (3, 'gemm');
        CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (
            start INTEGER, end INTEGER, deviceId INTEGER, streamId INTEGER, correlationId INTEGER,
            globalPid INTEGER, shortName INTEGER);
        INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (10, 30, 0, 7, 99, {_PID_5}, 3);
        """,
    )
    assert read_gpu(path).kernels.to_pylist() == [
        {
            "pid": 5,
            "device": 0,
            "stream": 7,
            "start_ns": 10,
            "end_ns": 30,
            "name": "gemm",
            "correlation_id": 99,
            "graph_node_id": None,
        }
    ]


def test_gpu_work_moves_to_the_session_clock(tmp_path: Path) -> None:
    """An offset of 1000 ns: [10, 30) becomes [1010, 1030)."""
    path = shared_file("nsys", "9d9d2ff8")
    before = read_gpu(path)
    after = before.on_clock(ClockMap("nsys", offset_ns=1000))
    assert pc.subtract(after.kernels["start_ns"], before.kernels["start_ns"]).to_pylist() == [1000, 1000]
    assert pc.subtract(after.copies["end_ns"], before.copies["end_ns"]).to_pylist() == [1000]
    assert after.calls.schema == CUDA_API
    assert after.origin_unix_ns is None


def test_a_column_that_cannot_be_done_without_is_named(tmp_path: Path) -> None:
    """A version of the future that renames `end`."""
    path = _database(
        tmp_path / "newer.sqlite",
        """CREATE TABLE StringIds (id INTEGER, value TEXT);
        CREATE TABLE NVTX_EVENTS (start INTEGER, stop INTEGER, eventType INTEGER, globalTid INTEGER);""",
    )
    with pytest.raises(
        FileUnreadable, match="NVTX_EVENTS has no end, only eventType, globalTid, start, stop"
    ):
        read_nvtx(path)


def test_a_foreign_database_is_told_by_its_tables() -> None:
    """A Visual Studio file with the same ending."""
    with pytest.raises(FileUnreadable, match=r"no export of Nsight Systems.*FileScannerCache"):
        read_gpu(shared_file("nsys", "6b882b66"))


def test_a_database_without_tables_says_so(tmp_path: Path) -> None:
    """Valid, and empty but for its header page."""
    path = _database(tmp_path / "bare.sqlite", "PRAGMA user_version = 1;")
    with pytest.raises(FileUnreadable, match="no table at all"):
        read_session(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89HDF\r\n\x1a\n and more", "is no SQLite database"),
        (b"SQLite format 3\0", "is no SQLite database"),
    ],
)
def test_what_is_no_database_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    """An empty file, a report of another format, the first 16 bytes of a database."""
    path = tmp_path / "export.sqlite"
    path.write_bytes(content)
    with pytest.raises(FileUnreadable, match=message):
        read_nvtx(path)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    """SQLite would make an empty one."""
    with pytest.raises(FileUnreadable, match="No such file"):
        read_nvtx(tmp_path / "absent.sqlite")
    assert not (tmp_path / "absent.sqlite").exists()


def test_a_truncated_export_is_told_by_its_size(tmp_path: Path) -> None:
    """The header counts the pages; the last one is missing."""
    whole = _database(tmp_path / "whole.sqlite", _NVTX).read_bytes()
    path = tmp_path / "truncated.sqlite"
    path.write_bytes(whole[:-1])
    with pytest.raises(FileUnreadable, match=f"truncated: {len(whole) - 1} bytes of {len(whole)}"):
        read_nvtx(path)


def test_a_damaged_page_is_a_damaged_file(tmp_path: Path) -> None:
    """The size is right, every page but the first is noise."""
    whole = bytearray(_database(tmp_path / "whole.sqlite", _NVTX).read_bytes())
    whole[4096:] = b"\xff" * (len(whole) - 4096)
    path = tmp_path / "damaged.sqlite"
    path.write_bytes(whole)
    with pytest.raises(FileUnreadable, match="damaged"):
        read_nvtx(path)


def test_a_read_only_folder_is_read(tmp_path: Path) -> None:
    """Nothing is written beside the export: no journal, no lock; the file stays as it was."""
    path = _database(tmp_path / "small.sqlite", _NVTX)
    before = path.read_bytes()
    read_nvtx(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["small.sqlite"]
