"""The events of a Kineto trace, batch by batch, as columns of numbers; nothing heavy is loaded for it."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[Any]]

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
    "python_function": "python",
}
TABLES = tuple(dict.fromkeys(_TABLE_OF.values()))
_ON_GPU = ("kernels", "copies", "syncs")


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


class Texts:
    """Texts that repeat, each once, with a number."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def add(self, texts: Iterable[str]) -> npt.NDArray[np.int32]:
        codes = self.codes
        return np.array([codes.setdefault(text, len(codes)) for text in texts], np.int32)


class KinetoEvents:
    """Collects a trace's events; times stay in microseconds until the base is known.

    Attributes:
        names, kinds: the texts that `name` and `category` of the columns are numbers of.
        categories: all that were met.
    """

    def __init__(self, tables: Iterable[str] = TABLES) -> None:
        """tables: of TABLES, those whose events are kept."""
        self.categories: set[str] = set()
        self.names = Texts()
        self.kinds = Texts()
        self._parts: dict[str, list[Columns]] = {table: [] for table in tables}
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
            if table in chosen and (table in _ON_GPU or isinstance(event.tid, int)):
                chosen[table].append(event)
        for table, some in chosen.items():
            if some:
                self._parts[table].append(self._columns(table, some))

    def take(self, table: str, base_ns: int) -> Columns:
        """All of a table, times in ns; what was kept of it is given up."""
        parts = self._parts.pop(table) or [self._columns(table, [])]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        start_ns = base_ns + _as_ns(columns.pop("ts"))
        columns["start_ns"] = start_ns
        columns["end_ns"] = start_ns + np.rint(columns.pop("dur") * 1000).astype(np.int64)
        if table in _ON_GPU:
            columns["pid"] = np.full(len(start_ns), self._pids.most_common(1)[0][0] if self._pids else 0)
        return columns

    def _columns(self, table: str, events: list[Event]) -> Columns:
        columns = {
            "name": self.names.add(_name_of(event) for event in events),
            "ts": np.array([event.ts for event in events]),
            "dur": np.array([event.dur or 0.0 for event in events]),
        }
        if table not in _ON_GPU:
            columns |= self._threads(events)
        if table == "ops":
            return {**columns, "category": self.kinds.add(event.cat for event in events)}
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

    def _threads(self, events: list[Event]) -> Columns:
        pids = [event.pid if isinstance(event.pid, int) else 0 for event in events]
        self._pids.update(pids)
        return {"pid": np.array(pids, np.int64), "tid": np.array([event.tid for event in events], np.int64)}


def _as_ns(times_us: Any) -> Any:
    """Microseconds since 1970, times 1000, are more than a double holds to the last digit: whole ones apart."""
    whole_us = np.floor(times_us)
    return whole_us.astype(np.int64) * 1000 + np.rint((times_us - whole_us) * 1000).astype(np.int64)


def _name_of(event: Event) -> str:
    """Memsets are told by their category: their names vary."""
    return "Memset" if event.cat == "gpu_memset" else event.name
