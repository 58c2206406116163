"""Sets of instants as disjoint half-open intervals, with the set's operations; each is linear once sorted."""

from dataclasses import dataclass

import numpy as np

from vlmprof.analysis.stack_table import Flags, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """n intervals [start_ns, end_ns), none empty, each ending before the next starts."""

    start_ns: Ints
    end_ns: Ints

    def __len__(self) -> int:
        return len(self.start_ns)

    @property
    def length_ns(self) -> int:
        return int((self.end_ns - self.start_ns).sum())

    def inside(self, start_ns: int, end_ns: int) -> "Intervals":
        """The part within a window."""
        first = int(np.searchsorted(self.end_ns, start_ns, side="right"))
        last = int(np.searchsorted(self.start_ns, end_ns, side="left"))
        starts, ends = self.start_ns[first:last], self.end_ns[first:last]
        return Intervals(np.maximum(starts, start_ns), np.minimum(ends, end_ns))

    def covers(self, at_ns: Ints) -> Flags:
        """Which of some instants lie in the set."""
        if not len(self):
            return np.zeros(len(at_ns), np.bool_)
        place = np.searchsorted(self.start_ns, at_ns, side="right") - 1
        inside: Flags = (place >= 0) & (at_ns < self.end_ns[place])
        return inside


NOTHING = Intervals(np.empty(0, np.int64), np.empty(0, np.int64))


def union(start_ns: Ints, end_ns: Ints) -> Intervals:
    """The instants that at least one of n intervals covers; empty ones and their order do not matter."""
    some = end_ns > start_ns
    if not some.all():
        start_ns, end_ns = start_ns[some], end_ns[some]
    if np.any(start_ns[1:] < start_ns[:-1]):
        order = np.argsort(start_ns, kind="stable")
        start_ns, end_ns = start_ns[order], end_ns[order]
    if not len(start_ns):
        return Intervals(start_ns, end_ns)
    reach_ns = np.maximum.accumulate(end_ns)
    begins = np.concatenate([[True], start_ns[1:] > reach_ns[:-1]])
    ends = np.concatenate([begins[1:], [True]])
    return Intervals(start_ns[begins], reach_ns[ends])


def join(one: Intervals, other: Intervals) -> Intervals:
    """The instants of either set."""
    return union(np.concatenate([one.start_ns, other.start_ns]), np.concatenate([one.end_ns, other.end_ns]))


def intersect(one: Intervals, other: Intervals) -> Intervals:
    """The instants of both sets."""
    first = np.searchsorted(one.end_ns, other.start_ns, side="right")
    last = np.searchsorted(one.start_ns, other.end_ns, side="left")
    count = np.maximum(last - first, 0)
    theirs = np.repeat(np.arange(len(count)), count)
    ours = np.arange(len(theirs)) - np.repeat(np.cumsum(count) - count - first, count)
    return Intervals(
        np.maximum(one.start_ns[ours], other.start_ns[theirs]),
        np.minimum(one.end_ns[ours], other.end_ns[theirs]),
    )


def subtract(one: Intervals, other: Intervals) -> Intervals:
    """The instants of the first set that are not in the second."""
    if not len(one) or not len(other):
        return one
    low_ns = min(one.start_ns[0], other.start_ns[0])
    high_ns = max(one.end_ns[-1], other.end_ns[-1])
    starts = np.concatenate([[low_ns], other.end_ns])
    ends = np.concatenate([other.start_ns, [high_ns]])
    some = ends > starts
    return intersect(one, Intervals(starts[some], ends[some]))
