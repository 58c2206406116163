"""Statistics of repeated measurements: percentiles, and paired ratios with intervals.

Intervals are percentile bootstraps with a fixed seed: the same numbers give the same interval. Medians, not
means, because a served request meets pauses (garbage collection, another tenant) that are not the question.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlmprof.model.run_info import RatioInterval

Floats = npt.NDArray[np.float64]

RESAMPLES = 4000
_FEWEST_REQUESTS = 2
# Resampled values held at once; more requests are taken in slices.
_VALUES_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Median and tail of `count` values, in their unit; of fewer than 100, `p99` is near the largest."""

    count: int
    p50: float
    p90: float
    p99: float


def percentiles(values: Sequence[float]) -> Percentiles | None:
    """p50, p90 and p99 of values in any order, None without values.

    Percentile p of n sorted values is the value at position `(n - 1) * p / 100`, counted from 0, on the line
    between its two neighbours (numpy's default, type 7 of Hyndman and Fan): p90 of 0, 1, ..., 10 is 9.
    """
    if len(values) == 0:
        return None
    p50, p90, p99 = np.percentile(np.asarray(values, np.float64), (50, 90, 99)).tolist()
    return Percentiles(len(values), p50, p90, p99)


def paired_ratio(
    control_blocks: Sequence[Sequence[float]],
    profiled_blocks: Sequence[Sequence[float]],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> RatioInterval | None:
    """How many times longer the profiled requests took than the control's, from interleaved blocks.

    The i-th control and the i-th profiled block ran one after the other and make a pair: what drifts slowly
    is in both and cancels. Each pair gives the ratio of its medians; the result is their geometric mean.
    The interval resamples pairs with replacement and, within each drawn pair, each block's requests: the
    first covers what differs from pair to pair, the second what differs from request to request.

    The noise floor is the same computation on like against like: every control block divided into its odd
    and even requests. A ratio between `noise_low` and `noise_high` is not told from 1.

    Simulated with drift and four to ten pairs, the interval is wide rather than narrow: 95% holds the true
    ratio in 99% of runs where only requests differ, in 92 to 94% where blocks differ as much as requests.

    Too few pairs: a pair without requests on both sides is left out. With a single pair the interval
    comes from its requests alone and is blind to what differs between blocks, with two it sees little of
    it (75% where blocks differ as much as requests): `pairs` says so. With fewer than two requests on
    either side there is no interval.

    Args:
        control_blocks, profiled_blocks: the times of the blocks' requests, above 0; an unfinished last block
            may be absent.

    Returns:
        None where there is nothing to compare: no complete pair, or fewer than two requests on a side.
    """
    interval = _interval_of_ratio(control_blocks, profiled_blocks, confidence, seed)
    if interval is None:
        return None
    floor = _interval_of_ratio(
        [block[::2] for block in control_blocks], [block[1::2] for block in control_blocks], confidence, seed
    )
    return RatioInterval(
        ratio=interval.ratio,
        low=interval.low,
        high=interval.high,
        pairs=interval.pairs,
        confidence=confidence,
        noise_low=floor.low if floor else None,
        noise_high=floor.high if floor else None,
    )


def _interval_of_ratio(
    lower_blocks: Sequence[Sequence[float]],
    upper_blocks: Sequence[Sequence[float]],
    confidence: float,
    seed: int,
) -> RatioInterval | None:
    """Geometric mean over pairs of upper median to lower median, with its interval and no noise floor."""
    pairs = [
        (np.log(np.asarray(lower, np.float64)), np.log(np.asarray(upper, np.float64)))
        for lower, upper in zip(lower_blocks, upper_blocks, strict=False)
        if len(lower) and len(upper)
    ]
    for side in (0, 1):
        if sum(len(pair[side]) for pair in pairs) < _FEWEST_REQUESTS:
            return None
    log_ratio = np.mean([np.median(upper) - np.median(lower) for lower, upper in pairs])
    low, high = middle(_resampled_log_ratios(pairs, np.random.default_rng(seed)), confidence)
    return RatioInterval(
        ratio=float(np.exp(log_ratio)),
        low=float(np.exp(low)),
        high=float(np.exp(high)),
        pairs=len(pairs),
        confidence=confidence,
    )


def _resampled_log_ratios(pairs: Sequence[tuple[Floats, Floats]], rng: np.random.Generator) -> Floats:
    """One mean log ratio a resample: as many pairs as there are, drawn, each with requests drawn anew."""
    drawn = rng.integers(0, len(pairs), (RESAMPLES, len(pairs)))
    log_ratios = np.empty(drawn.shape)
    for index, (lower, upper) in enumerate(pairs):
        at = drawn == index
        count = int(at.sum())
        log_ratios[at] = _resampled_medians(upper, count, rng) - _resampled_medians(lower, count, rng)
    means: Floats = log_ratios.mean(axis=1)
    return means


def _resampled_medians(values: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Medians of `count` resamples with replacement, each as long as the values."""
    slices = -(-count * len(values) // _VALUES_AT_ONCE)
    sizes = [len(part) for part in np.array_split(np.arange(count), max(slices, 1))]
    return np.concatenate(
        [np.median(values[rng.integers(0, len(values), (size, len(values)))], axis=1) for size in sizes]
    )


def middle(values: Floats, confidence: float) -> tuple[float, float]:
    """The ends of the middle part of resampled values; NaN, of a resample that held nothing, takes no part."""
    tail = 100 * (1 - confidence) / 2
    low, high = np.nanpercentile(values, (tail, 100 - tail)).tolist()
    return low, high
