"""Reads the file of a Kineto trace, plain or gzipped, in pieces; every failure is one of the file."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from vlmprof.errors import FileUnreadable
from vlmprof.read.json_events import BrokenOff, EventStream
from vlmprof.read.kineto_events import KNOWN, Event, KinetoEvents

HINT = "make one with torch.profiler, or with vLLM's --profiler-config"
_CHUNK_BYTES = 2 << 20


class _Distributed(msgspec.Struct):
    rank: int | None = None


class Rest(msgspec.Struct, rename="camel"):
    """The trace with its last events."""

    trace_events: list[Event]
    base_time_nanoseconds: int = 0
    distributed_info: _Distributed | None = None


def read_events(path: Path, events: KinetoEvents) -> Rest:
    """Collect the events of a trace; memory is that of what is kept of them and a few megabytes.

    Raises:
        FileUnreadable: it is absent, truncated, no JSON, or not a trace of PyTorch's profiler.
    """
    try:
        rest = _read(path, events)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileUnreadable(f"{path} is truncated or damaged: {error}", hint="copy it again") from error
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror}", hint=HINT) from error
    except msgspec.ValidationError as error:
        raise FileUnreadable(f"{path} is no trace of PyTorch's profiler: {error}", hint=HINT) from error
    except (BrokenOff, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileUnreadable(f"{path} is truncated or no JSON: {error}", hint=HINT) from error
    except OverflowError as error:
        raise unlikely_number(path, error) from error
    if not events.categories & KNOWN:
        found = ", ".join(sorted(filter(None, events.categories))[:5]) or "no events"
        raise FileUnreadable(f"{path} is no trace of PyTorch's profiler: it has {found}", hint=HINT)
    return rest


def unlikely_number(path: Path, error: Exception) -> FileUnreadable:
    """The error of a trace with a number that does not fit its column."""
    return FileUnreadable(f"{path}: a number that no trace of PyTorch's profiler has: {error}", hint=HINT)


def _read(path: Path, events: KinetoEvents) -> Rest:
    stream = EventStream(_chunks(path))
    decoder = msgspec.json.Decoder(list[Event])
    for batch in stream.batches():
        _add(path, events, decoder.decode(batch))
    if not stream.rest.strip():
        raise FileUnreadable(f"{path} is empty", hint=HINT)
    rest = msgspec.json.decode(stream.rest, type=Rest)
    _add(path, events, rest.trace_events)
    return rest


def _add(path: Path, events: KinetoEvents, batch: list[Event]) -> None:
    try:
        events.add(batch)
    except msgspec.ValidationError as error:
        raise FileUnreadable(
            f"{path}: an event's arguments are not as PyTorch writes them: {error}", hint=HINT
        ) from error


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        is_compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        content = gzip.GzipFile(fileobj=file) if is_compressed else file
        while chunk := content.read(_CHUNK_BYTES):
            yield chunk
