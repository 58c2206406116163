"""Collapsed stacks and speedscope's JSON: what programs write, and what is damaged."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlmprof.errors import FileUnreadable
from vlmprof.read.collapsed import read_collapsed
from vlmprof.read.speedscope import read_speedscope
from vlmprof.read.stack_trace import StackTrace

_AUSTIN = """# austin: 3.7.0
# mode: wall
P41;T0:42;/app/server.py:main:10;/app/server.py:step:20 1500
P41;T0:43;/app/server.py:wait:30 2000
P41;T0:42;/app/server.py:main:10 500
"""
_PYSPY = """main (server.py:10);step (a) (server.py:20) 15
main (server.py:10) 3
"""


def _rows(trace: StackTrace) -> list[tuple[int, int, int, int, list[str]]]:
    """pid, tid, start, duration and functions of each sample."""
    frames = {row["frame_id"]: row["function"] for row in trace.frames.to_pylist()}
    stacks = {
        row["stack_id"]: [frames[each] for each in row["frame_ids"]] for row in trace.stacks.to_pylist()
    }
    return [
        (row["pid"], row["tid"], row["start_ns"], row["duration_ns"], stacks[row["stack_id"]])
        for row in trace.samples.to_pylist()
    ]


def _write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_austins_text_names_threads_and_microseconds(tmp_path: Path) -> None:
    """Thread 42 of process 41: 1500 us, then 500 us; thread 43 on its own, from 0."""
    trace = read_collapsed(_write(tmp_path / "austin.txt", _AUSTIN))
    assert _rows(trace) == [
        (41, 42, 0, 1_500_000, ["main", "step"]),
        (41, 43, 0, 2_000_000, ["wait"]),
        (41, 42, 1_500_000, 500_000, ["main"]),
    ]
    assert trace.frames.to_pylist()[0] == {
        "frame_id": 0,
        "function": "main",
        "file": "/app/server.py",
        "line": 10,
    }
    assert not trace.timed


def test_pyspys_raw_counts_samples(tmp_path: Path) -> None:
    """15 samples, then 3, of 1 ms each; a name with brackets keeps them."""
    trace = read_collapsed(_write(tmp_path / "raw.txt", _PYSPY))
    assert _rows(trace) == [
        (0, 0, 0, 15_000_000, ["main", "step (a)"]),
        (0, 0, 15_000_000, 3_000_000, ["main"]),
    ]


def test_any_names_are_frames(tmp_path: Path) -> None:
    """FlameGraph's own form: spaces and brackets belong to the names."""
    trace = read_collapsed(_write(tmp_path / "perf.txt", "java;[unknown];do sys open 7\n"))
    assert _rows(trace) == [(0, 0, 0, 7_000_000, ["java", "[unknown]", "do sys open"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no stacks"),
        (b"# only a comment\n", "holds no stacks"),
        (b"main;step\n", r"line 1: 'main;step' is no stack with a number"),
        (b"main;step -5\n", "is no stack with a number"),
        (b"main \xff 5\n", "is no text: invalid start byte at byte 5"),
        (b"main 99999999999999999999\n", "longer than any recording"),
        (b"P99999999999;T1;main 5\n", "no system has"),
        (b'{"traceEvents": [{"ts": 100', "is JSON"),
        (b'[\n{"ph": "B", "ts": 100', "is JSON"),
    ],
)
def test_what_is_no_collapsed_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    """Nothing, comments alone, no number, a negative one, other encodings, numbers beyond all measure, cut JSON."""
    path = tmp_path / "stacks.txt"
    path.write_bytes(content)
    with pytest.raises(FileUnreadable, match=message):
        read_collapsed(path)


def _speedscope(*profiles: dict[str, Any]) -> str:
    frames = [{"name": "main", "file": "server.py", "line": 10}, {"name": "step"}]
    schema = "https://www.speedscope.app/file-format-schema.json"
    return json.dumps({"$schema": schema, "shared": {"frames": frames}, "profiles": profiles})


_SAMPLED = {
    "type": "sampled",
    "name": 'Process 41 Thread 42 "MainThread"',
    "unit": "seconds",
    "startValue": 0.5,
    "endValue": 0.9,
    "samples": [[0, 1], [], [0]],
    "weights": [0.1, 0.2, 0.1],
}


def test_sampled_profiles_are_put_end_to_end(tmp_path: Path) -> None:
    """From 0.5 s for 0.1 s, a gap of 0.2 s without a stack, from 0.8 s for 0.1 s."""
    trace = read_speedscope(_write(tmp_path / "trace.json", _speedscope(_SAMPLED)))
    assert _rows(trace) == [
        (41, 42, 500_000_000, 100_000_000, ["main", "step"]),
        (41, 42, 800_000_000, 100_000_000, ["main"]),
    ]


def test_evented_profiles_are_stretches_between_edges(tmp_path: Path) -> None:
    """main from 1 to 4 us, step in it from 2 to 3 us; the second profile of a file is thread 2."""
    edges = [("O", 1, 0), ("O", 2, 1), ("C", 3, 1), ("C", 4, 0)]
    events = [{"type": kind, "at": at, "frame": frame} for kind, at, frame in edges]
    profile = {
        "type": "evented",
        "name": "main thread",
        "unit": "microseconds",
        "startValue": 0,
        "endValue": 4,
    }
    trace = read_speedscope(_write(tmp_path / "t.json", _speedscope(_SAMPLED, {**profile, "events": events})))
    assert [row for row in _rows(trace) if row[0] == 0] == [
        (0, 2, 1000, 1000, ["main"]),
        (0, 2, 2000, 1000, ["main", "step"]),
        (0, 2, 3000, 1000, ["main"]),
    ]


def test_the_address_of_a_pthread_becomes_a_number_that_fits(tmp_path: Path) -> None:
    """py-spy names threads by address: two of them, a page apart, stay two."""
    names = ["Process 1 Thread 0x7F5C12345000", "Process 1 Thread 0x7F5C12346000"]
    profiles = [{**_SAMPLED, "name": name} for name in names]
    trace = read_speedscope(_write(tmp_path / "t.json", _speedscope(*profiles)))
    assert len(set(trace.samples["tid"].to_pylist())) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "truncated or no JSON"),
        ("{}", "no file of speedscope"),
        (_speedscope(_SAMPLED)[:-1], "truncated or no JSON"),
        (_speedscope({**_SAMPLED, "unit": "bytes"}), "in bytes, which is no time"),
        (_speedscope({**_SAMPLED, "weights": [1]}), "3 samples and 1 weights"),
        (_speedscope({**_SAMPLED, "samples": [[7], [], []]}), "a frame that is not there"),
        (_speedscope({**_SAMPLED, "weights": [1e300, 1, 1]}), "contradicts itself"),
    ],
)
def test_what_is_no_speedscope_file_is_refused(content: str, message: str, tmp_path: Path) -> None:
    """Nothing, another JSON, cut short, another unit, and files that contradict themselves."""
    with pytest.raises(FileUnreadable, match=message):
        read_speedscope(_write(tmp_path / "trace.json", content))


@settings(max_examples=60)
@given(
    which=st.sampled_from(["speedscope", "austin", "pyspy"]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=6),
    kept=st.floats(0.2, 1),
)
def test_damaged_files_are_an_error_or_a_table(
    which: str, flips: list[tuple[float, int]], kept: float, tmp_path: Path
) -> None:
    """Flipped bits and cuts: never another exception."""
    whole = {"speedscope": _speedscope(_SAMPLED), "austin": _AUSTIN, "pyspy": _PYSPY}[which].encode()
    damaged = bytearray(whole[: int(kept * len(whole))])
    for place, bit in flips:
        damaged[int(place * len(damaged))] ^= 1 << bit
    path = tmp_path / "damaged"
    path.write_bytes(damaged)
    with suppress(FileUnreadable):
        read_speedscope(path) if which == "speedscope" else read_collapsed(path)
