"""Every metric, group and stage of a comparison: estimate, interval, noise floor and verdict of each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from vlmprof.analysis.compare_bootstrap import (
    Interval,
    Ints,
    Resamples,
    interval_of_mean,
    interval_of_median,
    interval_of_quantiles,
    resample,
)
from vlmprof.analysis.compare_enough import Doubts, Evidence, why_no_verdict
from vlmprof.analysis.compare_requests import COLUMNS, HEADLINE, Pairing, Requests
from vlmprof.analysis.compare_verdict import (
    CONFIDENCE,
    PART_LEAST_SHARE_OF_TTFT,
    margin,
    verdict,
)
from vlmprof.analysis.stats import Floats
from vlmprof.analysis.summary import group_label
from vlmprof.model.comparison import Change
from vlmprof.model.stages import GROUPS, STAGES


@dataclass(frozen=True, slots=True)
class Sampled:
    """A pairing with its requests' values, (requests, columns) for each side, and its resamples."""

    pairing: Pairing
    baseline: Floats
    trial: Floats
    weights: Resamples

    @classmethod
    def of(cls, pairing: Pairing) -> "Sampled":
        sizes = len(pairing.baseline), len(pairing.trial)
        baseline, trial = (
            np.stack([request.values for request in side]) for side in (pairing.baseline, pairing.trial)
        )
        return cls(pairing, baseline, trial, resample(pairing.rounds, sizes))

    def paired(self, column: int, *, ratio: bool = False) -> Interval | None:
        """Median paired difference of a column, or of its logarithms."""
        lower, upper = self.pairing.positions
        before, after = self.baseline[lower, column], self.trial[upper, column]
        if ratio:
            if not (before > 0).all() or not (after > 0).all():
                return None
            before, after = np.log(before), np.log(after)
        return interval_of_median(after - before, self.weights.pair, CONFIDENCE)

    def mean(self, column: int) -> Interval | None:
        """Mean paired difference of a column."""
        lower, upper = self.pairing.positions
        differences = self.trial[upper, column] - self.baseline[lower, column]
        return interval_of_mean(differences, self.weights.pair, CONFIDENCE)

    def is_same(self, column: int) -> bool:
        """Whether both requests of every pair have the same value of a column."""
        lower, upper = self.pairing.positions
        return np.array_equal(self.baseline[lower, column], self.trial[upper, column], equal_nan=True)

    def quantiles(self, column: int, q: float) -> Interval | None:
        """Difference of a column's percentiles."""
        return interval_of_quantiles(
            self.baseline[:, column], self.trial[:, column], self.weights, q, CONFIDENCE
        )

    def evidence(self, column: int) -> Evidence:
        """How many rounds, blocks and requests take part with a value of a column."""
        lower, upper = self.pairing.positions
        known = np.isfinite(self.trial[upper, column] - self.baseline[lower, column])
        sizes = [len(each.baseline) for each in self.pairing.rounds]
        rounds = np.repeat(np.arange(len(sizes)), sizes)
        used = np.unique(lower[known]), np.unique(upper[known])
        return Evidence(
            rounds=len(np.unique(rounds[known])),
            blocks=(_blocks(self.pairing.baseline, used[0]), _blocks(self.pairing.trial, used[1])),
            requests=(len(used[0]), len(used[1])),
            same=self.is_same(column),
        )

    def is_zero(self, column: int) -> bool:
        """Whether a column is known on both sides, and 0 in all requests that take part."""
        sides = [values[np.isfinite(values)] for values in self._used(column)]
        return all(len(values) and not values.any() for values in sides)

    def own(self, column: int, q: float) -> tuple[float, float]:
        """The percentile of each side's requests that take part, NaN where none has a value."""
        baseline, trial = self._used(column)
        return _quantile(baseline, q), _quantile(trial, q)

    def own_means(self, column: int) -> tuple[float, float]:
        """The mean of each side's requests that take part, NaN where none has a value."""
        baseline, trial = (values[np.isfinite(values)] for values in self._used(column))
        return _mean(baseline), _mean(trial)

    def _used(self, column: int) -> tuple[Floats, Floats]:
        """A column's values of each side's requests that take part, each request once."""
        lower, upper = (np.unique(positions) for positions in self.pairing.positions)
        return self.baseline[lower, column], self.trial[upper, column]


def _blocks(requests: Requests, positions: Ints) -> int:
    return len({requests[position].block for position in positions.tolist()})


def _quantile(values: Floats, q: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.quantile(known, q)) if len(known) else float("nan")


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


