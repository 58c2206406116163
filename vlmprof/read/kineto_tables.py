"""From the events of a Kineto trace, batch by batch, to tables."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from vlmprof.model.tables import CUDA_API, GPU_COPIES, GPU_KERNELS, GPU_SYNCS
from vlmprof.read.gpu_trace import COPY_KINDS, MEMORY_KINDS, as_table, recoded

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

# The names of 2021 and those since: PyTorch 1.8.1 to 1.11 wrote the first.
_CATEGORIES = {
    "Operator": "cpu_op",
    "Runtime": "cuda_runtime",
    "Kernel": "kernel",
    "Memcpy": "gpu_memcpy",
    "Memset": "gpu_memset",
}
_OPS = ("cpu_op", "user_annotation")
_CALLS = ("cuda_runtime", "cuda_driver")
_COPIES = ("gpu_memcpy", "gpu_memset")
KNOWN = frozenset({*_OPS, *_CALLS, *_COPIES, "kernel", "cuda_sync", "python_function", "cpu_instant_event"})
"""Categories of which a trace of PyTorch's profiler has at least one."""

_TABLE_OF = {
    **dict.fromkeys(_OPS, "ops"),
    **dict.fromkeys(_CALLS, "calls"),
    **dict.fromkeys(_COPIES, "copies"),
    "kernel": "kernels",
    "cuda_sync": "syncs",
}
_ON_GPU = ("kernels", "copies", "syncs")
_SYNCS = {
    "Event Sync": "event",
    "Stream Wait Event": "stream_wait_event",
    "Stream Sync": "stream",
    "Context Sync": "context",
}


class Event(msgspec.Struct, gc=False):
    """One element of traceEvents; args stay as they are until their event's table wants them."""

    ph: str
    name: str = ""
    cat: str = ""
    pid: int | str = 0
    tid: int | str = 0
    ts: float = 0.0
    dur: float | None = None
    args: msgspec.Raw = msgspec.Raw(b"{}")


class _CallArgs(msgspec.Struct, gc=False):
    correlation: int = 0


class _GpuArgs(_CallArgs, rename={"graph_node_id": "graph node id"}, gc=False):
    device: int = 0
    stream: int = 0
    bytes: int = 0
    graph_node_id: int | None = None


