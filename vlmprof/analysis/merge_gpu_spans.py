"""Which span encloses an instant of a thread, innermost: a lookup made once and asked for millions of instants."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlmprof.analysis.stack_table import Ints

NONE = -1


@dataclass(frozen=True, slots=True, eq=False)
class _Owners:
    """Of one thread: from times_ns[i] until the next, the innermost span is row[i]."""

    times_ns: Ints
    row: Ints


class EnclosingSpans:
    """Looks up the innermost span of a thread at an instant."""

    def __init__(self, pid: Ints, tid: Ints, start_ns: Ints, end_ns: Ints, rows: Ints) -> None:
        """The spans to look among.

        Args:
            pid, tid, start_ns, end_ns: of all spans.
            rows: the spans that count; empty ones never enclose anything.
        """
        rows = rows[end_ns[rows] > start_ns[rows]]
        # Of two spans with the same times the outer one was written later, when it ended.
        rows = rows[np.lexsort((-rows, -end_ns[rows], start_ns[rows], tid[rows], pid[rows]))]
        changes = np.flatnonzero((np.diff(pid[rows]) != 0) | (np.diff(tid[rows]) != 0)) + 1
        self._of_thread = {
            (int(pid[own[0]]), int(tid[own[0]])): _owners(own, start_ns[own], end_ns[own])
            for own in np.split(rows, changes)
            if len(own)
        }

    def at(self, pid: Ints, tid: Ints, at_ns: Ints) -> Ints:
        """Row of the innermost span of each thread at each instant; NONE where there is none."""
        found = np.full(len(at_ns), NONE, np.int64)
        for (of_pid, of_tid), owners in self._of_thread.items():
            mine = np.flatnonzero((tid == of_tid) & (pid == of_pid))
            place = np.searchsorted(owners.times_ns, at_ns[mine], side="right") - 1
            found[mine] = np.where(place >= 0, owners.row[np.maximum(place, 0)], NONE)
        return found


def _owners(rows: Ints, start_ns: Ints, end_ns: Ints) -> _Owners:
    times: list[int] = []
    owners: list[int] = []
    for at_ns, row in _changes(rows, start_ns, end_ns):
        if times and times[-1] == at_ns:
            owners[-1] = row
        else:
            times.append(at_ns)
            owners.append(row)
    return _Owners(np.array(times, np.int64), np.array(owners, np.int64))


def _changes(rows: Ints, start_ns: Ints, end_ns: Ints) -> Iterator[tuple[int, int]]:
    """When the innermost span changes, and to which; of spans that do not nest it is the one that began last."""
    open_spans: list[tuple[int, int]] = []
    starts = zip(rows.tolist(), start_ns.tolist(), end_ns.tolist(), strict=True)
    for row, begin_ns, finish_ns in starts:
        yield from _closed(open_spans, begin_ns)
        open_spans.append((row, finish_ns))
        yield begin_ns, row
    yield from _closed(open_spans, None)


def _closed(open_spans: list[tuple[int, int]], until_ns: int | None) -> Iterator[tuple[int, int]]:
    """Take off the innermost spans that end by an instant; those that end under others go with them."""
    while open_spans and (until_ns is None or open_spans[-1][1] <= until_ns):
        _, at_ns = open_spans.pop()
        while open_spans and open_spans[-1][1] <= at_ns:
            open_spans.pop()
        yield at_ns, open_spans[-1][0] if open_spans else NONE
