"""PyTorch profiler's traces: real ones of CUDA and ROCm, small ones by hand, and files that are none."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from tests.unit.shared_data import shared_file
from vlmprof.analysis.kernels import breakdown_of_columns, kernel_breakdown
from vlmprof.errors import FileUnreadable
from vlmprof.model.clock import ClockMap
from vlmprof.model.tables import CUDA_API, GPU_COPIES, GPU_KERNELS
from vlmprof.read.kineto import CPU_OPS, read_kineto
from vlmprof.read.kineto_kernels import read_kernels

_BASE_NS = 1_700_000_000_000_000_000

_KERNEL = {
    "ph": "X",
    "cat": "kernel",
    "name": "gemm",
    "pid": 0,
    "tid": 7,
    "ts": 20.5,
    "dur": 2.272,
    "args": {"device": 0, "stream": 7, "correlation": 99, "graph node id": 12},
}
_CALL = {
    "ph": "X",
    "cat": "cuda_runtime",
    "name": "cudaLaunchKernel",
    "pid": 41,
    "tid": 42,
    "ts": 10.0,
    "dur": 5.0,
    "args": {"cbid": 211, "correlation": 99},
}


def _trace(path: Path, *events: dict[str, Any], **more: Any) -> Path:
    document = {"schemaVersion": 1, "baseTimeNanoseconds": _BASE_NS, "traceEvents": list(events), **more}
    path.write_text(json.dumps(document))
    return path


def _copy(name: str, category: str) -> dict[str, Any]:
    args = {"device": 0, "stream": 7, "correlation": 1, "bytes": 4096}
    return {**_KERNEL, "cat": category, "name": name, "args": args}


@pytest.mark.parametrize("fragment", ["0702619a", "2bd22c87", "6f3f5884", "e443f32f"])
def test_real_traces_have_as_many_rows_as_their_events(fragment: str) -> None:
    """Counted in the JSON itself; the sum of kernel times too, each rounded to its nanosecond."""
    path = shared_file("kineto", fragment)
    trace = read_kineto(path)
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    counts = Counter(event.get("cat") for event in events if event["ph"] == "X")
    assert trace.gpu.kernels.num_rows == counts["kernel"]
    assert trace.gpu.copies.num_rows == counts["gpu_memcpy"] + counts["gpu_memset"]
    assert trace.gpu.calls.num_rows == counts["cuda_runtime"] + counts["cuda_driver"]
    assert trace.ops.num_rows == counts["cpu_op"] + counts["user_annotation"]
    busy_ns = pc.sum(pc.subtract(trace.gpu.kernels["end_ns"], trace.gpu.kernels["start_ns"])).as_py()
    kernels = [event for event in events if event.get("cat") == "kernel"]
    assert busy_ns == sum(round(event["dur"] * 1000) for event in kernels)
    schemas = (trace.gpu.kernels.schema, trace.gpu.copies.schema, trace.gpu.calls.schema, trace.ops.schema)
    assert schemas == (GPU_KERNELS, GPU_COPIES, CUDA_API, CPU_OPS)


def test_real_launches_join_their_kernels() -> None:
    """vLLM on a B200: no kernel starts before the call that launches it."""
    gpu = read_kineto(shared_file("kineto", "e443f32f")).gpu
    calls = dict(zip(gpu.calls["correlation_id"].to_pylist(), gpu.calls["start_ns"].to_pylist(), strict=True))
    kernels = zip(gpu.kernels["correlation_id"].to_pylist(), gpu.kernels["start_ns"].to_pylist(), strict=True)
    joined = [(calls[correlation], start_ns) for correlation, start_ns in kernels if correlation in calls]
    assert len(joined) > 700
    assert all(call_ns <= kernel_ns for call_ns, kernel_ns in joined)


def test_times_are_the_base_and_rounded_nanoseconds(tmp_path: Path) -> None:
    """20.5 us after the base, for 2.272 us; the process is that of the CPU's events, the device the args'."""
    gpu = read_kineto(_trace(tmp_path / "trace.json", _CALL, _KERNEL)).gpu
    assert gpu.kernels.to_pylist() == [
        {
            "pid": 41,
            "device": 0,
            "stream": 7,
            "start_ns": _BASE_NS + 20_500,
            "end_ns": _BASE_NS + 22_772,
            "name": "gemm",
            "correlation_id": 99,
            "graph_node_id": 12,
        }
    ]
    call = gpu.calls.to_pylist()[0]
    assert (call["pid"], call["tid"], call["start_ns"]) == (41, 42, _BASE_NS + 10_000)


def test_without_a_base_times_are_unix_times(tmp_path: Path) -> None:
    """Before PyTorch 2.3 `ts` counted microseconds since 1970."""
    event = {**_CALL, "ts": 1_700_000_000_000_000.0}
    trace = read_kineto(_trace(tmp_path / "trace.json", event, baseTimeNanoseconds=0))
    assert trace.gpu.calls["start_ns"].to_pylist() == [_BASE_NS]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Memcpy HtoD (Pageable -> Device)", ("HtoD", "pageable", "device")),
        ("Memcpy DtoH (Device -> Pinned)", ("DtoH", "device", "pinned")),
        ("Memcpy HtoD (Host -> Device)", ("HtoD", "host", "device")),
        ("Memcpy AtoD (Array -> Device)", ("other", "array", "device")),
        ("CopyHostToDevice", ("other", "unknown", "unknown")),
        ("Memset (Device)", ("Memset", None, "device")),
    ],
)
def test_a_copys_name_says_its_kind_and_memories(
    name: str, expected: tuple[str, str | None, str], tmp_path: Path
) -> None:
    """CUDA tells pageable from pinned memory, ROCm says "Host"."""
    category = "gpu_memset" if name.startswith("Memset") else "gpu_memcpy"
    copies = read_kineto(_trace(tmp_path / "trace.json", _copy(name, category))).gpu.copies
    (row,) = copies.to_pylist()
    assert (row["kind"], row["source_memory"], row["target_memory"]) == expected
    assert row["size_bytes"] == 4096


def test_operators_and_annotations_keep_their_category(tmp_path: Path) -> None:
    """Marks of the profiler itself, whose thread is a text, are no operators."""
    operator = {**_CALL, "cat": "cpu_op", "name": "aten::conv2d", "args": {"Input Dims": [[1, 3]]}}
    annotation = {**_CALL, "cat": "user_annotation", "name": "execute_context_1", "ts": 5.0}
    mark = {"ph": "X", "cat": "Trace", "name": "PyTorch Profiler", "pid": "Spans", "tid": "PyTorch Profiler"}
    ops = read_kineto(_trace(tmp_path / "trace.json", operator, annotation, mark)).ops
    assert [(row["category"], row["name"]) for row in ops.to_pylist()] == [
        ("user_annotation", "execute_context_1"),
        ("cpu_op", "aten::conv2d"),
    ]


def test_all_tables_move_to_the_session_clock(tmp_path: Path) -> None:
    """Unix time minus the base is the session clock here."""
    trace = read_kineto(_trace(tmp_path / "trace.json", _CALL, _KERNEL, {**_CALL, "cat": "cpu_op"}))
    moved = trace.on_clock(ClockMap("kineto", offset_ns=-_BASE_NS))
    assert moved.gpu.kernels["start_ns"].to_pylist() == [20_500]
    assert moved.ops["end_ns"].to_pylist() == [15_000]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b'{"traceEvents": [{"ph": "X"', "truncated or no JSON"),
        (b"[1, 2, 3]", "no trace of PyTorch's profiler"),
        (b'{"profiles": []}', "no trace of PyTorch's profiler"),
        (b'{"traceEvents": []}', "it has no events"),
        (b'{"traceEvents": [{"ph": "X", "cat": "blink", "ts": 1}]}', "it has blink"),
        (gzip.compress(b'{"traceEvents": []}', mtime=0)[:-9], "truncated or damaged"),
    ],
)
def test_what_is_no_trace_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    """Empty, cut short, another JSON, another program's trace, a gzip file without its end."""
    path = tmp_path / "trace.json"
    path.write_bytes(content)
    with pytest.raises(FileUnreadable, match=message):
        read_kineto(path)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    """With the reason that the system gives."""
    with pytest.raises(FileUnreadable, match="No such file"):
        read_kineto(tmp_path / "absent.json")


