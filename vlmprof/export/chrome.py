"""Chrome's trace format, as PyTorch's profiler writes it: for chrome://tracing, Perfetto, HTA and TensorBoard.

Spans are annotations, CUDA calls and kernels carry their correlation, flows lead from one to the other. A GPU's
process is its device; the process that launched stands in the arguments.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from vlmprof.export.timeline import Names, Timeline, ints, stacks_by_id, texts
from vlmprof.units import NS_PER_US

Event = dict[str, Any]


def write_chrome(timeline: Timeline, path: Path) -> None:
    """Write one JSON document; times are microseconds with three decimals, since the document's base time.

    Of microseconds since 1970 a double holds no more than quarters: the base is the run's first nanosecond.
    """
    encoder = msgspec.json.Encoder()
    base_ns = timeline.start_ns
    timeline = timeline.since(base_ns)
    with path.open("wb") as file:
        head = b'{"schemaVersion":1,"displayTimeUnit":"ms","baseTimeNanoseconds":%d,"stackFrames":'
        file.write(head % base_ns)
        file.write(encoder.encode(_stack_frames(timeline)) + b',"samples":')
        file.write(encoder.encode(list(_samples(timeline))) + b',"traceEvents":[')
        for number, event in enumerate(_events(timeline)):
            file.write((b",\n" if number else b"\n") + encoder.encode(event))
        file.write(b"\n]}\n")


def _events(timeline: Timeline) -> Iterator[Event]:
    yield from _names(timeline)
    yield from _spans(timeline)
    yield from _calls(timeline)
    yield from _on_gpu(timeline.gpu_kernels, "kernel", texts(timeline.gpu_kernels, "name"))
    yield from _on_gpu(timeline.gpu_copies, "gpu_memcpy", _copy_names(timeline.gpu_copies))
    yield from _flows(timeline)


def _names(timeline: Timeline) -> Iterator[Event]:
    names = Names(timeline.processes)
    for pid, process in names.processes.items():
        yield _named("process_name", pid, 0, names.process(pid))
        for thread in process.threads:
            yield _named("thread_name", pid, thread.tid, thread.name or f"thread {thread.tid}")


def _named(kind: str, pid: int, tid: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "ts": 0, "args": {"name": name}}


def _spans(timeline: Timeline) -> Iterator[Event]:
    names, requests = texts(timeline.spans, "name"), timeline.spans["request_ids"].to_pylist()
    for row, event in enumerate(_on_thread(timeline.spans, "user_annotation", names)):
        yield {**event, "args": {"requests": requests[row] or []}}


def _calls(timeline: Timeline) -> Iterator[Event]:
    calls = timeline.cuda_api
    correlations = ints(calls, "correlation_id").tolist()
    for row, event in enumerate(_on_thread(calls, "cuda_runtime", texts(calls, "name"))):
        yield {**event, "args": {"correlation": correlations[row]}}


def _on_thread(table: Any, category: str, names: list[str]) -> Iterator[Event]:
    columns = [ints(table, name).tolist() for name in ("pid", "tid", "start_ns", "end_ns")]
    for name, pid, tid, start_ns, end_ns in zip(names, *columns, strict=True):
        yield {
            "ph": "X",
            "cat": category,
            "name": name,
            "pid": pid,
            "tid": tid,
            "ts": start_ns / NS_PER_US,
            "dur": (end_ns - start_ns) / NS_PER_US,
        }


def _on_gpu(table: Any, category: str, names: list[str]) -> Iterator[Event]:
    keys = ("pid", "device", "stream", "start_ns", "end_ns", "correlation_id")
    columns = [ints(table, name).tolist() for name in keys]
    more = {
        label: table[name].to_pylist()
        for label, name in (("bytes", "size_bytes"), ("graph node id", "graph_node_id"))
        if name in table.column_names
    }
    for row, (name, *values) in enumerate(zip(names, *columns, strict=True)):
        pid, device, stream, start_ns, end_ns, correlation = values
        args = {"device": device, "stream": stream, "correlation": correlation, "process": pid}
        yield {
            "ph": "X",
            "cat": "gpu_memset" if name.startswith("Memset") else category,
            "name": name,
            "pid": device,
            "tid": stream,
            "ts": start_ns / NS_PER_US,
            "dur": (end_ns - start_ns) / NS_PER_US,
            "args": args | {label: column[row] for label, column in more.items() if column[row] is not None},
        }


def _copy_names(copies: Any) -> list[str]:
    """As PyTorch calls them: `"Memcpy HtoD (Pageable -> Device)"`."""
    columns = (texts(copies, name) for name in ("kind", "source_memory", "target_memory"))
    return [
        f"Memset ({target.title()})"
        if kind == "Memset"
        else f"Memcpy {kind} ({source.title()} -> {target.title()})"
        for kind, source, target in zip(*columns, strict=True)
    ]


def _flows(timeline: Timeline) -> Iterator[Event]:
    """From each launch to what it launched: a correlation is one process's own."""
    calls = timeline.cuda_api
    keys = [ints(calls, name).tolist() for name in ("pid", "correlation_id", "tid", "start_ns")]
    launches = {(pid, number): (tid, start_ns) for pid, number, tid, start_ns in zip(*keys, strict=True)}
    flow = 0
    for table in (timeline.gpu_kernels, timeline.gpu_copies):
        names = ("pid", "correlation_id", "device", "stream", "start_ns")
        for pid, number, device, stream, start_ns in zip(
            *(ints(table, name).tolist() for name in names), strict=True
        ):
            if (launch := launches.get((pid, number))) is None:
                continue
            flow += 1
            common = {"id": flow, "cat": "ac2g", "name": "ac2g"}
            yield {**common, "ph": "s", "pid": pid, "tid": launch[0], "ts": launch[1] / NS_PER_US}
            yield {**common, "ph": "f", "bp": "e", "pid": device, "tid": stream, "ts": start_ns / NS_PER_US}


def _stack_frames(timeline: Timeline) -> dict[str, Event]:
    """Each stack as a chain of frames: an id per distinct path."""
    frames = {row["frame_id"]: row for row in timeline.frames.to_pylist()}
    chains: dict[str, Event] = {}
    for stack_id, ids in stacks_by_id(timeline).items():
        parent = ""
        for depth, frame_id in enumerate(ids):
            key = f"{stack_id}.{depth}"
            frame = frames[frame_id]
            chains[key] = {"name": frame["function"], "category": f"{frame['file']}:{frame['line']}"}
            if parent:
                chains[key]["parent"] = parent
            parent = key
    return chains


def _samples(timeline: Timeline) -> Iterator[Event]:
    depths = {stack_id: len(ids) for stack_id, ids in stacks_by_id(timeline).items()}
    keys = ("pid", "tid", "stack_id", "start_ns", "duration_ns")
    for pid, tid, stack_id, start_ns, duration_ns in zip(
        *(ints(timeline.samples, name).tolist() for name in keys), strict=True
    ):
        if depth := depths[stack_id]:
            yield {
                "name": "sample",
                "pid": pid,
                "tid": tid,
                "ts": start_ns / NS_PER_US,
                "sf": f"{stack_id}.{depth - 1}",
                "weight": duration_ns,
            }
