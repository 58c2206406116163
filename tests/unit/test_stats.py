"""Percentiles and paired ratios."""

import numpy as np
import pytest

from vlmprof.analysis import stats
from vlmprof.analysis.stats import paired_ratio, percentiles


def test_percentiles_lie_on_the_line_between_neighbours() -> None:
    """Of 0..10 the position of p90 is (11 - 1) * 0.9 = 9; of 1, 2 the median lies half-way at 1.5."""
    eleven = percentiles(range(11))
    assert eleven is not None
    assert (eleven.count, eleven.p50, eleven.p90) == (11, 5, 9)
    assert eleven.p99 == pytest.approx(9.9)
    two = percentiles([2, 1])
    assert two is not None
    assert two.p50 == 1.5


def test_percentiles_of_nothing_are_none() -> None:
    assert percentiles([]) is None


def test_paired_ratio_is_the_geometric_mean_of_the_pairs_ratios() -> None:
    """Medians 100 -> 110 and 100 -> 121: sqrt(1.1 * 1.21) = 1.1 ** 1.5."""
    interval = paired_ratio([[100, 100, 100], [100, 100, 100]], [[110, 110, 110], [121, 121, 121]])
    assert interval is not None
    assert interval.ratio == pytest.approx(1.1**1.5)
    assert interval.pairs == 2
    assert interval.confidence == 0.95


def test_requests_without_spread_leave_only_the_pairs_to_resample() -> None:
    """Two pairs of ratio 1.1 and 1.21: a resample has both of one with chance 1/4 each, so these bound it."""
    interval = paired_ratio([[100, 100], [100, 100]], [[110, 110], [121, 121]])
    assert interval is not None
    assert interval.low == pytest.approx(1.1)
    assert interval.high == pytest.approx(1.21)


def test_a_pause_in_one_request_does_not_move_the_ratio() -> None:
    """One of five profiled requests takes 50 times as long; its block's median stays 110."""
    interval = paired_ratio([[100] * 5], [[110, 110, 5000, 110, 110]])
    assert interval is not None
    assert interval.ratio == pytest.approx(1.1)


def test_drift_between_pairs_cancels() -> None:
    """The server slows from 100 to 200 over four pairs; each profiled block is 5% slower than its control."""
    levels = (100.0, 130.0, 160.0, 200.0)
    interval = paired_ratio(
        [[level] * 5 for level in levels], [[1.05 * level] * 5 for level in levels], seed=1
    )
    assert interval is not None
    assert interval.low == pytest.approx(1.05)
    assert interval.high == pytest.approx(1.05)


def test_noise_floor_compares_each_control_block_with_itself() -> None:
    """Even positions 100, odd ones 104: like differs from like by 1.04, whatever the profiled blocks are."""
    interval = paired_ratio([[100, 104] * 5] * 3, [[300] * 10] * 3)
    assert interval is not None
    assert interval.noise_low == pytest.approx(1.04)
    assert interval.noise_high == pytest.approx(1.04)


def test_a_pair_with_an_empty_side_is_left_out() -> None:
    """The third profiled block never ran and the second control block lost all its requests: one pair."""
    interval = paired_ratio([[100, 100], [], [100, 100]], [[120, 120], [500, 500]])
    assert interval is not None
    assert interval.pairs == 1
    assert interval.ratio == pytest.approx(1.2)


def test_too_few_requests_give_no_interval() -> None:
    assert paired_ratio([], []) is None
    assert paired_ratio([[100, 100]], [[]]) is None
    assert paired_ratio([[100]], [[110, 110]]) is None


def test_a_noise_floor_needs_two_requests_on_each_half() -> None:
    """Control blocks of one request have no odd half; the ratio itself has two requests on either side."""
    interval = paired_ratio([[100], [100]], [[110], [110]])
    assert interval is not None
    assert interval.ratio == pytest.approx(1.1)
    assert interval.noise_low is None
    assert interval.noise_high is None


def test_same_numbers_and_seed_give_the_same_interval() -> None:
    control, profiled = _simulated_run(seed=5, true_ratio=1.1)
    assert paired_ratio(control, profiled, seed=3) == paired_ratio(control, profiled, seed=3)


def test_resampling_in_slices_keeps_every_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for 10 values at once, 4,000 resamples of 5 values are taken in 2,000 slices."""
    monkeypatch.setattr(stats, "_VALUES_AT_ONCE", 10)
    interval = paired_ratio([[99, 100, 101, 100, 100]], [[110, 109, 111, 110, 110]])
    assert interval is not None
    assert interval.low < 1.1 < interval.high


def test_intervals_hold_the_true_ratio_and_tell_it_from_one() -> None:
    """40 runs of 4 pairs of 5 requests, 5% noise a request, 2% a block, drift 5%, true ratio 1.2.

    At 95% confidence 2 of 40 intervals are expected to miss, and 4 or more would be unlikely. A median of 5
    has the variance 1.57 * 0.05 ** 2 / 5, so a run's log ratio has the standard error
    sqrt(2 * (1.57 * 0.05 ** 2 / 5 + 0.02 ** 2) / 4) = 0.024: 1 is log(1.2) / 0.024 = 7 of them away.
    """
    intervals = [paired_ratio(*_simulated_run(seed, true_ratio=1.2), seed=seed) for seed in range(40)]
    held = [interval for interval in intervals if interval and interval.low <= 1.2 <= interval.high]
    assert len(held) >= 37
    assert all(interval and interval.low > 1 for interval in intervals)


def test_a_profiler_that_costs_nothing_is_not_told_from_one() -> None:
    """The same 40 runs with a true ratio of 1: at least 37 intervals hold 1, and so do the noise floors."""
    intervals = [paired_ratio(*_simulated_run(seed, true_ratio=1.0), seed=seed) for seed in range(40)]
    assert sum(bool(interval and interval.low <= 1 <= interval.high) for interval in intervals) >= 37
    floors = [(interval.noise_low, interval.noise_high) for interval in intervals if interval]
    assert sum(bool(low and high and low <= 1 <= high) for low, high in floors) >= 37


def test_more_confidence_makes_a_wider_interval() -> None:
    control, profiled = _simulated_run(seed=2, true_ratio=1.1)
    usual, sure = paired_ratio(control, profiled), paired_ratio(control, profiled, confidence=0.99)
    assert usual is not None
    assert sure is not None
    assert sure.low <= usual.low < usual.high <= sure.high


def _simulated_run(seed: int, true_ratio: float) -> tuple[list[list[float]], list[list[float]]]:
    rng = np.random.default_rng(seed)
    drift = np.linspace(0, 0.05, 4)[:, None]
    level = drift + rng.normal(0, 0.02, (4, 2))
    control = np.exp(level[:, :1] + rng.normal(0, 0.05, (4, 5)))
    profiled = true_ratio * np.exp(level[:, 1:] + rng.normal(0, 0.05, (4, 5)))
    return control.tolist(), profiled.tolist()