class _Texts:
    """Texts that repeat, each once, with a number."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def add(self, texts: Iterable[str]) -> Any:
        codes = self.codes
        return np.array([codes.setdefault(text, len(codes)) for text in texts], np.int32)


class KinetoTables:
    """Collects a trace's events; times stay in microseconds until the base is known."""

    def __init__(self) -> None:
        self.categories: set[str] = set()
        self._parts: dict[str, list[dict[str, Any]]] = {table: [] for table in _TABLE_OF.values()}
        self._names = _Texts()
        self._kinds = _Texts()
        self._pids: Counter[int | str] = Counter()
        self._decode_call = msgspec.json.Decoder(_CallArgs).decode
        self._decode_gpu = msgspec.json.Decoder(_GpuArgs).decode

    def add(self, events: list[Event]) -> None:
        """Take in one batch.

        Raises:
            msgspec.ValidationError: the arguments of an event are of another shape than PyTorch's.
        """
        chosen: dict[str, list[Event]] = {table: [] for table in self._parts}
        for event in events:
            if event.ph != "X":
                continue
            event.cat = _CATEGORIES.get(event.cat, event.cat)
            self.categories.add(event.cat)
            table = _TABLE_OF.get(event.cat)
            # The profiler's own marks have a text for a thread; so have streams of 2021.
            if table and (table in _ON_GPU or isinstance(event.tid, int)):
                chosen[table].append(event)
        for table, some in chosen.items():
            if some:
                self._parts[table].append(self._columns(table, some))

    def kernels(self, base_ns: int) -> Any:
        columns = self._whole("kernels", base_ns)
        nodes = columns["graph_node_id"]
        return as_table({**columns, "graph_node_id": pa.array(nodes, mask=nodes < 0)}, GPU_KERNELS)

    def copies(self, base_ns: int) -> Any:
        columns = self._whole("copies", base_ns)
        names = [_copy(name) for name in columns["name"].dictionary.to_pylist()]
        kinds = {
            column: recoded(columns["name"].indices, [name[place] for name in names])
            for place, column in enumerate(("kind", "source_memory", "target_memory"))
        }
        return as_table({**columns, **kinds}, GPU_COPIES)

    def calls(self, base_ns: int) -> Any:
        return as_table(self._whole("calls", base_ns), CUDA_API)

    def syncs(self, base_ns: int) -> Any:
        columns = self._whole("syncs", base_ns)
        kinds = [_SYNCS.get(name, "unknown") for name in columns["name"].dictionary.to_pylist()]
        # The same number stands for "all streams" as in CUPTI, signed or not.
        stream = np.where((columns["stream"] < 0) | (columns["stream"] >= 2**32 - 1), -1, columns["stream"])
        return as_table(
            {**columns, "stream": stream, "kind": recoded(columns["name"].indices, kinds)}, GPU_SYNCS
        )

    def ops(self, base_ns: int) -> Any:
        return as_table(self._whole("ops", base_ns), CPU_OPS)

    def _columns(self, table: str, events: list[Event]) -> dict[str, Any]:
        columns = {
            "name": self._names.add(_name_of(event) for event in events),
            "ts": np.array([event.ts for event in events]),
            "dur": np.array([event.dur or 0.0 for event in events]),
        }
        if table not in _ON_GPU:
            columns |= self._threads(events)
        if table == "ops":
            return {**columns, "category": self._kinds.add(event.cat for event in events)}
        if table == "calls":
            calls = [self._decode_call(event.args) for event in events]
            return {**columns, "correlation_id": np.array([each.correlation for each in calls], np.int64)}
        args = [self._decode_gpu(event.args) for event in events]
        nodes = [-1 if each.graph_node_id is None else each.graph_node_id for each in args]
        return {
            **columns,
            "correlation_id": np.array([each.correlation for each in args], np.int64),
            "device": np.array([each.device for each in args], np.int64),
            "stream": np.array([each.stream for each in args], np.int64),
            "size_bytes": np.array([each.bytes for each in args], np.int64),
            "graph_node_id": np.array(nodes, np.int64),
        }

    def _threads(self, events: list[Event]) -> dict[str, Any]:
        pids = [event.pid if isinstance(event.pid, int) else 0 for event in events]
        self._pids.update(pids)
        return {"pid": np.array(pids, np.int64), "tid": np.array([event.tid for event in events], np.int64)}

    def _whole(self, table: str, base_ns: int) -> dict[str, Any]:
        """All parts of a table, with times in ns and names as texts; the parts are given up."""
        parts = self._parts.pop(table) or [self._columns(table, [])]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        start_ns = base_ns + _as_ns(columns.pop("ts"))
        columns["start_ns"] = start_ns
        columns["end_ns"] = start_ns + np.rint(columns.pop("dur") * 1000).astype(np.int64)
        columns["name"] = _dictionary(columns["name"], self._names)
        if "category" in columns:
            columns["category"] = _dictionary(columns["category"], self._kinds)
        if table in _ON_GPU:
            columns["pid"] = np.full(len(start_ns), self._pids.most_common(1)[0][0] if self._pids else 0)
        return columns


def _as_ns(times_us: Any) -> Any:
    """Microseconds since 1970, times 1000, are more than a double holds to the last digit: whole ones apart."""
    whole_us = np.floor(times_us)
    return whole_us.astype(np.int64) * 1000 + np.rint((times_us - whole_us) * 1000).astype(np.int64)


def _dictionary(codes: Any, texts: _Texts) -> Any:
    """Codes of texts as a dictionary column of those that occur."""
    used, compact = np.unique(codes, return_inverse=True)
    known = list(texts.codes)
    return recoded(pa.array(compact.astype(np.int32)), [known[code] for code in used.tolist()])


def _name_of(event: Event) -> str:
    """Memsets are told by their category: their names vary."""
    return "Memset" if event.cat == "gpu_memset" else event.name


def _copy(name: str) -> tuple[str, str | None, str | None]:
    """Kind and memories of `"Memcpy HtoD (Pageable -> Device)"`."""
    if name == "Memset":
        return "Memset", None, "device"
    found = re.match(r"Memcpy (\w+) \((\w+)(?: -> (\w+))?", name)
    kind, source, target = found.groups() if found else ("other", None, None)
    return kind if kind in COPY_KINDS else "other", _memory(source), _memory(target)


def _memory(name: str | None) -> str:
    return name.lower() if name and name.lower() in MEMORY_KINDS else "unknown"
