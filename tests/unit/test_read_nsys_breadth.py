"""Nsight Systems' exports, the less usual: every kind of range, waits, processes, and exports that went wrong."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.shared_data import shared_file
from vlmprof.errors import FileUnreadable
from vlmprof.model.process import Thread
from vlmprof.model.tables import GPU_SYNCS
from vlmprof.read.nsys_nvtx import PUSH_POP, START_END
from vlmprof.read.nsys_sqlite import (
    read_gpu,
    read_gpus,
    read_nvtx,
    read_processes,
    read_session,
)

_PID_5 = 5 << 24

_RECORDING = """
    CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT);
    INSERT INTO StringIds VALUES (1, 'gemm'), (2, 'cudaLaunchKernel_v7000'), (3, 'EngineCore');
    CREATE TABLE ANALYSIS_DETAILS (globalVid INTEGER, duration INTEGER);
    INSERT INTO ANALYSIS_DETAILS VALUES (0, 5000);
"""
_KERNELS = """
    CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (
        start INTEGER, end INTEGER, deviceId INTEGER, streamId INTEGER, correlationId INTEGER,
        globalPid INTEGER, demangledName INTEGER);
"""
_CALLS = """
    CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (
        start INTEGER, end INTEGER, globalTid INTEGER, correlationId INTEGER, nameId INTEGER);
"""
_RANGES = """
    CREATE TABLE NVTX_EVENTS (
        start INTEGER, end INTEGER, eventType INTEGER, text TEXT, textId INTEGER, globalTid INTEGER,
        domainId INTEGER);
"""


def _database(path: Path, *scripts: str) -> Path:
    with closing(sqlite3.connect(path)) as database:
        for script in scripts:
            database.executescript(script)
    return path


def _recording(path: Path) -> Path:
    """200 kernels of 25 ns, one every 100 ns, each launched 50 ns before by thread 7 of process 5."""
    _database(path, _RECORDING, _KERNELS, _CALLS, _RANGES)
    with closing(sqlite3.connect(path)) as database, database:
        for number in range(200):
            start = 100 * number
            kernel = (start, start + 25, 0, 7, number, _PID_5, 1)
            database.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?, ?, ?, ?, ?, ?)", kernel)
            call = (start - 50, start - 40, _PID_5 | 7, number, 2)
            database.execute("INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (?, ?, ?, ?, ?)", call)
            marked = (start, start + 90, 59, f"step {number}", None, _PID_5 | 7, 0)
            database.execute("INSERT INTO NVTX_EVENTS VALUES (?, ?, ?, ?, ?, ?, ?)", marked)
    return path


def test_started_ranges_are_read_when_asked_for(tmp_path: Path) -> None:
    """Types 59 and 60: one range of each; both together are two."""
    path = _database(
        tmp_path / "small.sqlite",
        _RECORDING,
        _RANGES,
        f"""INSERT INTO NVTX_EVENTS VALUES (10, 20, 59, 'pushed', NULL, {_PID_5 | 7}, 0);
        INSERT INTO NVTX_EVENTS VALUES (15, 30, 60, 'started', NULL, {_PID_5 | 7}, 0);""",
    )
    assert read_nvtx(path).names == ["pushed"]
    assert read_nvtx(path, kinds=START_END).names == ["started"]
    assert len(read_nvtx(path, kinds=PUSH_POP + START_END)) == 2


def test_an_open_range_can_last_until_the_end_of_the_recording(tmp_path: Path) -> None:
    """Pushed at 40, never popped; the recording lasted 5000 ns."""
    path = _database(
        tmp_path / "small.sqlite",
        _RECORDING,
        _RANGES,
        f"INSERT INTO NVTX_EVENTS VALUES (40, NULL, 59, 'open', NULL, {_PID_5 | 7}, 0);",
    )
    ranges = read_nvtx(path, close_open_ranges=True)
    assert (ranges.start_ns.tolist(), ranges.end_ns.tolist(), ranges.unfinished) == ([40], [5000], 1)
    assert len(read_nvtx(path)) == 0


def test_a_text_longer_than_a_page_is_read_with_the_columns_behind_it(tmp_path: Path) -> None:
    """9000 letters stand in overflow pages, and globalTid, which follows the text, too."""
    text = "x" * 9000
    path = _database(
        tmp_path / "small.sqlite",
        _RECORDING,
        _RANGES,
        f"INSERT INTO NVTX_EVENTS VALUES (10, 20, 59, '{text}', NULL, {_PID_5 | 7}, 0);",
    )
    ranges = read_nvtx(path)
    assert (ranges.names, ranges.pid.tolist(), ranges.tid.tolist()) == ([text], [5], [7])


def test_tables_with_keys_are_read_through_sqlite(tmp_path: Path) -> None:
    """A table WITHOUT ROWID is an index b-tree, which the page scan does not read."""
    path = _database(
        tmp_path / "small.sqlite",
        _RECORDING,
        """CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (
            start INTEGER PRIMARY KEY, end INTEGER, deviceId INTEGER, streamId INTEGER, correlationId INTEGER,
            globalPid INTEGER, demangledName INTEGER) WITHOUT ROWID;
        INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (10, 20, 0, 7, 1, 83886080, 1);""",
    )
    assert read_gpu(path).kernels["end_ns"].to_pylist() == [20]


@pytest.mark.parametrize(("fragment", "count"), [("cfa580dc", 244), ("c8f71ebb", 366), ("53aaf065", 2)])
def test_real_waits_are_counted_by_sql(fragment: str, count: int) -> None:
    """Two H100 runs and one of 2025.5; the counts are those of the table."""
    syncs = read_gpu(shared_file("nsys", fragment)).syncs
    assert (syncs.num_rows, syncs.schema) == (count, GPU_SYNCS)
    assert set(syncs["kind"].to_pylist()) <= {"event", "stream_wait_event", "stream", "context"}


def test_processes_are_those_that_were_recorded_with_their_threads() -> None:
    """The machine ran 159 processes; 111 and 112 made CUDA calls."""
    processes = read_processes(shared_file("nsys", "cfa580dc"))
    assert [process.pid for process in processes] == [111, 112]
    assert all(process.threads for process in processes)


def test_a_threads_name_is_its_text(tmp_path: Path) -> None:
    """Thread 7 of process 5 is called EngineCore; thread 8, which did nothing, is left out."""
    path = _recording(tmp_path / "small.sqlite")
    _database(
        path,
        f"""CREATE TABLE ThreadNames (nameId INTEGER, priority INTEGER, globalTid INTEGER);
        INSERT INTO ThreadNames VALUES (3, 20, {_PID_5 | 7}), (3, 20, {_PID_5 | 8});
        CREATE TABLE PROCESSES (globalPid INTEGER, pid INTEGER, name TEXT);
        INSERT INTO PROCESSES VALUES ({_PID_5}, 5, 'python3'), ({9 << 24}, 9, 'sshd');""",
    )
    (process,) = read_processes(path)
    assert (process.pid, process.name, process.threads) == (5, "python3", (Thread(7, "EngineCore"),))


def test_gpus_and_the_recordings_length_are_read() -> None:
    """Perlmutter's A100; an export without the table says no GPU."""
    path = shared_file("nsys", "4f6385d6")
    (gpu,) = read_gpus(path)
    assert "A100" in gpu.name
    assert gpu.memory_bytes > 39e9
    assert (read_session(path).length_ns or 0) > 0
    assert read_gpus(shared_file("nsys", "cfa580dc")) == []


