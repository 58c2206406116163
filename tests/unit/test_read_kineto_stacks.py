"""Python stacks of traces of PyTorch's profiler: calls that lie in one another become stretches of one stack."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.shared_data import shared_file
from vlmprof.model.table_io import read_table
from vlmprof.read.kineto import read_kineto
from vlmprof.session.import_files import import_files

_ADDRESSES = (
    "<built-in method view of Tensor object at 0x7bc8>",
    "<built-in method view of Tensor object at 0x7bd0>",
)


def _call(name: str, start_us: int, end_us: int, tid: int = 42) -> dict[str, Any]:
    place = {"ph": "X", "cat": "python_function", "pid": 41, "tid": tid}
    return {**place, "name": name, "ts": start_us, "dur": end_us - start_us}


def _trace(path: Path, *events: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"traceEvents": list(events)}))
    return path


def _stretches(path: Path) -> list[tuple[int, int, int, list[str]]]:
    """Thread, start and end in us, and functions from the root to the leaf."""
    trace = read_kineto(path, python=True).stacks
    assert trace is not None
    functions = {row["frame_id"]: row["function"] for row in trace.frames.to_pylist()}
    stacks = {row["stack_id"]: row["frame_ids"] for row in trace.stacks.to_pylist()}
    return [
        (
            row["tid"],
            row["start_ns"] // 1000,
            (row["start_ns"] + row["duration_ns"]) // 1000,
            [functions[frame] for frame in stacks[row["stack_id"]]],
        )
        for row in trace.samples.to_pylist()
    ]


def test_calls_become_stretches_of_one_stack(tmp_path: Path) -> None:
    """main from 0 to 100, step in it from 10 to 40, leaf in that from 20 to 30; a second main from 120."""
    path = _trace(
        tmp_path / "trace.json",
        _call("app.py(3): main", 0, 100),
        _call("app.py(9): step", 10, 40),
        _call("leaf", 20, 30),
        _call("app.py(3): main", 120, 130),
    )
    assert _stretches(path) == [
        (42, 0, 10, ["main"]),
        (42, 10, 20, ["main", "step"]),
        (42, 20, 30, ["main", "step", "leaf"]),
        (42, 30, 40, ["main", "step"]),
        (42, 40, 100, ["main"]),
        (42, 120, 130, ["main"]),
    ]
    trace = read_kineto(path, python=True).stacks
    assert trace is not None
    assert trace.frames.to_pylist()[0] == {"frame_id": 0, "function": "main", "file": "app.py", "line": 3}
    assert trace.stacks.num_rows == 3


def test_threads_keep_their_stacks_apart(tmp_path: Path) -> None:
    """Two threads at the same time; what is of no known thread is left out."""
    unknown = {**_call("threading.py(1032): _bootstrap", 0, 100, tid=0), "pid": 0}
    path = _trace(
        tmp_path / "trace.json", unknown, _call("a", 0, 10, 42), _call("b", 5, 15, 43), _call("c", 6, 8, 43)
    )
    assert _stretches(path) == [
        (42, 0, 10, ["a"]),
        (43, 5, 6, ["b"]),
        (43, 6, 8, ["b", "c"]),
        (43, 8, 15, ["b"]),
    ]


def test_a_call_ends_with_its_caller(tmp_path: Path) -> None:
    """Times are rounded: leaf seems to return 1 us after step, which called it."""
    path = _trace(tmp_path / "trace.json", _call("main", 0, 20), _call("step", 5, 10), _call("leaf", 7, 11))
    assert _stretches(path)[2:] == [(42, 7, 10, ["main", "step", "leaf"]), (42, 10, 20, ["main"])]


def test_a_method_of_two_objects_is_one_frame(tmp_path: Path) -> None:
    """Built-ins are written with the address of their object."""
    path = _trace(tmp_path / "trace.json", *(_call(name, at, at + 1) for at, name in enumerate(_ADDRESSES)))
    trace = read_kineto(path, python=True).stacks
    assert trace is not None
    assert trace.frames["function"].to_pylist() == ["<built-in method view of Tensor>"]


def test_a_trace_without_python_has_no_stacks(tmp_path: Path) -> None:
    """Recorded without `with_stack=True`."""
    event = {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 41, "tid": 42, "ts": 1, "dur": 1}
    assert read_kineto(_trace(tmp_path / "trace.json", event), python=True).stacks is None


@given(calls=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=30))
def test_any_calls_cover_the_time_in_which_one_of_them_ran(
    calls: list[tuple[int, int]], tmp_path: Path
) -> None:
    """Whether they nest or not: no stretch is negative or overlaps another, and together they are the union."""
    path = _trace(
        tmp_path / "trace.json", *(_call(f"f{start}", start, start + more) for start, more in calls)
    )
    found = _stretches(path)
    covered = [at for _, start, end, _ in found for at in range(start, end)]
    assert len(covered) == len(set(covered))
    longest = {at for start, more in calls for at in range(start, start + more)}
    # A call that outlasts its caller is cut: it may lose time, and none is made up.
    assert set(covered) <= longest
    assert all(start < end for _, start, end, _ in found)


@pytest.mark.parametrize("fragment", ["0702619a", "2bd22c87", "6f3f5884", "e443f32f"])
def test_a_kernels_stack_is_of_the_calls_around_its_launch(fragment: str, tmp_path: Path) -> None:
    """Of a sample of the launches of each real trace, by a plain search in its events."""
    path = shared_file("kineto", fragment)
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    calls = [event for event in events if event.get("cat") == "python_function" and event["tid"]]
    folder = import_files([path], tmp_path / "run")
    functions = {row["frame_id"]: row["function"] for row in read_table(folder, "frames").to_pylist()}
    stacks = {
        row["stack_id"]: [functions[frame] for frame in row["frame_ids"]]
        for row in read_table(folder, "stacks").to_pylist()
    }
    work = read_table(folder, "gpu_attribution").select(["call_row", "stack_id"]).to_pylist()
    launches = read_table(folder, "cuda_api").select(["start_ns", "correlation_id"]).to_pylist()
    at_us = {
        event["args"]["correlation"]: (event["ts"], event["tid"])
        for event in events
        if event.get("cat", "").startswith("cuda_") and "correlation" in event.get("args", {})
    }
    known = [row for row in work if row["call_row"] is not None][::37]
    assert known
    for row in known:
        at, tid = at_us[launches[row["call_row"]]["correlation_id"]]
        around = [
            call for call in calls if call["tid"] == tid and call["ts"] <= at < call["ts"] + call["dur"]
        ]
        around.sort(key=lambda call: (call["ts"], -call["dur"]))
        expected = [_function(call["name"]) for call in around]
        assert (stacks[row["stack_id"]] if row["stack_id"] is not None else []) == expected


def _function(name: str) -> str:
    """Without file and line, or a built-in's address."""
    return re.sub(r"^.+\(\d+\): | object at 0x[0-9a-f]+", "", name)
