"""PyTorch profiler's trace (Kineto): kernels, copies, CUDA calls, operators and annotations; unix time.

A time is `baseTimeNanoseconds + ts * 1000`; older traces have no base and count from 1970 by themselves.
One file is one process, whose id stands in its CPU events; the "pid" of a GPU event is a device. Traces of AMD's
GPUs have the same categories, with HIP's names in them. What else the program wrote into the file, which may be its
environment, is not read.
"""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from vlmprof.errors import FileUnreadable
from vlmprof.model.clock import ClockMap
from vlmprof.read.gpu_trace import GpuTrace, map_times
from vlmprof.read.json_events import BrokenOff, EventStream
from vlmprof.read.kineto_tables import CPU_OPS, KNOWN, Event, KinetoTables

__all__ = ["CPU_OPS", "KinetoTrace", "read_kineto"]

_HINT = "make one with torch.profiler, or with vLLM's --profiler-config"
_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class KinetoTrace:
    """One process's trace; `gpu` and `ops` are in unix ns until they are put on another clock.

    Attributes:
        rank: of the process, where it was one of several.
    """

    gpu: GpuTrace
    ops: Any
    rank: int | None = None

    def on_clock(self, clock: ClockMap) -> "KinetoTrace":
        """The same on the session clock."""
        return replace(self, gpu=self.gpu.on_clock(clock), ops=map_times(self.ops, clock))


class _Distributed(msgspec.Struct):
    rank: int | None = None


class _Rest(msgspec.Struct, rename="camel"):
    """The trace with its last events."""

    trace_events: list[Event]
    base_time_nanoseconds: int = 0
    distributed_info: _Distributed | None = None


def read_kineto(path: Path) -> KinetoTrace:
    """A trace, plain or gzipped, read in pieces: memory is that of its tables and a few megabytes.

    Raises:
        FileUnreadable: it is absent, truncated, no JSON, or not a trace of PyTorch's profiler.
    """
    try:
        tables, rest = _read(path)
        if not tables.categories & KNOWN:
            found = ", ".join(sorted(filter(None, tables.categories))[:5]) or "no events"
            raise FileUnreadable(f"{path} is no trace of PyTorch's profiler: it has {found}", hint=_HINT)
        base_ns = rest.base_time_nanoseconds
        gpu = GpuTrace(
            "kineto",
            0,
            tables.kernels(base_ns),
            tables.copies(base_ns),
            tables.calls(base_ns),
            tables.syncs(base_ns),
        )
        rank = rest.distributed_info.rank if rest.distributed_info else None
        return KinetoTrace(gpu, tables.ops(base_ns), rank)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileUnreadable(f"{path} is truncated or damaged: {error}", hint="copy it again") from error
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror}", hint=_HINT) from error
    except msgspec.ValidationError as error:
        raise FileUnreadable(f"{path} is no trace of PyTorch's profiler: {error}", hint=_HINT) from error
    except (BrokenOff, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileUnreadable(f"{path} is truncated or no JSON: {error}", hint=_HINT) from error
    except (pa.ArrowInvalid, OverflowError) as error:
        raise FileUnreadable(
            f"{path}: a number that no trace of PyTorch's profiler has: {error}", hint=_HINT
        ) from error


def _read(path: Path) -> tuple[KinetoTables, _Rest]:
    stream, tables = EventStream(_chunks(path)), KinetoTables()
    decoder = msgspec.json.Decoder(list[Event])
    for batch in stream.batches():
        _add(path, tables, decoder.decode(batch))
    if not stream.rest.strip():
        raise FileUnreadable(f"{path} is empty", hint=_HINT)
    rest = msgspec.json.decode(stream.rest, type=_Rest)
    _add(path, tables, rest.trace_events)
    return tables, rest


def _add(path: Path, tables: KinetoTables, events: list[Event]) -> None:
    try:
        tables.add(events)
    except msgspec.ValidationError as error:
        raise FileUnreadable(
            f"{path}: an event's arguments are not as PyTorch writes them: {error}", hint=_HINT
        ) from error


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        is_compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        content = gzip.GzipFile(fileobj=file) if is_compressed else file
        while chunk := content.read(_CHUNK_BYTES):
            yield chunk
