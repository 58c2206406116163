"""Dates the samples of several processes by the one whose clock austin kept best.

austin reads its processes one after another, sweep after sweep, and gives each its own axis: the sum of its
durations. A round that it fails to read, because the process changed under it, is lost from that axis: of busy
processes tens of milliseconds in a second were, a few at a time, which no single offset and no step can mend.
But the file keeps the order in which rows were taken. A row stands beside the rows that the same sweep took of the
lead, the process that lost least: their time is its time, up to the length of a part of a sweep, which is constant
and which beacons tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vlmprof.analysis.align import Ints
from vlmprof.analysis.align_austin import Arrivals, AustinRows, BeaconFit, Beacons, align_austin, fit_beacons
from vlmprof.errors import ClockError
from vlmprof.model.clock import ClockMap

_UNFITTED_NS = 2_000_000
# Further apart than any sweep: the sampler was paused between the lead's two rows.
_PAUSE_NS = 50_000_000


@dataclass(frozen=True, slots=True, eq=False)
class RoundClockMap(ClockMap):
    """A clock known at each of a process's rounds.

    Attributes:
        round_ns: source times of the rounds, ascending; session_ns: their session times, never falling.
    """

    round_ns: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    session_ns: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def to_session(self, source_ns: Ints) -> Ints:
        """The session time of the last round not after each source time, and what has passed since on the axis."""
        at = np.maximum(np.searchsorted(self.round_ns, source_ns, side="right") - 1, 0)
        moved: Ints = self.session_ns[at] + (source_ns - self.round_ns[at])
        return moved


def align_sweeps(
    rows: Mapping[int, AustinRows], arrivals: Arrivals | None, beacons: Mapping[int, Beacons]
) -> tuple[dict[int, ClockMap], dict[int, ClockError]]:
    """Find the session times of every process of one capture.

    Args:
        rows: per pid, `MojoCapture.rows_of(pid)`, at least one row each.
        beacons: per pid, where its agent recorded any.

    Returns:
        Clocks per pid, and for each pid without one the reason.
    """
    clocks: dict[int, ClockMap] = {}
    refused: dict[int, ClockError] = {}
    lead: int | None = None
    for pid in sorted(rows, key=lambda pid: -int(rows[pid].source_ns[-1])):
        try:
            if lead is None:
                clocks[pid] = align_austin(pid, rows[pid], arrivals, beacons.get(pid))
                lead = pid
            else:
                clocks[pid] = _align_beside(pid, rows[pid], rows[lead], clocks[lead], beacons.get(pid))
        except ClockError as error:
            refused[pid] = error
    return clocks, refused


def _align_beside(
    pid: int, rows: AustinRows, lead_rows: AustinRows, lead: ClockMap, beacons: Beacons | None
) -> ClockMap:
    """Date a process's rows by the lead's rows before or after them in the file, whichever agrees better."""
    candidates = []
    for neighbour, session_ns in _beside(rows, lead_rows, lead).items():
        fit = None
        if beacons is not None:
            dated = AustinRows(rows.tid, session_ns, rows.end_offset, rows.beacon)
            fit = fit_beacons(dated, beacons, 0)
        candidates.append((neighbour, session_ns, fit or BeaconFit(0, 0.0, 0, _UNFITTED_NS, {})))
    neighbour, session_ns, fit = min(candidates, key=lambda candidate: candidate[2].uncertainty_ns)
    # The drift of the fit is left out: the lead's clock has its own.
    round_ns, first = np.unique(rows.source_ns, return_index=True)
    dated_ns = np.maximum.accumulate(session_ns[first] + fit.offset_ns)
    evidence: dict[str, Any] = {
        "method": f"sweeps of {lead.source}" + (" and beacons" if fit.detail else ""),
        "row_of_the_lead": neighbour,
        "behind_the_lead_ns": fit.offset_ns,
        "lost_from_its_axis_ns": int((dated_ns[-1] - dated_ns[0]) - (round_ns[-1] - round_ns[0])),
        **fit.detail,
    }
    return RoundClockMap(
        source=f"austin:{pid}",
        offset_ns=int(np.median(dated_ns - round_ns)),
        uncertainty_ns=max(fit.uncertainty_ns, lead.uncertainty_ns),
        evidence=evidence,
        round_ns=round_ns,
        session_ns=dated_ns,
    )


def _beside(rows: AustinRows, lead_rows: AustinRows, lead: ClockMap) -> dict[str, Ints]:
    """Session times of the lead's rows that stand before and after each row in the file.

    Where the sampler was paused between the two, the row after it is of another sweep: that before it counts.
    """
    lead_ns = lead.to_session(lead_rows.source_ns)
    following = np.searchsorted(lead_rows.end_offset, rows.end_offset)
    before_ns = lead_ns[np.maximum(following - 1, 0)]
    after_ns = lead_ns[np.minimum(following, len(lead_ns) - 1)]
    return {"before": before_ns, "after": np.where(after_ns - before_ns > _PAUSE_NS, before_ns, after_ns)}
