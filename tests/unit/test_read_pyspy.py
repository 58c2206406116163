"""py-spy's Chrome traces, by hand; the collector's tests read real ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from vlmprof.errors import FileUnreadable
from vlmprof.model.tables import FRAMES, SAMPLES, STACKS
from vlmprof.read.pyspy import PySpyTrace, read_pyspy
from vlmprof.read.pyspy_index import PySpyFile, read_index

_PTHREAD = 140_031_287_371_456
_THREAD = "thread (4713): worker"


def _event(phase: str, name: str, time_us: int, line: int = 0, tid: int = _PTHREAD) -> dict[str, Any]:
    args = {"filename": f"/app/{name}.py" if line else "", "line": line}
    return {
        "args": args,
        "cat": "py-spy",
        "name": name,
        "ph": phase,
        "pid": 4711,
        "tid": tid,
        "ts": time_us,
    }


def _read(path: Path, *events: dict[str, Any]) -> PySpyTrace:
    path.write_text(json.dumps(list(events)))
    return read_pyspy(path)


def _stacks(trace: PySpyTrace) -> dict[int, list[str]]:
    names = {row["frame_id"]: f"{row['function']}:{row['line']}" for row in trace.frames.to_pylist()}
    rows = trace.stacks.to_pylist()
    return {row["stack_id"]: [names[frame_id] for frame_id in row["frame_ids"]] for row in rows}


def test_a_stretch_lasts_until_the_stack_changes(tmp_path: Path) -> None:
    """Samples at 10, 20 and 40 us: main-decode for 10 us, then main-resize for 20 us."""
    trace = _read(
        tmp_path / "trace.json",
        _event("B", _THREAD, 10),
        _event("B", "main", 10, 3),
        _event("B", "decode", 10, 5),
        _event("E", "decode", 20, 5),
        _event("B", "resize", 20, 9),
        _event("E", "resize", 40, 9),
        _event("E", "main", 40, 3),
        _event("E", _THREAD, 40),
    )
    stacks = _stacks(trace)
    rows = trace.samples.to_pylist()
    found = [(stacks[row["stack_id"]], row["start_ns"], row["duration_ns"]) for row in rows]
    assert found == [(["main:3", "decode:5"], 10_000, 10_000), (["main:3", "resize:9"], 20_000, 20_000)]
    assert {(row["pid"], row["tid"]) for row in rows} == {(4711, 4713)}
    assert all(row["on_cpu"] is None and row["holds_gil"] is None for row in rows)
    assert trace.threads == {4713: "worker"}
    schemas = (trace.frames.schema, trace.stacks.schema, trace.samples.schema)
    assert schemas == (FRAMES, STACKS, SAMPLES)


def test_a_line_that_no_file_has_is_unknown(tmp_path: Path) -> None:
    """py-spy reads a function's lines while the program changes them; 2 162 539 490 was in a real trace."""
    misread = (_event("B", "main", 0, 2_162_539_490, tid=1), _event("E", "main", 10, 2_162_539_490, tid=1))
    trace = _read(tmp_path / "trace.json", *misread)
    assert _stacks(trace) == {0: ["main:0"]}


def test_equal_stacks_of_two_threads_are_stored_once(tmp_path: Path) -> None:
    """Two threads in `main`, each for 10 us: one frame, one stack, two samples."""
    events = []
    for tid in (1, 2):
        thread = f"thread ({tid}): worker"
        events += [_event("B", thread, 0, tid=tid), _event("B", "main", 0, 3, tid=tid)]
        events += [_event("E", "main", 10, 3, tid=tid), _event("E", thread, 10, tid=tid)]
    trace = _read(tmp_path / "trace.json", *events)
    assert (trace.frames.num_rows, trace.stacks.num_rows, trace.samples.num_rows) == (1, 1, 2)


def test_without_thread_frames_the_pthread_is_the_thread(tmp_path: Path) -> None:
    """A trace made without `--threads`: told by `pthread_ids`, because no other source knows that number."""
    main = (_event("B", "main", 0, 3, tid=77), _event("E", "main", 10, 3, tid=77))
    trace = _read(tmp_path / "trace.json", *main)
    assert trace.samples["tid"].to_pylist() == [77]
    assert trace.pthread_ids == frozenset({77})


def test_a_recording_without_a_sample_is_empty(tmp_path: Path) -> None:
    """The process ended before py-spy looked."""
    trace = _read(tmp_path / "trace.json")
    assert (trace.frames.num_rows, trace.stacks.num_rows, trace.samples.num_rows) == (0, 0, 0)


def test_mixed_processes_are_refused(tmp_path: Path) -> None:
    """What `--subprocesses` writes for forked children, which share the addresses of their threads."""
    with pytest.raises(FileUnreadable, match="mixes the threads"):
        _read(
            tmp_path / "trace.json",
            _event("B", "parent", 0, 3),
            _event("B", "child", 5, 3),
            _event("E", "parent", 10, 3),
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b'[{"ph": "B", "name": "ma', "truncated or no JSON"),
        (b'{"traceEvents": []}', "no Chrome trace of py-spy"),
        (b'[{"ph": "X", "name": "main"}]', "no Chrome trace of py-spy"),
        (b"\xff\xfe", "truncated or no JSON"),
    ],
)
def test_what_is_no_trace_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    """Empty, cut short, another program's trace, no text."""
    path = tmp_path / "trace.json"
    path.write_bytes(content)
    with pytest.raises(FileUnreadable, match=message):
        read_pyspy(path)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    """Trace and index."""
    with pytest.raises(FileUnreadable, match="No such file"):
        read_pyspy(tmp_path / "absent.json")
    with pytest.raises(FileUnreadable, match="No such file"):
        read_index(tmp_path / "absent.json")


def test_the_index_reads_back(tmp_path: Path) -> None:
    """One entry; a field of a newer version is passed over."""
    entry = {"file": "pyspy.0.7.json", "pid": 7, "block": 0, "started_ns": 1, "ended_ns": 2, "newer": True}
    (tmp_path / "index.json").write_text(json.dumps([entry]))
    expected = PySpyFile(file="pyspy.0.7.json", pid=7, block=0, started_ns=1, ended_ns=2)
    assert read_index(tmp_path / "index.json") == [expected]
