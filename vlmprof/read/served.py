"""`raw/served.json`: what a profiler that attached to a server saw of its processes, for those without an agent."""

import time
from dataclasses import replace
from pathlib import Path

import msgspec

from vlmprof.errors import FileUnreadable
from vlmprof.model.process import Process
from vlmprof.read.spans import SpanCapture

SERVED_FILE = "served.json"


class ServedFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file.

    Attributes:
        unix_minus_session_ns: the realtime clock less the session clock when it was written.
    """

    processes: list[Process]
    unix_minus_session_ns: int
    schema: int = 1


def write_served(raw: Path, processes: list[Process]) -> None:
    """Note the processes of a server that is being measured; those noted before that are gone by now stay."""
    known = {process.pid: process for process in read_served(raw).processes}
    known |= {process.pid: process for process in processes}
    served = ServedFile(
        processes=list(known.values()), unix_minus_session_ns=time.time_ns() - time.perf_counter_ns()
    )
    (raw / SERVED_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(served), indent=1))


def read_served(raw: Path) -> ServedFile:
    """The file, or an empty one where there is none.

    Raises:
        FileUnreadable: it is damaged.
    """
    path = raw / SERVED_FILE
    if not path.exists():
        return ServedFile(processes=[], unix_minus_session_ns=0)
    try:
        return msgspec.json.decode(path.read_bytes(), type=ServedFile)
    except msgspec.DecodeError as error:
        raise FileUnreadable(f"{path} is damaged: {error}", hint="restore it from a copy") from error


def with_served(spans: SpanCapture, served: ServedFile) -> SpanCapture:
    """Spans with the processes in which no agent was loaded, and their clocks."""
    traced = {process.pid for process in spans.processes}
    others = [process for process in served.processes if process.pid not in traced]
    clocks = {process.pid: served.unix_minus_session_ns for process in others}
    return replace(
        spans,
        processes=[*spans.processes, *others],
        unix_minus_session_ns={**clocks, **spans.unix_minus_session_ns},
    )
