"""Kineto traces in pieces: the same at every chunk's end, older and other programs' forms, and damaged ones."""

import gzip
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.shared_data import shared_file
from vlmprof.errors import FileUnreadable
from vlmprof.read import json_events, kineto_file
from vlmprof.read.json_events import BrokenOff, EventStream
from vlmprof.read.kineto import read_kineto

_EVENTS: list[dict[str, Any]] = [
    {"ph": "M", "name": "process_name", "pid": 41, "args": {"name": 'a "quoted" \\ ]} name'}},
    {
        "ph": "X",
        "cat": "cpu_op",
        "name": "aten::mm",
        "pid": 41,
        "tid": 42,
        "ts": 1,
        "args": {"Dims": [[2], []]},
    },
    {
        "ph": "X",
        "cat": "kernel",
        "name": "gemm[{",
        "pid": 0,
        "tid": 7,
        "ts": 2.5,
        "dur": 1,
        "args": {"stream": 7},
    },
]
_DOCUMENT = {
    "schemaVersion": 1,
    "deviceProperties": [{"id": 0, "name": "H100"}],
    "metadata": {"note": '"traceEvents": ['},
    "distributedInfo": {"backend": "nccl", "rank": 3, "world_size": 8},
    "traceEvents": _EVENTS,
    "traceName": "x.json",
    "baseTimeNanoseconds": 1_700_000_000_000_000_000,
}


def _pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("indent", [None, 2])
def test_events_are_the_same_wherever_a_chunk_ends(size: int, indent: int | None) -> None:
    """Brackets and quotes inside of strings, a text that looks like the key, a list before the events."""
    stream = EventStream(_pieces(json.dumps(_DOCUMENT, indent=indent).encode(), size))
    events = [event for batch in stream.batches() for event in json.loads(batch)]
    rest = json.loads(stream.rest)
    assert events + rest.pop("traceEvents") == _EVENTS
    assert {**rest, "traceEvents": _EVENTS} == _DOCUMENT


def test_pieces_hold_no_more_than_a_chunk_and_an_event() -> None:
    """1000 events of some 100 bytes in chunks of 5000: no batch is larger than 6000 bytes."""
    content = json.dumps({"traceEvents": _EVENTS * 333}).encode()
    stream = EventStream(_pieces(content, 5000))
    assert max(map(len, stream.batches())) < 6000
    assert len(stream.rest) < 6000


def test_events_may_begin_with_another_key(tmp_path: Path) -> None:
    """Written anew with sorted keys, each event begins with "args"; their lists of objects do not."""
    events = [{"args": {"x": [{"name": "a"}, {"name": "b"}]}, **event} for event in _EVENTS[2:] * 500]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": events}, sort_keys=True))
    assert read_kineto(path).gpu.kernels.num_rows == 500


def test_a_document_without_two_events_is_not_read_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program's JSON of gigabytes: given up at the limit, which is 1000 bytes here."""
    monkeypatch.setattr(json_events, "_MOST_AROUND_BYTES", 1000)
    endless = (b'{"nodes": [' if first == 0 else b"1, " * 50 for first in range(10**9))
    with pytest.raises(BrokenOff, match="hold no two events"):
        list(EventStream(endless).batches())


def test_real_traces_in_small_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 10 kB end within events of every kind; whole, it is one piece."""
    path = shared_file("kineto", "6f3f5884")
    whole = read_kineto(path)
    monkeypatch.setattr(kineto_file, "_CHUNK_BYTES", 10_000)
    pieces = read_kineto(path)
    assert pieces.gpu.kernels.equals(whole.gpu.kernels)
    assert pieces.ops.to_pylist() == whole.ops.to_pylist()


def test_the_rank_of_a_distributed_run_is_read(tmp_path: Path) -> None:
    """Worker 3 of 8; a trace of one process has none."""
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(_DOCUMENT))
    assert read_kineto(path).rank == 3
    path.write_text(json.dumps({"traceEvents": _EVENTS}))
    assert read_kineto(path).rank is None


def test_traces_of_2021_have_other_categories(tmp_path: Path) -> None:
    """PyTorch 1.8.1: capital letters, streams as texts, times since 1970."""
    events = [
        {
            "ph": "X",
            "cat": "Operator",
            "name": "aten::mm",
            "pid": 9,
            "tid": "9",
            "ts": 1625000000000000,
            "dur": 3,
        },
        {"ph": "X", "cat": "Runtime", "name": "cudaLaunchKernel", "pid": 9, "tid": 9, "ts": 1625000000000001},
        {
            "ph": "X",
            "cat": "Kernel",
            "name": "volta_sgemm",
            "pid": 0,
            "tid": "stream 7",
            "ts": 1625000000000010,
            "dur": 20,
            "args": {"device": 0, "stream": 7, "correlation": 5, "external id": 2},
        },
    ]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": events}))
    trace = read_kineto(path)
    (kernel,) = trace.gpu.kernels.to_pylist()
    assert (kernel["name"], kernel["pid"], kernel["stream"]) == ("volta_sgemm", 9, 7)
    assert kernel["end_ns"] == 1_625_000_000_000_030_000
    assert trace.gpu.calls["name"].to_pylist() == ["cudaLaunchKernel"]


def test_amd_traces_name_hips_calls() -> None:
    """A ROCm trace: hipEventSynchronize among 381 calls, and DtoD copies of known size."""
    gpu = read_kineto(shared_file("kineto", "2bd22c87")).gpu
    assert "hipEventSynchronize" in gpu.calls["name"].to_pylist()
    assert 13248 in gpu.copies["size_bytes"].to_pylist()


def test_a_number_beyond_its_column_is_told(tmp_path: Path) -> None:
    """A thread id of 64 bits, where the system's have 32."""
    event = {**_EVENTS[1], "tid": 1 << 40}
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": [event]}))
    with pytest.raises(FileUnreadable, match="a number that no trace"):
        read_kineto(path)


@settings(max_examples=80)
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=6),
    kept=st.floats(0.2, 1),
    compressed=st.booleans(),
)
def test_damaged_traces_are_an_error_or_a_table(
    flips: list[tuple[float, int]], kept: float, compressed: bool, tmp_path: Path
) -> None:
    """Flipped bits and cuts, plain and gzipped: never another exception."""
    content = json.dumps({**_DOCUMENT, "traceEvents": _EVENTS * 20}).encode()
    damaged = bytearray(gzip.compress(content) if compressed else content)
    damaged = damaged[: int(kept * len(damaged))]
    for place, bit in flips:
        damaged[int(place * len(damaged))] ^= 1 << bit
    path = tmp_path / "trace.json"
    path.write_bytes(damaged)
    with suppress(FileUnreadable):
        read_kineto(path)
