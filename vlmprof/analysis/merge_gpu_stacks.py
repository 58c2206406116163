"""Which Python stack a thread was in at an instant: that of the nearest sample."""

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
    found = np.full(len(at_ns), NONE, np.int64)
    wanted = pa.array(np.unique(tid), samples["tid"].type)
    samples = samples.filter(pc.is_in(samples["tid"], value_set=wanted))
    if not samples.num_rows:
        return found
    sample_pid, sample_tid = as_ints(samples["pid"]), as_ints(samples["tid"])
    duration_ns, stack_id = as_ints(samples["duration_ns"]), as_ints(samples["stack_id"])
    taken_ns = as_ints(samples["start_ns"]) + duration_ns
    for of_pid, of_tid in sorted(set(zip(sample_pid.tolist(), sample_tid.tolist(), strict=True))):
        mine = np.flatnonzero((tid == of_tid) & (pid == of_pid))
        own = np.flatnonzero((sample_tid == of_tid) & (sample_pid == of_pid))
        own = own[np.argsort(taken_ns[own], kind="stable")]
        nearest = own[_nearest(taken_ns[own], at_ns[mine])]
        near = np.abs(taken_ns[nearest] - at_ns[mine]) <= duration_ns[nearest]
        found[mine] = np.where(near, stack_id[nearest], NONE)
    return found


def _nearest(sorted_ns: Ints, at_ns: Ints) -> Ints:
    """Position of the nearest of some sorted instants; of two equally near the earlier."""
    after = np.minimum(np.searchsorted(sorted_ns, at_ns), len(sorted_ns) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(at_ns - sorted_ns[before] <= sorted_ns[after] - at_ns, before, after)
