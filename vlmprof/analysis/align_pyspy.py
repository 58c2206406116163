"""Puts a py-spy trace on the session clock: its start is known to a tenth of a second, beacons tell the rest."""

from typing import Any

import numpy as np

from vlmprof.analysis.align import Ints, most_agreed
from vlmprof.analysis.align_austin import BEACON_FUNCTIONS, Beacons
from vlmprof.analysis.stack_table import as_ints
from vlmprof.model.clock import ClockMap
from vlmprof.units import NS_PER_MS

_START_UP_NS = 100 * NS_PER_MS
_ROUND_NS = 10 * NS_PER_MS
_LEAST_EDGES = 5


def align_pyspy(
    pid: int, samples: Any, stacks: Any, frames: Any, *, started_ns: int, beacons: Beacons | None
) -> ClockMap:
    """Find the session time of a trace's time 0.

    A stretch of one stack begins with the sample that first saw it: the change that made it happened up to a
    sampling round before.

    Args:
        samples, stacks, frames: tables of one trace, times from py-spy's start.
        started_ns: session time at which py-spy was started, at most 0.1 s before its time 0.
    """
    seen = _beacon_starts(samples, stacks, frames)
    low, high = _bounds(seen, beacons, started_ns) if beacons is not None else (seen[0][:0], seen[0][:0])
    if len(low) < _LEAST_EDGES:
        return ClockMap(
            source=f"py-spy:{pid}",
            offset_ns=started_ns + _START_UP_NS // 2,
            uncertainty_ns=_START_UP_NS // 2,
            evidence={"method": "start of py-spy", "edges": len(low)},
        )
    vote = most_agreed(low, high)
    return ClockMap(
        source=f"py-spy:{pid}",
        offset_ns=vote.middle_ns,
        uncertainty_ns=max(vote.half_width_ns, NS_PER_MS),
        evidence={"method": "beacons", "edges": len(low), "agreeing": vote.votes},
    )


def _beacon_starts(samples: Any, stacks: Any, frames: Any) -> tuple[Ints, Ints]:
    """Start and kind (1 or 2) of the stretches in which a beacon was on the stack."""
    kind_of_frame = {
        frame["frame_id"]: 1 + BEACON_FUNCTIONS.index(frame["function"])
        for frame in frames.to_pylist()
        if frame["function"] in BEACON_FUNCTIONS
    }
    kind_of_stack = {
        stack["stack_id"]: max((kind_of_frame.get(frame, 0) for frame in stack["frame_ids"]), default=0)
        for stack in stacks.to_pylist()
    }
    kinds = np.array([kind_of_stack[stack] for stack in samples["stack_id"].to_pylist()], np.int64)
    starts_ns = as_ints(samples["start_ns"])
    order = np.argsort(starts_ns[kinds > 0], kind="stable")
    return starts_ns[kinds > 0][order], kinds[kinds > 0][order]


def _bounds(seen: tuple[Ints, Ints], beacons: Beacons, started_ns: int) -> tuple[Ints, Ints]:
    """For each change seen, the bounds of the offset by every recorded one that may be it."""
    low: list[int] = []
    high: list[int] = []
    previous = 0
    for start_ns, kind in zip(*(column.tolist() for column in seen), strict=True):
        if kind == previous:
            continue
        previous = kind
        recorded = beacons.start_ns[beacons.kind == kind]
        near = recorded[np.abs(recorded - start_ns - started_ns - _START_UP_NS // 2) <= _START_UP_NS]
        low += (near - start_ns).tolist()
        high += (near - start_ns + _ROUND_NS).tolist()
    return np.array(low, np.int64), np.array(high, np.int64)
