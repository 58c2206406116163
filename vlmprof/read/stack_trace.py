"""Stack samples as the readers of other profilers' files hand them on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from vlmprof.model.tables import FRAMES, SAMPLES, STACKS

LAST_LINE = 2**31 - 1


class Frame(NamedTuple):
    """One frame; file is "" and line 0 where the file does not say."""

    function: str
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class StackTrace:
    """Stack samples on the file's own clock.

    Attributes:
        source: the program that wrote the file, or the format's name.
        timed: whether times are those of the program; without, samples stand end to end in the file's order.
        samples, stacks, frames: under SAMPLES, STACKS and FRAMES.
        threads: name of each thread, by (pid, tid).
    """

    source: str
    timed: bool
    samples: Any
    stacks: Any
    frames: Any
    threads: dict[tuple[int, int], str]


def known_line(number: int) -> int:
    """A line number, or 0, which is unknown, for one that no file has.

    Samplers read code objects while the program changes them, and now and then write what they misread.
    """
    return number if 0 <= number <= LAST_LINE else 0


class StackBuilder:
    """Collects samples; equal frames and equal stacks are kept once."""

    def __init__(self) -> None:
        self._frame_ids: dict[Frame, int] = {}
        self._stack_ids: dict[tuple[int, ...], int] = {}
        self._rows: list[tuple[int, int, int, int, int]] = []

    def add(self, pid: int, tid: int, stack: Sequence[Frame], start_ns: int, duration_ns: int) -> None:
        """One sample of one thread; frames from the root to the leaf.

        A thread that is named by its pthread's address, which 32 bits do not hold, is told by that page's number.
        """
        if tid >= 2**31:
            tid = tid >> 12 & 0x7FFFFFFF
        ids = tuple(self._frame_ids.setdefault(frame, len(self._frame_ids)) for frame in stack)
        stack_id = self._stack_ids.setdefault(ids, len(self._stack_ids))
        self._rows.append((pid, tid, stack_id, start_ns, duration_ns))

    def build(self, source: str, *, timed: bool, threads: dict[tuple[int, int], str]) -> StackTrace:
        """All samples by start."""
        frames = [(frame_id, *frame) for frame, frame_id in self._frame_ids.items()]
        stacks = [(stack_id, ids) for ids, stack_id in self._stack_ids.items()]
        rows = [(*row, None, None) for row in sorted(self._rows, key=lambda row: row[3])]
        return StackTrace(
            source, timed, _table(rows, SAMPLES), _table(stacks, STACKS), _table(frames, FRAMES), threads
        )


def _table(rows: list[Any], schema: Any) -> Any:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)
