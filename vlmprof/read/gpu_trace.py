"""GPU work as every reader of it hands it on: three tables on the file's own clock."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from vlmprof.model.clock import ClockMap

COPY_KINDS = ("HtoD", "DtoH", "DtoD", "PtoP", "HtoH", "Memset", "other")
MEMORY_KINDS = ("pageable", "pinned", "device", "array", "managed", "host", "unknown")
SYNC_KINDS = ("unknown", "event", "stream_wait_event", "stream", "context")


@dataclass(frozen=True, slots=True)
class GpuTrace:
    """What one file says of kernels, copies, CUDA calls and synchronizations, each sorted by start.

    Attributes:
        source: the program that wrote the file, with its version.
        origin_unix_ns: unix time at the file's time 0, None where the file does not say.
        kernels: under GPU_KERNELS; a CUDA graph that was traced as a whole is one row.
        copies: under GPU_COPIES, kinds of COPY_KINDS and MEMORY_KINDS; memsets are among them.
        calls: under CUDA_API, runtime and driver.
        syncs: under GPU_SYNCS, kinds of SYNC_KINDS.
    """

    source: str
    origin_unix_ns: int | None
    kernels: Any
    copies: Any
    calls: Any
    syncs: Any

    def on_clock(self, clock: ClockMap) -> "GpuTrace":
        """The same on the session clock; the origin is dropped with the clock that it belonged to."""
        names = ("kernels", "copies", "calls", "syncs")
        tables = {name: map_times(getattr(self, name), clock) for name in names}
        return replace(self, origin_unix_ns=None, **tables)


def map_times(table: Any, clock: ClockMap) -> Any:
    """A table with its `start_ns` and `end_ns` on the session clock."""
    for name in ("start_ns", "end_ns"):
        times = table[name].to_numpy().astype(np.int64, copy=False)
        column = pa.array(clock.to_session(times))
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def as_table(columns: dict[str, Any], schema: Any) -> Any:
    """Columns under a schema, cast to its types and sorted by start."""
    table = pa.table({name: columns[name] for name in schema.names}).cast(schema)
    start_ns = table["start_ns"].to_numpy()
    if (start_ns[1:] >= start_ns[:-1]).all():
        return table
    return table.take(pa.array(np.argsort(start_ns, kind="stable")))


def recoded(codes: Any, texts: Sequence[str | None]) -> Any:
    """Codes of texts, some of them equal, as a dictionary column in which each text is once."""
    distinct = pa.array(texts, pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(distinct.indices.take(codes), distinct.dictionary)
