"""Medians of paired differences, with intervals: rounds are resampled, then the requests within each.

A resample is a weight per request, and per pair the product of its two requests' weights. One set of
weights serves every metric and stage, so that all of them are judged on the same resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlmprof.analysis.stats import RESAMPLES, Floats, middle

Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]

# Weights held at once; with more pairs there are fewer resamples.
_MOST_WEIGHTS = 32_000_000
_FEWEST_RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class RoundPairs:
    """The pairs of one round.

    Attributes:
        baseline, trial: of each pair, the positions of its requests among all of their side.
        matched: each request is in one pair and the pairs are drawn; else each side's requests are drawn on
            their own, and a pair is every comparable two of them.
    """

    baseline: Ints
    trial: Ints
    matched: bool


@dataclass(frozen=True, slots=True)
class Resamples:
    """b resamples as integer weights: (pairs, b), (baseline requests, b), (trial requests, b)."""

    pair: Counts
    baseline: Counts
    trial: Counts


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the interval of the confidence that was asked for."""

    estimate: float
    low: float
    high: float


def resample(rounds: Sequence[RoundPairs], sizes: tuple[int, int], seed: int = 0) -> Resamples:
    """Draw as many rounds as there are, and in each drawn one its pairs or requests, over and over.

    Args:
        sizes: requests of the baseline and of the trial.
    """
    rng = np.random.default_rng(seed)
    bounds = np.cumsum([0, *(len(each.baseline) for each in rounds)])
    count = int(np.clip(_MOST_WEIGHTS // max(1, bounds[-1]), _FEWEST_RESAMPLES, RESAMPLES))
    weights = Resamples(*(np.zeros((size, count), np.int32) for size in (int(bounds[-1]), *sizes)))
    drawn = rng.integers(0, max(1, len(rounds)), (count, len(rounds)))
    for index, (each, start) in enumerate(zip(rounds, bounds[:-1].tolist(), strict=True)):
        times = (drawn == index).sum(axis=1)
        columns = slice(start, start + len(each.baseline))
        if each.matched:
            pair = _drawn(rng, int(times.sum()), len(each.baseline))
            baseline, trial = (each.baseline, pair), (each.trial, pair)
        else:
            baseline, trial = (_side(rng, int(times.sum()), side) for side in (each.baseline, each.trial))
            pair = _of_pairs(each.baseline, *baseline) * _of_pairs(each.trial, *trial)
        weights.pair[columns] += _by_resample(pair, times).T
        for held, (positions, counts) in ((weights.baseline, baseline), (weights.trial, trial)):
            held[positions] += _by_resample(counts, times).T
    return weights


def _side(rng: np.random.Generator, draws: int, side: Ints) -> tuple[Ints, Counts]:
    """The distinct requests of one side of a round, and how often each draw holds each."""
    positions = np.unique(side)
    return positions, _drawn(rng, draws, len(positions))


def _drawn(rng: np.random.Generator, draws: int, size: int) -> Counts:
    """How often each of `size` items comes in each draw of `size` of them, with replacement."""
    counts: Counts = rng.multinomial(size, np.full(size, 1 / size), draws).astype(np.int32)
    return counts


def _of_pairs(side: Ints, positions: Ints, counts: Counts) -> Counts:
    weights: Counts = counts[:, np.searchsorted(positions, side)]
    return weights


def _by_resample(counts: Counts, times: Ints) -> Counts:
    """Sums of the draws that belong to one resample: the first times[0] rows, the next times[1], ..."""
    sums = np.zeros((len(times), counts.shape[1]), np.int32)
    some = np.flatnonzero(times)
    if len(some):
        starts = (np.cumsum(times) - times)[some]
        sums[some] = np.add.reduceat(counts, starts, axis=0)
    return sums


def interval_of_median(differences: Floats, weights: Counts, confidence: float) -> Interval | None:
    """Median of the pairs' differences; a pair with NaN takes no part, and None is for nothing left."""
    known = np.isfinite(differences)
    if not known.any():
        return None
    estimate = float(np.median(differences[known]))
    resampled = weighted_quantiles(differences[known], weights[known], 0.5)
    return Interval(estimate, *middle(resampled, confidence))


def interval_of_mean(differences: Floats, weights: Counts, confidence: float) -> Interval | None:
    """Mean of the pairs' differences; a pair with NaN takes no part, and None is for nothing left."""
    known = np.isfinite(differences)
    if not known.any():
        return None
    drawn = weights[known].sum(axis=0)
    resampled = np.divide(
        differences[known] @ weights[known], drawn, where=drawn > 0, out=np.full(len(drawn), np.nan)
    )
    return Interval(float(differences[known].mean()), *middle(resampled, confidence))


def interval_of_quantiles(
    baseline: Floats, trial: Floats, weights: Resamples, q: float, confidence: float
) -> Interval | None:
    """A percentile of the trial minus that of the baseline, each over all of its requests that took part."""
    used = [
        (values[chosen], side[chosen])
        for values, side in ((baseline, weights.baseline), (trial, weights.trial))
        if (chosen := np.isfinite(values) & side.any(axis=1)).any()
    ]
    if len(used) < 2:
        return None
    (lower, lower_weights), (upper, upper_weights) = used
    estimate = float(np.quantile(upper, q) - np.quantile(lower, q))
    resampled = weighted_quantiles(upper, upper_weights, q) - weighted_quantiles(lower, lower_weights, q)
    return Interval(estimate, *middle(resampled, confidence))


def weighted_quantiles(values: Floats, weights: Counts, q: float) -> Floats:
    """The q-quantile under each column of weights: of the values, each taken as often as its weight says.

    Between two neighbours as `numpy.quantile` does; NaN for a column without any weight.
    """
    order = np.argsort(values, kind="stable")
    ordered = np.append(values[order], np.nan)
    upto = np.cumsum(weights[order], axis=0, dtype=np.int32)
    rank = q * np.maximum(upto[-1] - 1, 0)
    below = np.floor(rank)
    lower = ordered[np.count_nonzero(upto <= below.astype(np.int32), axis=0)]
    upper = ordered[np.count_nonzero(upto <= np.ceil(rank).astype(np.int32), axis=0)]
    result: Floats = lower + (upper - lower) * (rank - below)
    return result
