"""Austin on the session clock: against a simulated sampler whose true times are known."""

import numpy as np
import pytest

from tests.unit.simulated_austin import ATTACHED_NS, MS, Simulation, simulate
from vlmprof.analysis.align import Ints
from vlmprof.analysis.align_austin import Arrivals, Beacons, SteppedClockMap, align_austin, nearest
from vlmprof.errors import ClockError
from vlmprof.model.clock import ClockMap


def errors_ns(clock: ClockMap, simulation: Simulation) -> Ints:
    """How far the aligned rows are from their true times."""
    found: Ints = np.abs(clock.to_session(simulation.rows.source_ns) - simulation.instant_ns)
    return found


def test_beacons_and_arrivals_find_the_offset_to_a_tenth_of_a_millisecond() -> None:
    """In 10 s about 140 changes, each known to 2 ms, overlap in some hundredths of a millisecond."""
    simulation = simulate()
    clock = align_austin(42, simulation.rows, simulation.arrivals, simulation.beacons)
    assert clock.source == "austin:42"
    assert clock.evidence["method"] == "beacons and arrivals"
    assert errors_ns(clock, simulation).max() < 0.1 * MS
    assert abs(clock.offset_ns - ATTACHED_NS) <= clock.uncertainty_ns < 0.2 * MS
    assert clock.drift_ppm == 0
    assert clock.evidence["edges_agreeing"] == clock.evidence["edges"] > 100


def test_arrivals_alone_give_an_upper_bound_and_a_larger_uncertainty() -> None:
    """A row comes in 0.02 to 0.3 ms after it was taken at the earliest; nobody can be sooner than that."""
    simulation = simulate()
    clock = align_austin(42, simulation.rows, simulation.arrivals)
    assert clock.evidence["method"] == "arrivals"
    assert 0 < clock.offset_ns - ATTACHED_NS <= clock.uncertainty_ns
    assert clock.uncertainty_ns >= 2 * MS


def test_an_irregular_pattern_of_beacons_is_enough() -> None:
    simulation = simulate()
    clock = align_austin(42, simulation.rows, None, simulation.beacons)
    assert clock.evidence["method"] == "beacons"
    assert errors_ns(clock, simulation).max() < 0.1 * MS


def test_a_pattern_that_repeats_itself_is_refused_without_arrivals() -> None:
    """Beacons of 50, 70, 90, 60, 80 ms, twice for both names: the pattern fits again every 700 ms."""
    simulation = simulate(pattern_ns=tuple(ms * MS for ms in (50, 70, 90, 60, 80)))
    with pytest.raises(ClockError, match="do not show the recorded beacons"):
        align_austin(42, simulation.rows, None, simulation.beacons)
    both = align_austin(42, simulation.rows, simulation.arrivals, simulation.beacons)
    assert errors_ns(both, simulation).max() < 0.1 * MS


def test_a_slow_reader_does_not_shift_what_beacons_say() -> None:
    """Every arrival 25 ms late: still nearer to the right beacon than to its next namesake, 100 ms away."""
    simulation = simulate()
    late = Arrivals(simulation.arrivals.time_ns + 25 * MS, simulation.arrivals.received_bytes)
    clock = align_austin(42, simulation.rows, late, simulation.beacons)
    assert errors_ns(clock, simulation).max() < 0.1 * MS
    assert clock.evidence["arrival_minus_offset_ns"] > 24 * MS


def test_beacons_that_were_never_sampled_leave_it_to_arrivals() -> None:
    """The recorded beacons are of another hour: none is near."""
    simulation = simulate()
    other = Beacons(
        simulation.beacons.start_ns - 10**13, simulation.beacons.end_ns - 10**13, simulation.beacons.kind
    )
    clock = align_austin(42, simulation.rows, simulation.arrivals, other)
    assert clock.evidence["method"] == "arrivals"
    assert errors_ns(clock, simulation).max() <= clock.uncertainty_ns


def test_pauses_of_the_sampler_leave_the_clock_alone() -> None:
    """Stopped for 2 s twice: durations go on, and changes across a pause are not used."""
    simulation = simulate(pauses_ns=((3000 * MS, 2000 * MS), (7000 * MS, 2000 * MS)), seconds=14)
    clock = align_austin(42, simulation.rows, simulation.arrivals, simulation.beacons)
    assert errors_ns(clock, simulation).max() < 0.1 * MS
    assert clock.evidence["steps"] == 0


