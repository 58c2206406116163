"""py-spy's Chrome trace: what every thread of one process was executing, from one sample to the next.

py-spy writes only changes: a frame begins where a sample first has it and ends where a sample no longer has
it. Between two events of a thread its stack is known and constant. Times count from py-spy's own start.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from vlmprof.errors import FileUnreadable
from vlmprof.model.tables import FRAMES, SAMPLES, STACKS
from vlmprof.read.stack_trace import known_line

_HINT = "make one with py-spy record --format chrometrace --idle --threads"
_THREAD_FRAME = re.compile(r"thread \((0x[0-9A-Fa-f]+|\d+)\)(?:: (.*))?$")


@dataclass(frozen=True, slots=True)
class PySpyTrace:
    """One process's stacks, ns since py-spy's start.

    Attributes:
        frames, stacks, samples: under FRAMES, STACKS and SAMPLES; a sample is a stretch of one stack.
        threads: name of each thread, by tid.
        pthread_ids: threads whose kernel id is not in the file; their tid is the address of the pthread.
    """

    frames: Any
    stacks: Any
    samples: Any
    threads: dict[int, str]
    pthread_ids: frozenset[int]


class _FrameArgs(msgspec.Struct):
    filename: str = ""
    line: int = 0


class _Event(msgspec.Struct):
    ph: str
    name: str
    pid: int
    tid: int
    ts: int
    args: _FrameArgs


_Frame = tuple[str, str, int]


def read_pyspy(path: Path) -> PySpyTrace:
    """A trace of one process.

    Raises:
        FileUnreadable: it is absent, truncated, foreign, or mixes the threads of several processes.
    """
    events = _decode(path)
    builder = _Builder()
    try:
        for pthread_id, of_thread in groupby(sorted(events, key=attrgetter("tid")), key=attrgetter("tid")):
            builder.add_thread(pthread_id, list(of_thread))
    except _Unbalanced as error:
        raise FileUnreadable(f"{path} mixes the threads of several processes: {error}", hint=_HINT) from error
    return builder.build()


class _Unbalanced(Exception):
    """A frame ends that has not begun."""


class _Builder:
    """Collects distinct frames and stacks, and the stretches that threads spent in them."""

    def __init__(self) -> None:
        self._frame_ids: dict[_Frame, int] = {}
        self._stack_ids: dict[tuple[int, ...], int] = {}
        self._samples: list[tuple[int, int, int, int, int]] = []
        self._threads: dict[int, str] = {}
        self._pthread_ids: set[int] = set()

    def add_thread(self, pthread_id: int, events: list[_Event]) -> None:
        for pid, start_ns, end_ns, stack in _stretches(events):
            tid, frames = self._identify(pthread_id, stack)
            ids = tuple(self._frame_ids.setdefault(frame, len(self._frame_ids)) for frame in frames)
            stack_id = self._stack_ids.setdefault(ids, len(self._stack_ids))
            self._samples.append((pid, tid, stack_id, start_ns, end_ns - start_ns))

    def build(self) -> PySpyTrace:
        frames = [(frame_id, *frame) for frame, frame_id in self._frame_ids.items()]
        stacks = [(stack_id, ids) for ids, stack_id in self._stack_ids.items()]
        samples = [(*sample, None, None) for sample in self._samples]
        return PySpyTrace(
            frames=_table(frames, FRAMES),
            stacks=_table(stacks, STACKS),
            samples=_table(samples, SAMPLES).sort_by("start_ns"),
            threads=self._threads,
            pthread_ids=frozenset(self._pthread_ids),
        )

    def _identify(self, pthread_id: int, stack: list[_Frame]) -> tuple[int, list[_Frame]]:
        """The kernel's thread id, which `--threads` writes as the outermost frame, and the other frames."""
        found = _THREAD_FRAME.match(stack[0][0])
        if found is None:
            self._pthread_ids.add(pthread_id)
            return pthread_id, stack
        tid = int(found[1], 0)
        self._threads[tid] = found[2] or ""
        if found[1].startswith("0x"):
            self._pthread_ids.add(tid)
        return tid, stack[1:]


def _stretches(events: list[_Event]) -> Iterator[tuple[int, int, int, list[_Frame]]]:
    """pid, start, end and stack of every stretch between two events of a thread in which it had one."""
    stack: list[_Frame] = []
    since_us = 0
    for event in events:
        if stack and event.ts > since_us:
            yield event.pid, since_us * 1000, event.ts * 1000, list(stack)
        since_us = event.ts
        frame = (event.name, event.args.filename, known_line(event.args.line))
        if event.ph == "B":
            stack.append(frame)
        elif not stack or stack.pop() != frame:
            raise _Unbalanced(f"{event.name} ends at {event.ts} us, which was not the innermost frame")


def _decode(path: Path) -> list[_Event]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror}", hint=_HINT) from error
    if not content:
        raise FileUnreadable(f"{path} is empty", hint=_HINT)
    try:
        return msgspec.json.decode(content, type=list[_Event])
    except msgspec.ValidationError as error:
        raise FileUnreadable(f"{path} is no Chrome trace of py-spy: {error}", hint=_HINT) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileUnreadable(f"{path} is truncated or no JSON: {error}", hint=_HINT) from error


def _table(rows: list[Any], schema: Any) -> Any:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)