def test_arguments_of_another_shape_are_refused(tmp_path: Path) -> None:
    """A newer version that names devices instead of counting them."""
    event = {**_KERNEL, "args": {"device": "cuda:0"}}
    with pytest.raises(FileUnreadable, match="arguments are not as PyTorch writes them"):
        read_kineto(_trace(tmp_path / "trace.json", event))


def test_synchronizations_have_their_kind(tmp_path: Path) -> None:
    """As torch writes them with enable_cuda_sync_events: a stream's, and one of all streams, which becomes -1."""
    events = [
        {
            "ph": "X",
            "cat": "cuda_sync",
            "name": name,
            "pid": 0,
            "tid": stream,
            "ts": 10.0,
            "dur": 5.0,
            "args": {"cuda_sync_kind": name, "stream": stream, "correlation": 3, "device": 0},
        }
        for name, stream in (("Stream Sync", 7), ("Context Sync", 4294967295), ("Fence", 9))
    ]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"schemaVersion": 1, "traceEvents": events}))
    syncs = read_kineto(path).gpu.syncs.to_pylist()
    assert [(row["kind"], row["stream"], row["end_ns"]) for row in syncs] == [
        ("stream", 7, 15_000),
        ("context", -1, 15_000),
        ("unknown", 9, 15_000),
    ]


@pytest.mark.parametrize("fragment", ["0702619a", "2bd22c87", "6f3f5884", "e443f32f"])
def test_kernels_alone_are_those_of_the_whole_import(fragment: str) -> None:
    """The breakdown from the light reading is that from the table."""
    path = shared_file("kineto", fragment)
    light, whole = read_kernels(path), read_kineto(path).gpu.kernels
    assert breakdown_of_columns(light) == kernel_breakdown(whole)


def test_kernels_alone_load_nothing_heavy() -> None:
    """Reading kernels for their breakdown imports neither pyarrow nor pandas: half of what they would cost."""
    program = (
        "import sys, vlmprof.read.kineto_kernels; print({'pyarrow', 'pandas', 'numba'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_file_of_other_events_is_refused_by_the_light_reading_too(tmp_path: Path) -> None:
    """A Chrome trace of another program."""
    path = tmp_path / "trace.json"
    path.write_text('{"traceEvents": [{"ph": "X", "cat": "v8", "name": "gc", "ts": 1, "dur": 2}]}')
    with pytest.raises(FileUnreadable, match="it has v8"):
        read_kernels(path)
