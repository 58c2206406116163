"""PyTorch profiler's trace (Kineto): kernels, copies, CUDA calls, operators and annotations; unix time.

A time is `baseTimeNanoseconds + ts * 1000`; older traces have no base and count from 1970 by themselves.
One file is one process, whose id stands in its CPU events; the "pid" of a GPU event is a device. Traces of AMD's
GPUs have the same categories, with HIP's names in them. What else the program wrote into the file, which may be its
environment, is not read.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from vlmprof.model.clock import ClockMap
from vlmprof.read.gpu_trace import GpuTrace, map_times
from vlmprof.read.kineto_events import TABLES, KinetoEvents
from vlmprof.read.kineto_file import read_events, unlikely_number
from vlmprof.read.kineto_tables import (
    CPU_OPS,
    calls_table,
    copies_table,
    kernels_table,
    ops_table,
    syncs_table,
)
from vlmprof.read.stack_trace import StackTrace

__all__ = ["CPU_OPS", "KinetoTrace", "read_kineto"]


@dataclass(frozen=True, slots=True)
class KinetoTrace:
    """One process's trace; `gpu` and `ops` are in unix ns until they are put on another clock.

    Attributes:
        rank: of the process, where it was one of several.
        stacks: what Python executed, where that was asked for and recorded (`with_stack=True`); unix ns.
    """

    gpu: GpuTrace
    ops: Any
    rank: int | None = None
    stacks: StackTrace | None = None

    def on_clock(self, clock: ClockMap) -> "KinetoTrace":
        """Operators and GPU work on the session clock."""
        return replace(self, gpu=self.gpu.on_clock(clock), ops=map_times(self.ops, clock), stacks=None)


def read_kineto(path: Path, *, python: bool = False) -> KinetoTrace:
    """A trace, plain or gzipped, read in pieces: memory is that of its tables and a few megabytes.

    Args:
        python: read the Python stacks too.

    Raises:
        FileUnreadable: it is absent, truncated, no JSON, or not a trace of PyTorch's profiler.
    """
    events = KinetoEvents(TABLES if python else [name for name in TABLES if name != "python"])
    rest = read_events(path, events)
    base_ns = rest.base_time_nanoseconds
    try:
        tables = (make(events, base_ns) for make in (kernels_table, copies_table, calls_table, syncs_table))
        gpu = GpuTrace("kineto", 0, *tables)
        rank = rest.distributed_info.rank if rest.distributed_info else None
        ops = ops_table(events, base_ns)
        return KinetoTrace(gpu, ops, rank, _stacks(events, base_ns) if python else None)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise unlikely_number(path, error) from error


def _stacks(events: KinetoEvents, base_ns: int) -> StackTrace | None:
    columns = events.take("python", base_ns)
    if not len(columns["name"]):
        return None
    from vlmprof.read.kineto_stacks import python_stacks  # loads the compiler

    return python_stacks(columns, list(events.names.codes))