@dataclass(frozen=True, slots=True)
class Measured:
    """The comparison itself, and those of like against like that are its noise floor."""

    main: Sampled
    noise: list[Sampled]
    doubts: Doubts = field(default_factory=Doubts)

    @classmethod
    def of(cls, main: Pairing, noise: list[Pairing], doubts: Doubts | None = None) -> "Measured":
        return cls(Sampled.of(main), [Sampled.of(each) for each in noise], doubts or Doubts())

    def metrics(self) -> list[Change]:
        """Of whole requests: TTFT first."""
        rows = [
            ("ttft_p50", "TTFT p50", "ttft", 0.5),
            ("ttft_p90", "TTFT p90", "ttft", 0.9),
            ("ttft_p99", "TTFT p99", "ttft", 0.99),
            ("e2e_p50", "end to end p50", "e2e", 0.5),
            ("tpot_p50", "TPOT p50", "tpot", 0.5),
            ("tokens_per_s_p50", "tokens/s p50", "tokens_per_s", 0.5),
        ]
        changes = [self._change(metric, label, COLUMNS.index(name), q) for metric, label, name, q in rows]
        return [change for change in changes if change is not None]

    def parts(self, *, gpu: bool) -> list[Change]:
        """Groups and their stages, those left out that neither side has, or one did not measure.

        Args:
            gpu: whether both sides ran the model on one.
        """
        absent = self.absent()
        changes = [
            self._change(metric, label, COLUMNS.index(metric), 0.5, is_part=True)
            for metric, label in _part_names(gpu=gpu)
            if metric not in absent
        ]
        return [change for change in changes if change is not None]

    def absent(self) -> list[str]:
        """Groups and stages that were measured on both sides, and are 0 in all requests that take part."""
        return [name for name in COLUMNS[len(HEADLINE) :] if self.main.is_zero(COLUMNS.index(name))]

    def _change(
        self, metric: str, label: str, column: int, q: float, *, is_part: bool = False
    ) -> Change | None:
        found = self._of_part(column) if is_part else self._of_request(column, q)
        if found is None:
            return None
        ratio = _exp(self.main.paired(column, ratio=True)) if q == 0.5 and not is_part else None
        ttft_ns = self.main.own(0, 0.5)[0] if is_part else None
        evidence = self.main.evidence(column)
        why_not = why_no_verdict(evidence, q, self.doubts)
        per_second = metric.startswith("tokens_per_s")
        return Change(
            metric=metric,
            label=f"{label}, mean" if found.is_mean else label,
            unit="tokens/s" if per_second else "ns",
            baseline=found.baseline,
            trial=found.trial,
            difference=found.change.estimate,
            low=found.change.low,
            high=found.change.high,
            ratio=ratio.estimate if ratio else None,
            ratio_low=ratio.low if ratio else None,
            ratio_high=ratio.high if ratio else None,
            noise_low=found.noise.low if found.noise else None,
            noise_high=found.noise.high if found.noise else None,
            verdict=verdict(
                found.change,
                found.noise,
                margin(found.baseline, ttft_ns),
                enough=not why_not,
                same=evidence.same,
                least=PART_LEAST_SHARE_OF_TTFT * (ttft_ns or 0.0),
                more_is_better=per_second,
            ),
            is_mean=found.is_mean,
            undecided_because=why_not,
        )

    def _of_request(self, column: int, q: float) -> "_Found | None":
        """The median paired difference, or the difference of two percentiles."""

        def difference(sampled: Sampled) -> Interval | None:
            return sampled.paired(column) if q == 0.5 else sampled.quantiles(column, q)

        return _found(difference(self.main), map(difference, self.noise), self.main.own(column, q))

    def _of_part(self, column: int) -> "_Found | None":
        """As of a request; by the mean where the median is 0, as of a stage that most requests lack."""
        found = self._of_request(column, 0.5)
        if found is None or found.change.estimate != 0 or self.main.is_same(column):
            return found
        noise = (each.mean(column) for each in self.noise)
        return _found(self.main.mean(column), noise, self.main.own_means(column), is_mean=True)


@dataclass(frozen=True, slots=True)
class _Found:
    """A difference with its noise floor, and the metric of each side on its own."""

    change: Interval
    noise: Interval | None
    baseline: float
    trial: float
    is_mean: bool


def _found(
    change: Interval | None,
    noise: Iterable[Interval | None],
    own: tuple[float, float],
    *,
    is_mean: bool = False,
) -> _Found | None:
    """None where one side does not have the metric."""
    if change is None or not np.isfinite(own).all():
        return None
    return _Found(change, _widest(noise), *own, is_mean)


def _part_names(*, gpu: bool) -> Iterator[tuple[str, str]]:
    """Metric and label of every group, each followed by its stages."""
    for group in GROUPS:
        yield f"group.{group}", group_label(group, gpu=gpu)
        yield from ((f"stage.{stage.id}", stage.label) for stage in STAGES if stage.group == group)


def _widest(intervals: Iterable[Interval | None]) -> Interval | None:
    found = [interval for interval in intervals if interval is not None]
    if not found:
        return None
    return Interval(0.0, min(each.low for each in found), max(each.high for each in found))


def _exp(interval: Interval | None) -> Interval | None:
    if interval is None:
        return None
    return Interval(*(float(np.exp(value)) for value in (interval.estimate, interval.low, interval.high)))