def test_samples_taken_late_are_outvoted() -> None:
    """A fifth of the rows show what was there up to 5 ms later, as under a busy scheduler."""
    simulation = simulate(late_share=0.2, seconds=20)
    clock = align_austin(42, simulation.rows, simulation.arrivals, simulation.beacons)
    assert errors_ns(clock, simulation).max() < 0.3 * MS
    assert clock.evidence["edges_agreeing"] < clock.evidence["edges"]


@pytest.mark.parametrize("lost_ms", [2, 80, 900])
def test_time_that_austin_lost_is_a_step(lost_ms: int) -> None:
    """From 5 s on the axis lacks 2, 80 or 900 ms; only rows that wait in austin's buffer then may be off."""
    simulation = simulate(lost_ns=((5000 * MS, lost_ms * MS),), seconds=12)
    clock = align_austin(42, simulation.rows, simulation.arrivals, simulation.beacons)
    assert clock.evidence["steps"] == 1
    errors = errors_ns(clock, simulation)
    near = np.abs(simulation.instant_ns - ATTACHED_NS - 5000 * MS) < 100 * MS
    assert errors[~near].max() < 0.3 * MS
    assert np.count_nonzero(errors > 0.3 * MS) < 130


def test_several_steps_add_up() -> None:
    """30 ms lost at 3 s and 10 ms at 6 s: rows after both are 40 ms later than their axis says."""
    simulation = simulate(lost_ns=((3000 * MS, 30 * MS), (6000 * MS, 10 * MS)))
    clock = align_austin(42, simulation.rows, simulation.arrivals, simulation.beacons)
    assert clock.evidence["steps"] == 2
    assert errors_ns(clock, simulation)[-500:].max() < 0.3 * MS


def test_time_counted_twice_is_a_step_back() -> None:
    """From 5 s on the axis holds 20 ms too many."""
    simulation = simulate(lost_ns=((5000 * MS, -20 * MS),), seconds=12)
    clock = align_austin(42, simulation.rows, simulation.arrivals, simulation.beacons)
    errors = errors_ns(clock, simulation)
    assert clock.evidence["steps"] == 1
    assert np.quantile(errors, 0.98) < 0.3 * MS


def test_a_drift_is_found_where_there_is_one() -> None:
    """40 ppm over 60 s are 2.4 ms, many times what a group of beacons leaves open."""
    simulation = simulate(drift_ppm=40, seconds=60)
    clock = align_austin(42, simulation.rows, None, simulation.beacons)
    assert abs(clock.drift_ppm - 40) < 4
    assert errors_ns(clock, simulation).max() < 0.3 * MS


def test_no_drift_is_made_of_noise() -> None:
    assert align_austin(42, (run := simulate(seconds=60)).rows, run.arrivals, run.beacons).drift_ppm == 0


def test_without_evidence_or_rows_there_is_no_clock() -> None:
    """The error names the process and what was missing."""
    simulation = simulate()
    with pytest.raises(
        ClockError, match="process 42 cannot be aligned: no record of its output's arrival, and no"
    ):
        align_austin(42, simulation.rows)
    nothing = np.zeros(0, np.int64)
    with pytest.raises(ClockError, match="no row whose arrival was recorded"):
        align_austin(42, simulation.rows, Arrivals(nothing + 1, nothing), None)
    empty = type(simulation.rows)(nothing, nothing, nothing, nothing.astype(np.int8))
    with pytest.raises(ClockError, match="took no sample of process 42"):
        align_austin(42, empty, simulation.arrivals, simulation.beacons)


def test_few_rows_are_aligned_as_well_as_they_can_be() -> None:
    """Two rounds: no beacon changes between them, so arrivals alone."""
    simulation = simulate(seconds=0.006)
    clock = align_austin(42, simulation.rows, simulation.arrivals, simulation.beacons)
    assert clock.evidence["method"] == "arrivals"
    assert errors_ns(clock, simulation).max() <= clock.uncertainty_ns


def test_a_stepped_clock_shifts_from_each_moment_on() -> None:
    """Offset 100; 10 more from source time 50 on, 5 less from 80 on."""
    clock = SteppedClockMap("austin:7", 100, steps=((50, 10), (80, -5)))
    assert clock.to_session(np.array([0, 49, 50, 79, 80, 200])).tolist() == [100, 149, 160, 189, 185, 305]


def test_nearest_takes_the_closer_neighbour() -> None:
    """Of 10, 20 and 40: below, above, in the middle (the lower), between 20 and 40."""
    values = np.array([3, 99, 15, 29, 31])
    assert nearest(np.array([10, 20, 40]), values).tolist() == [10, 40, 10, 20, 40]
    assert nearest(np.array([10]), values).tolist() == [10] * 5
