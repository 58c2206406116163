"""From the events of a Kineto trace to tables."""

import re
from typing import Any

import numpy as np
import pyarrow as pa

from vlmprof.model.tables import CUDA_API, GPU_COPIES, GPU_KERNELS, GPU_SYNCS
from vlmprof.read.gpu_trace import COPY_KINDS, MEMORY_KINDS, as_table, recoded
from vlmprof.read.kineto_events import KinetoEvents, Texts

CPU_OPS = pa.schema(
    [
        ("pid", pa.int32()),
        ("tid", pa.int32()),
        ("category", pa.dictionary(pa.int32(), pa.string())),
        ("name", pa.dictionary(pa.int32(), pa.string())),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
    ]
)
"""Operators (`cpu_op`) and what the program marked itself (`user_annotation`)."""

_SYNCS = {
    "Event Sync": "event",
    "Stream Wait Event": "stream_wait_event",
    "Stream Sync": "stream",
    "Context Sync": "context",
}


def kernels_table(events: KinetoEvents, base_ns: int) -> Any:
    columns = _whole(events, "kernels", base_ns)
    nodes = columns["graph_node_id"]
    return as_table({**columns, "graph_node_id": pa.array(nodes, mask=nodes < 0)}, GPU_KERNELS)


def copies_table(events: KinetoEvents, base_ns: int) -> Any:
    columns = _whole(events, "copies", base_ns)
    names = [_copy(name) for name in columns["name"].dictionary.to_pylist()]
    kinds = {
        column: recoded(columns["name"].indices, [name[place] for name in names])
        for place, column in enumerate(("kind", "source_memory", "target_memory"))
    }
    return as_table({**columns, **kinds}, GPU_COPIES)


def calls_table(events: KinetoEvents, base_ns: int) -> Any:
    return as_table(_whole(events, "calls", base_ns), CUDA_API)


def syncs_table(events: KinetoEvents, base_ns: int) -> Any:
    columns = _whole(events, "syncs", base_ns)
    kinds = [_SYNCS.get(name, "unknown") for name in columns["name"].dictionary.to_pylist()]
    # The same number stands for "all streams" as in CUPTI, signed or not.
    stream = np.where((columns["stream"] < 0) | (columns["stream"] >= 2**32 - 1), -1, columns["stream"])
    return as_table({**columns, "stream": stream, "kind": recoded(columns["name"].indices, kinds)}, GPU_SYNCS)


def ops_table(events: KinetoEvents, base_ns: int) -> Any:
    return as_table(_whole(events, "ops", base_ns), CPU_OPS)


def _whole(events: KinetoEvents, table: str, base_ns: int) -> dict[str, Any]:
    """A table's columns with names as texts."""
    columns: dict[str, Any] = {**events.take(table, base_ns)}
    columns["name"] = _dictionary(columns["name"], events.names)
    if "category" in columns:
        columns["category"] = _dictionary(columns["category"], events.kinds)
    return columns


def _dictionary(codes: Any, texts: Texts) -> Any:
    """Codes of texts as a dictionary column of those that occur."""
    used, compact = np.unique(codes, return_inverse=True)
    known = list(texts.codes)
    return recoded(pa.array(compact.astype(np.int32)), [known[code] for code in used.tolist()])


def _copy(name: str) -> tuple[str, str | None, str | None]:
    """Kind and memories of `"Memcpy HtoD (Pageable -> Device)"`."""
    if name == "Memset":
        return "Memset", None, "device"
    found = re.match(r"Memcpy (\w+) \((\w+)(?: -> (\w+))?", name)
    kind, source, target = found.groups() if found else ("other", None, None)
    return kind if kind in COPY_KINDS else "other", _memory(source), _memory(target)


def _memory(name: str | None) -> str:
    return name.lower() if name and name.lower() in MEMORY_KINDS else "unknown"