def test_a_process_is_part_of_a_correlation_id() -> None:
    """78 ids occur in both processes: by the id alone 4280 pairs, by id and process 3986 (from SQL)."""
    gpu = read_gpu(shared_file("nsys", "c8f71ebb"))
    calls = gpu.calls.select(["pid", "correlation_id"])
    kernels = gpu.kernels.select(["pid", "correlation_id"])
    assert kernels.join(calls, ["correlation_id"], join_type="inner", right_suffix="_call").num_rows == 4280
    assert kernels.join(calls, ["pid", "correlation_id"], join_type="inner").num_rows == 3986


def test_an_export_that_failed_is_told(tmp_path: Path) -> None:
    """nsys leaves a valid database with its enumerations and no recording in it."""
    path = _database(
        tmp_path / "failed.sqlite",
        "CREATE TABLE StringIds (id INTEGER, value TEXT); CREATE TABLE ENUM_CUDA_MEM_KIND (id INTEGER);",
    )
    with pytest.raises(FileUnreadable, match="beginning of an export that failed"):
        read_gpu(path)


def test_text_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    """0xE9 is é in Latin-1 and nothing in UTF-8."""
    path = _recording(tmp_path / "small.sqlite")
    _database(path, "UPDATE StringIds SET value = CAST(x'6B65726E656CE9' AS TEXT) WHERE id = 1;")
    with pytest.raises(FileUnreadable, match=r"not UTF-8: b'kernel\\xe9'"):
        read_gpu(path)


def test_a_negative_duration_is_told_with_its_table(tmp_path: Path) -> None:
    """A kernel that ends 10 ns before it starts."""
    path = _recording(tmp_path / "small.sqlite")
    _database(path, "UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET end = start - 10 WHERE correlationId = 3;")
    with pytest.raises(
        FileUnreadable, match=r"1 rows of CUPTI.*KERNEL last a negative time.*300 ns to 290 ns"
    ):
        read_gpu(path)


def test_a_time_before_the_recording_stays_negative(tmp_path: Path) -> None:
    """The first launch began 50 ns before the recording's time 0."""
    assert read_gpu(_recording(tmp_path / "small.sqlite")).calls["start_ns"][0].as_py() == -50


def test_a_column_of_another_type_is_told(tmp_path: Path) -> None:
    """A newer version that writes times as text."""
    path = _recording(tmp_path / "small.sqlite")
    _database(path, "UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET start = 'early' WHERE correlationId = 3;")
    with pytest.raises(FileUnreadable, match="something else than integers"):
        read_gpu(path)


def _read_all(path: Path) -> None:
    read_gpu(path)
    read_nvtx(path, kinds=PUSH_POP + START_END, close_open_ranges=True)
    read_processes(path)


@settings(max_examples=60)
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=8)
)
def test_flipped_bits_are_an_error_or_a_table(flips: list[tuple[float, int]], tmp_path: Path) -> None:
    """Up to 8 bits anywhere in the file: never another exception, never a crash of the compiled scan."""
    content = bytearray(_small(tmp_path))
    for place, bit in flips:
        content[int(place * len(content))] ^= 1 << bit
    _read_or_refuse(tmp_path / "flipped.sqlite", bytes(content))


@settings(max_examples=30)
@given(kept=st.floats(0, 1, exclude_max=True))
def test_a_cut_export_is_refused(kept: float, tmp_path: Path) -> None:
    """Cut anywhere: the header states more pages than there are."""
    content = _small(tmp_path)
    path = tmp_path / "cut.sqlite"
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(FileUnreadable):
        _read_all(path)


def _small(folder: Path) -> bytes:
    path = folder / "whole.sqlite"
    return path.read_bytes() if path.exists() else _recording(path).read_bytes()


def _read_or_refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with suppress(FileUnreadable):
        _read_all(path)
