"""Small recordings of every kind that is imported, whole, and how files come to harm."""

import gzip
import json
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from benchmarks.synthetic_traces import write_export
from tests.unit.mojo_reference import frame, header, refs, stack, string, time_us

GOLDEN = Path(__file__).parents[1] / "golden" / "mojo"


def _mojo(version: int) -> bytes:
    """Twenty samples of two stacks."""
    symbols = string(10, "a.py") + string(20, "outer") + string(21, "inner")
    symbols += frame(1, 10, 20, 5, version) + frame(2, 10, 21, 7, version)
    samples = [stack(77, 0x4D, version) + refs(1, *[2] * (n % 2)) + time_us(1500) for n in range(20)]
    return header(version) + stack(77, 0x4D, version) + symbols + refs(1) + time_us(1500) + b"".join(samples)


def _kineto() -> bytes:
    """Twenty launches from Python, each with its operator, its kernel and a copy."""
    events: list[dict[str, Any]] = []
    for number in range(1, 21):
        at, here = 100.25 * number, {"ph": "X", "pid": 41, "tid": 42}
        gpu = {
            "ph": "X",
            "pid": 0,
            "tid": 7,
            "args": {"device": 0, "stream": 7, "correlation": number, "bytes": 64},
        }
        events += [
            {**here, "cat": "python_function", "name": "app.py(3): main", "ts": at, "dur": 90},
            {**here, "cat": "cpu_op", "name": "aten::mm", "ts": at + 1, "dur": 50},
            {**here, "cat": "user_annotation", "name": "step", "ts": at, "dur": 80},
            {**here, "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": at + 5, "dur": 3}
            | {"args": {"correlation": number}},
            {**gpu, "cat": "kernel", "name": f"gemm_{number % 3}", "ts": at + 10, "dur": 30},
            {**gpu, "cat": "gpu_memcpy", "name": "Memcpy HtoD (Pageable -> Device)", "ts": at + 41, "dur": 2},
        ]
    return json.dumps({"traceEvents": events, "baseTimeNanoseconds": 10**18}).encode()


def _nsys() -> bytes:
    """200 kernels with their calls, and a range for every hundred, of two processes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "export.sqlite")
        write_export(path, 200)
        with closing(sqlite3.connect(path)) as database:
            database.execute("DELETE FROM StringIds WHERE id > 20")
            database.commit()
            database.execute("VACUUM")
        return path.read_bytes()


def _speedscope() -> bytes:
    shared = {"frames": [{"name": "main", "file": "server.py", "line": 10}, {"name": "step"}]}
    common = {"name": "Process 41 Thread 42", "unit": "seconds", "startValue": 0, "endValue": 4}
    sampled = {**common, "type": "sampled", "samples": [[0, 1], [], [0]] * 5, "weights": [0.1, 0.2, 0.1] * 5}
    edges = [{"type": kind, "at": at, "frame": frame} for kind, at, frame in (("O", 1, 0), ("C", 3, 0))]
    evented = {**common, "type": "evented", "events": edges}
    schema = "https://www.speedscope.app/file-format-schema.json"
    return json.dumps({"$schema": schema, "shared": shared, "profiles": [sampled, evented]}).encode()


def _pyspy_trace() -> bytes:
    thread = {"pid": 41, "tid": 42, "cat": "py-spy"}
    events = [
        {**thread, "ph": kind, "name": "main", "ts": 1000 * (2 * number + (kind == "E"))}
        | {"args": {"filename": "server.py", "line": 10}}
        for number in range(10)
        for kind in "BE"
    ]
    return json.dumps(events).encode()


@cache
def recordings() -> dict[str, bytes]:
    """A whole file of each kind, by the name that it would have."""
    kineto = _kineto()
    return {
        "export.sqlite": _nsys(),
        "trace.json": kineto,
        "trace.json.gz": gzip.compress(kineto, mtime=0),
        "trace.speedscope.json": _speedscope(),
        "pyspy.json": _pyspy_trace(),
        "pyspy.raw.txt": b"main (server.py:10);step (a) (server.py:20) 15\nmain (server.py:10) 3\n" * 5,
        "austin.txt": b"# austin: 3.7.0\nP41;T0:42;/app/server.py:main:10;/app/server.py:step:20 1500\n" * 5,
        "flamegraph.txt": b"java;[unknown];do sys open 7\njava;main 12\n" * 5,
        **{f"v{version}.mojo": _mojo(version) for version in (1, 2, 3, 4)},
        "austin-3.7.mojo": (GOLDEN / "austin-3.7.mojo").read_bytes(),
        "austin-4.0.mojo": (GOLDEN / "austin-4.0.mojo").read_bytes(),
    }


_place = st.floats(0, 1, exclude_max=True)
harm = st.one_of(
    st.tuples(st.just("cut"), _place, st.just(0)),
    st.tuples(st.just("flip"), _place, st.integers(0, 7)),
    st.tuples(st.just("zero"), _place, st.integers(1, 600)),
    st.tuples(st.just("lose"), _place, st.integers(1, 600)),
    st.tuples(st.just("repeat"), _place, st.integers(1, 600)),
    st.tuples(st.just("fill"), _place, st.integers(1, 12)),
)
"""What happens to a file, where in it (a fraction), and how much of it."""


def harmed(content: bytes, harms: list[tuple[str, float, int]]) -> bytes:
    """The file after all that has happened to it."""
    for what, place, much in harms:
        at = int(place * len(content))
        head, piece, tail = content[:at], content[at : at + much], content[at + much :]
        if what == "cut":
            content = head
        elif what == "flip" and content:
            content = head + bytes([content[at] ^ 1 << much]) + content[at + 1 :]
        elif what == "zero":
            content = head + bytes(len(piece)) + tail
        elif what == "lose":
            content = head + tail
        elif what == "repeat":
            content = head + piece + piece + tail
        elif what == "fill":
            content = head + b"\xff" * len(piece) + tail
    return content
