"""Which Python stack a thread was in at an instant: that of the nearest sample, or of the stretch around it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.analysis.stack_table import Ints, as_ints

NONE = -1


def nearest_stacks(samples: Any, pid: Ints, tid: Ints, at_ns: Ints) -> Ints:
    """Stack id of the sample of each thread that was taken nearest to each instant.

    A sample is taken at its end. One that was taken further away than the time that it stands for says nothing,
    as while the sampler paused: NONE.

    Args:
        samples: the table `samples`.
        pid, tid, at_ns: n threads and instants.
    """
    return _by_thread(samples, pid, tid, at_ns, _nearest_end)


def enclosing_stacks(samples: Any, pid: Ints, tid: Ints, at_ns: Ints) -> Ints:
    """Stack id of the sample of each thread that each instant lies in, NONE where it lies in none.

    For samples that are no moments but stretches in which a thread's stack was known, as a tracer records them;
    those of a thread do not overlap.

    Args:
        samples, pid, tid, at_ns: as of `nearest_stacks`.
    """
    return _by_thread(samples, pid, tid, at_ns, _around)


StackLookup = Callable[[Any, Ints, Ints, Ints], Ints]
"""`nearest_stacks` or `enclosing_stacks`."""


def _by_thread(
    samples: Any, pid: Ints, tid: Ints, at_ns: Ints, find: Callable[[Ints, Ints, Ints], Ints]
) -> Ints:
    """Look each instant up among the samples of its thread; `find` gives the sample's position or NONE."""
    found = np.full(len(at_ns), NONE, np.int64)
    wanted = pa.array(np.unique(tid), samples["tid"].type)
    samples = samples.filter(pc.is_in(samples["tid"], value_set=wanted))
    if not samples.num_rows:
        return found
    columns = ("pid", "tid", "start_ns", "duration_ns", "stack_id")
    sample_pid, sample_tid, start_ns, duration_ns, stack_id = (as_ints(samples[name]) for name in columns)
    order = np.lexsort((start_ns + duration_ns, sample_tid, sample_pid))
    changes = np.flatnonzero((np.diff(sample_pid[order]) != 0) | (np.diff(sample_tid[order]) != 0)) + 1
    for own in np.split(order, changes):
        mine = np.flatnonzero((tid == sample_tid[own[0]]) & (pid == sample_pid[own[0]]))
        place = find(start_ns[own], start_ns[own] + duration_ns[own], at_ns[mine])
        found[mine] = np.where(place == NONE, NONE, stack_id[own[place]])
    return found


def _nearest_end(start_ns: Ints, end_ns: Ints, at_ns: Ints) -> Ints:
    place = _nearest(end_ns, at_ns)
    return np.where(np.abs(end_ns[place] - at_ns) <= (end_ns - start_ns)[place], place, NONE)


def _around(start_ns: Ints, end_ns: Ints, at_ns: Ints) -> Ints:
    place = np.minimum(np.searchsorted(end_ns, at_ns, side="right"), len(end_ns) - 1)
    return np.where((start_ns[place] <= at_ns) & (at_ns < end_ns[place]), place, NONE)


def _nearest(sorted_ns: Ints, at_ns: Ints) -> Ints:
    """Position of the nearest of some sorted instants; of two equally near the earlier."""
    after = np.minimum(np.searchsorted(sorted_ns, at_ns), len(sorted_ns) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(at_ns - sorted_ns[before] <= sorted_ns[after] - at_ns, before, after)
