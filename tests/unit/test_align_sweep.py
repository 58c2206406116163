"""Processes whose own axis lost time, dated by the process beside which they were read."""

import numpy as np
import pytest

from vlmprof.analysis.align import Ints
from vlmprof.analysis.align_austin import Arrivals, AustinRows, Beacons
from vlmprof.analysis.align_sweep import align_sweeps
from vlmprof.errors import ClockError

LEAD, CHILD = 10, 11
MS = 1_000_000
START_NS = 5_000 * MS
SWEEP_NS = 2 * MS
BEHIND_NS = 300_000
"""In each sweep the child is read 0.3 ms after the lead."""


def beacons_until(end_ns: int, seed: int) -> Beacons:
    """Two functions in turn, 50 to 90 ms each."""
    lengths = np.random.default_rng(seed).integers(50 * MS, 90 * MS, 400)
    starts = START_NS - 100 * MS + np.concatenate([[0], np.cumsum(lengths)])
    starts = starts[starts < end_ns]
    kind = (1 + np.arange(len(starts)) % 2).astype(np.int8)
    return Beacons(starts, np.append(starts[1:], end_ns), kind)


def beacon_at(beacons: Beacons, moments_ns: Ints) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    return beacons.kind[np.searchsorted(beacons.start_ns, moments_ns, side="right") - 1]


def capture(
    *, lost: set[int], pause_after: int = -1
) -> tuple[dict[int, AustinRows], Arrivals, dict[int, Beacons], Ints]:
    """1,000 sweeps; the child's rounds in `lost` are missing from its rows and from its axis.

    Returns:
        rows, arrivals, beacons and the child's true instants.
    """
    sweeps = np.arange(1000)
    lead_ns = (
        START_NS + sweeps * SWEEP_NS + np.where(sweeps > pause_after, 3_000 * MS, 0) * (pause_after >= 0)
    )
    child_ns = lead_ns + BEHIND_NS
    kept = np.array([number for number in sweeps if number not in lost])
    durations = np.diff(child_ns, prepend=child_ns[0])
    child_source = np.cumsum(durations[kept])
    end = int(child_ns[-1]) + MS
    beacons = {LEAD: beacons_until(end, 1), CHILD: beacons_until(end, 2)}
    tid = np.zeros(1000, np.int64)
    rows = {
        LEAD: AustinRows(tid, lead_ns - START_NS, 100 * (2 * sweeps + 1), beacon_at(beacons[LEAD], lead_ns)),
        CHILD: AustinRows(
            tid[: len(kept)], child_source, 100 * (2 * kept + 2), beacon_at(beacons[CHILD], child_ns[kept])
        ),
    }
    arrivals = Arrivals(lead_ns + 50_000, 100 * (2 * sweeps + 1))
    return rows, arrivals, beacons, child_ns[kept]


def test_a_child_that_loses_rounds_keeps_the_lead_s_time() -> None:
    """300 of 1,000 rounds lost are 600 ms gone from its axis; by the lead each row is dated to 0.2 ms."""
    lost = set(np.random.default_rng(3).choice(np.arange(1, 1000), 300, replace=False).tolist())
    rows, arrivals, beacons, true_ns = capture(lost=lost)
    clocks, refused = align_sweeps(rows, arrivals, beacons)
    error_ns = clocks[CHILD].to_session(rows[CHILD].source_ns) - true_ns
    assert not refused
    assert np.abs(error_ns).max() < 200_000
    assert clocks[CHILD].evidence["lost_from_its_axis_ns"] > 500 * MS


def test_a_child_row_before_a_pause_is_not_dated_after_it() -> None:
    """The sampler is stopped for 3 s after sweep 400; the child's row of that sweep stands just before the stop."""
    rows, arrivals, beacons, true_ns = capture(lost=set(), pause_after=400)
    clocks, _ = align_sweeps(rows, arrivals, beacons)
    error_ns = clocks[CHILD].to_session(rows[CHILD].source_ns) - true_ns
    assert np.abs(error_ns).max() < SWEEP_NS


def test_without_beacons_the_length_of_a_sweep_is_the_uncertainty() -> None:
    """The child's place in the sweep is unknown: 0.3 ms off, and 2 ms stated."""
    rows, arrivals, beacons, true_ns = capture(lost={5, 6, 7})
    clocks, _ = align_sweeps(rows, arrivals, {LEAD: beacons[LEAD]})
    error_ns = clocks[CHILD].to_session(rows[CHILD].source_ns) - true_ns
    assert np.abs(error_ns).max() <= clocks[CHILD].uncertainty_ns == 2 * MS


def test_the_lead_is_the_process_that_lost_least() -> None:
    """Half of the child's axis is gone, so the lead aligns by itself and the child beside it."""
    rows, arrivals, beacons, _ = capture(lost=set(range(200, 700)))
    clocks, _ = align_sweeps(rows, arrivals, beacons)
    assert clocks[LEAD].evidence["method"] == "beacons and arrivals"
    assert clocks[CHILD].evidence["method"] == f"sweeps of austin:{LEAD} and beacons"


def test_without_any_evidence_every_process_is_refused() -> None:
    """Neither arrivals nor beacons: no lead can be found, and each process says why."""
    rows, _, _, _ = capture(lost=set())
    clocks, refused = align_sweeps(rows, None, {})
    assert not clocks
    assert set(refused) == {LEAD, CHILD}
    with pytest.raises(ClockError, match="no record of its output's arrival"):
        raise refused[LEAD]
