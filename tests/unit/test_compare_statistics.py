"""What the verdict says where the truth is known: simulated rounds with drift, block effects and pauses."""

from dataclasses import replace

import numpy as np
import pytest

from vlmprof.analysis import compare_bootstrap
from vlmprof.analysis.compare_bootstrap import (
    Interval,
    RoundPairs,
    interval_of_mean,
    interval_of_median,
    resample,
    weighted_quantiles,
)
from vlmprof.analysis.compare_enough import fewest_requests
from vlmprof.analysis.compare_measure import Measured
from vlmprof.analysis.compare_requests import COLUMNS, ComparedRequest, Rounds, pair, rounds_of_runs
from vlmprof.analysis.compare_verdict import margin, verdict
from vlmprof.analysis.stats import Floats
from vlmprof.model.comparison import Change, Verdict

ROUNDS, BLOCK = 10, 10


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the usual ones: these tests ask how often a verdict is right, not for its last digit."""
    monkeypatch.setattr(compare_bootstrap, "RESAMPLES", 1000)


def _requests(times_ns: Floats, block: int) -> list[ComparedRequest]:
    """Requests of which only the TTFT is known, each with an image of its own."""
    return [
        ComparedRequest(
            id=f"vp-{block}-{number}",
            number=None,
            block=block,
            sent_ns=number,
            images=(f"{block}-{number}-{time_ns}",),
            sizes=((640, 480),),
            text="",
            values=np.concatenate([[time_ns], np.full(len(COLUMNS) - 1, np.nan)]),
        )
        for number, time_ns in enumerate(times_ns.tolist())
    ]


def _simulated(seed: int, effect: float) -> tuple[Rounds, Rounds]:
    """Rounds of A against B, and of A against A2; B takes `effect` times as long.

    5% drift over the run, 3% between blocks, 10% between requests, and every twentieth request meets a pause
    with an infinite variance.
    """
    dice = np.random.default_rng(seed)

    def block(number: int, factor: float) -> list[ComparedRequest]:
        level = 100e6 * factor * np.exp(0.05 * number / ROUNDS + dice.normal(0, 0.03))
        pauses = np.where(dice.random(BLOCK) < 0.05, 1 + dice.pareto(1.5, BLOCK), 1)
        return _requests(level * np.exp(dice.normal(0, 0.1, BLOCK)) * pauses, number)

    rounds = [(block(i, 1), block(i, 1), block(i, effect)) for i in range(ROUNDS)]
    return [(a, b) for a, _, b in rounds], [(a, a2) for a, a2, _ in rounds]


def _ttft(seed: int, effect: float) -> Change:
    rounds, noise = _simulated(seed, effect)
    return Measured.of(pair(rounds), [pair(noise)]).metrics()[0]


def test_like_against_like_is_no_difference_in_19_of_20_runs() -> None:
    """Ten rounds of ten requests; none is called faster or slower."""
    verdicts = [_ttft(seed, 1.0).verdict for seed in range(20)]
    assert verdicts.count(Verdict.NO_DIFFERENCE) >= 19
    assert not {Verdict.FASTER, Verdict.SLOWER} & set(verdicts)


@pytest.mark.parametrize(("effect", "expected"), [(0.9, Verdict.FASTER), (1.1, Verdict.SLOWER)])
def test_a_tenth_is_found_in_19_of_20_runs(effect: float, expected: Verdict) -> None:
    """The standard error of ten rounds is about 2.2%, so a tenth is more than four of them away."""
    verdicts = [_ttft(seed, effect).verdict for seed in range(20)]
    assert verdicts.count(expected) >= 19


def test_the_interval_holds_the_true_difference() -> None:
    """Of 40 intervals at 95%, 2 are expected to miss a true ratio of 0.8, and 5 would be unlikely."""
    changes = [_ttft(seed, 0.8) for seed in range(40)]
    held = [
        change
        for change in changes
        if change.ratio_low is not None and change.ratio_high is not None
        if change.ratio_low <= 0.8 <= change.ratio_high
    ]
    assert len(held) >= 36


def test_a_verdict_needs_three_rounds_and_ten_requests() -> None:
    """Two rounds of ten requests that take half as long: blocks of a server may differ by as much."""
    rounds, noise = _simulated(0, 0.5)
    assert Measured.of(pair(rounds[:2]), [pair(noise[:2])]).metrics()[0].verdict == Verdict.INCONCLUSIVE
    assert Measured.of(pair(rounds[:3]), [pair(noise[:3])]).metrics()[0].verdict == Verdict.FASTER
    few = [(lower[:3], upper[:3]) for lower, upper in rounds[:3]]
    assert Measured.of(pair(few), []).metrics()[0].verdict == Verdict.INCONCLUSIVE


def _served_in(blocks: int, dice: np.random.Generator, requests: int = 20) -> list[ComparedRequest]:
    """Requests with numbers and images of their own, in blocks that differ by 8%, themselves by 5%."""
    levels = 200e6 * np.exp(dice.normal(0, 0.08, blocks))
    size = requests // blocks
    times_ns = np.repeat(levels, size) * np.exp(dice.normal(0, 0.05, size * blocks))
    return [
        replace(request, number=place, block=place // size, images=(f"{place}.jpg",))
        for place, request in enumerate(_requests(times_ns, 0))
    ]


@pytest.mark.parametrize(("before", "after"), [(4, 1), (1, 4), (4, 2), (2, 4)])
def test_one_block_has_one_block_s_luck_however_it_is_cut(before: int, after: int) -> None:
    """Nothing differs but blocks: of one block of 20 requests there is no telling, against whatever it is held."""
    for seed in range(20):
        dice = np.random.default_rng(seed)
        measured = Measured.of(pair(rounds_of_runs(_served_in(before, dice), _served_in(after, dice))), [])
        assert measured.metrics()[0].verdict == Verdict.INCONCLUSIVE


def test_rounds_of_runs_do_not_depend_on_which_comes_first() -> None:
    """Six blocks of ten against three of twenty: three rounds of twenty either way."""
    dice = np.random.default_rng(0)
    finer, coarser = _served_in(6, dice, 60), _served_in(3, dice, 60)
    forth, back = rounds_of_runs(finer, coarser), rounds_of_runs(coarser, finer)
    assert [(len(lower), len(upper)) for lower, upper in forth] == [(20, 20)] * 3
    ids = [[{request.id for request in side} for side in each] for each in forth]
    assert [[{request.id for request in side} for side in each[::-1]] for each in back] == ids


@pytest.mark.parametrize(("q", "expected"), [(0.5, 10), (0.9, 29), (0.99, 299)])
def test_a_percentile_takes_so_many_requests_that_one_lies_above_it(q: float, expected: int) -> None:
    """0.9^28 = 5.2%, 0.9^29 = 4.7%; 0.99^298 = 5.006%, 0.99^299 = 4.95%; 0.5^5 = 3.1%, but 10 are asked for."""
    assert fewest_requests(q) == expected


def test_a_tail_is_not_judged_by_too_few_requests() -> None:
    """Ten rounds of ten: 100 requests speak of p90, and not of p99. Three of four: 12 of neither."""
    rounds, noise = _simulated(0, 0.5)
    metrics = Measured.of(pair(rounds), [pair(noise)]).metrics()
    assert [metric.verdict for metric in metrics] == [Verdict.FASTER, Verdict.FASTER, Verdict.INCONCLUSIVE]
    assert [bool(metric.undecided_because) for metric in metrics] == [False, False, True]
    assert "100 requests of a side are too few to tell p99, which takes 299" in metrics[2].undecided_because
    few = [(lower[:4], upper[:4]) for lower, upper in rounds[:3]]
    metrics = Measured.of(pair(few), []).metrics()
    assert [bool(metric.undecided_because) for metric in metrics] == [False, True, True]


def test_a_doubled_p99_is_never_called_no_difference() -> None:
    """12 rounds of 4, of which every fiftieth request takes twice as long: 48 requests may hold none of them."""
    for seed in range(20):
        dice = np.random.default_rng(seed)
        lower, upper = (100e6 * np.exp(dice.normal(0, 0.05, (12, 4))) for _ in range(2))
        upper *= np.where(dice.random((12, 4)) < 0.02, 2, 1)
        rounds = [
            (_requests(a, i), _requests(b, i)) for i, (a, b) in enumerate(zip(lower, upper, strict=True))
        ]
        p99 = Measured.of(pair(rounds), []).metrics()[2]
        assert (p99.metric, p99.verdict) == ("ttft_p99", Verdict.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("low", "estimate", "high", "expected"),
    [
        (-30, -20, -12, Verdict.FASTER),
        (12, 20, 30, Verdict.SLOWER),
        (-9, -1, 8, Verdict.NO_DIFFERENCE),
        (-9, -4, -1, Verdict.NO_DIFFERENCE),
        (-14, -4, -1, Verdict.INCONCLUSIVE),
        (-3, 4, 11, Verdict.INCONCLUSIVE),
        (-30, -5, 30, Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule(low: float, estimate: float, high: float, expected: Verdict) -> None:
    """Baseline 100, so the margin is 10; the baseline against itself differs by -5 to +6.

    -4 with the interval [-14, -1] is told from 0 but not from the noise floor.
    """
    change = Interval(estimate, low, high)
    assert verdict(change, Interval(0, -5, 6), margin(100), enough=True) == expected


def test_a_difference_of_nothing_worth_a_word_is_none() -> None:
    """10 us, told from 0 beyond doubt, of a TTFT of 300 ms: below 0.1% of it."""
    change = Interval(10e3, 9e3, 11e3)
    assert verdict(change, None, 3e6, enough=True, least=300e3) == Verdict.NO_DIFFERENCE
    assert verdict(change, None, 3e6, enough=True) == Verdict.SLOWER


def test_of_a_rate_more_is_faster() -> None:
    change = Interval(20, 15, 25)
    assert verdict(change, None, 10, enough=True, more_is_better=True) == Verdict.FASTER
    assert verdict(change, None, 10, enough=True) == Verdict.SLOWER


def test_a_stage_may_differ_by_a_hundredth_of_the_ttft() -> None:
    """A stage of 2 ms in a TTFT of 300 ms: 3 ms pass as none; of 100 ms: its own tenth does."""
    assert margin(2e6, 300e6) == 3e6
    assert margin(100e6, 300e6) == 10e6


def test_equal_numbers_are_no_difference_however_few() -> None:
    """Two requests of one round, each against itself: of p99 as of the median, and of a stage without a margin."""
    few = _requests(np.array([100e6, 110e6]), 0)
    metrics = Measured.of(pair([(few, few)]), []).metrics()
    assert [(each.verdict, each.undecided_because) for each in metrics] == [(Verdict.NO_DIFFERENCE, "")] * 3
    assert verdict(Interval(0, 0, 0), None, 0, enough=True, same=True) == Verdict.NO_DIFFERENCE


def test_a_median_of_0_is_not_equal_numbers() -> None:
    """It is what a stage has that a minority of the requests meets."""
    assert verdict(Interval(0, 0, 0), None, 1, enough=False) == Verdict.INCONCLUSIVE


def _waits(chance: tuple[float, float], seed: int, rounds: int = 8, block: int = 5) -> Change | None:
    """`pool_wait` of 50 ms within 10%, with a chance of its own in A (and A2) and in B; the TTFT is 300 ms."""
    dice = np.random.default_rng(seed)
    column = COLUMNS.index("stage.pool_wait")

    def served(number: int, share: float) -> list[ComparedRequest]:
        requests = _requests(np.full(block, 300e6), number)
        for request in requests:
            met = dice.random() < share
            request.values[column] = 50e6 * np.exp(dice.normal(0, 0.1)) if met else 0.0
        return requests

    sides = [(served(i, chance[0]), served(i, chance[0]), served(i, chance[1])) for i in range(rounds)]
    main, noise = ([(each[0], each[place]) for each in sides] for place in (2, 1))
    parts = Measured.of(pair(main), [pair(noise)]).parts(gpu=False)
    return next((part for part in parts if part.metric == "stage.pool_wait"), None)


def test_a_stage_of_a_minority_is_judged_by_its_mean() -> None:
    """No request waits before, 2 of 5 wait for 50 ms after: both medians are 0, the mean is 20 ms."""
    changes = [_waits((0.0, 0.4), seed) for seed in range(20)]
    verdicts = [change.verdict for change in changes if change is not None]
    assert verdicts.count(Verdict.SLOWER) >= 19
    change = changes[0]
    assert change is not None
    assert change.is_mean
    assert change.label == "wait for a pool thread, mean"
    assert change.baseline == 0
    assert change.trial == pytest.approx(20e6, rel=0.5)
    assert change.low < change.difference < change.high


@pytest.mark.parametrize("chance", [0.05, 0.2, 0.5])
def test_a_stage_of_a_minority_of_both_sides_is_not_called_different(chance: float) -> None:
    """As many wait before as after; one in twenty trials may be wrong."""
    changes = [_waits((chance, chance), seed) for seed in range(20)]
    verdicts = [change.verdict for change in changes if change is not None]
    assert sum(each in (Verdict.FASTER, Verdict.SLOWER) for each in verdicts) <= 1


def test_weighted_quantiles_are_those_of_the_values_repeated() -> None:
    """Weights 0 to 3 on nine values, at four quantiles, against numpy on the expanded list."""
    dice = np.random.default_rng(1)
    values, weights = dice.normal(size=9), dice.integers(0, 4, (9, 6)).astype(np.int32)
    for q in (0.05, 0.5, 0.9, 0.99):
        expected = [np.quantile(np.repeat(values, column), q) for column in weights.T]
        assert weighted_quantiles(values, weights, q) == pytest.approx(expected)


def test_every_resample_weighs_as_much_as_the_rounds() -> None:
    """Two rounds of three matched pairs, and two of all 2 x 3 pairs: six requests, nine pairs or twelve pairs.

    A draw of n items weighs n, and a pair the product of its two requests' weights: 2 * 3 in each round drawn.
    """
    places = np.arange(6)
    matched = [RoundPairs(places[:3], places[:3], True), RoundPairs(places[3:], places[3:], True)]
    weights = resample(matched, (6, 6))
    assert set(weights.pair.sum(axis=0).tolist()) == {6}
    crossed = [
        RoundPairs(np.repeat(places[:2] + 2 * i, 3), np.tile(places[:3] + 3 * i, 2), False) for i in (0, 1)
    ]
    weights = resample(crossed, (4, 6))
    assert set(weights.pair.sum(axis=0).tolist()) == {12}
    assert set(weights.baseline.sum(axis=0).tolist()) == {4}
    assert set(weights.trial.sum(axis=0).tolist()) == {6}


def test_a_pair_without_a_value_takes_no_part() -> None:
    """Of 1, NaN and 3 the median is 2, and so is the mean; of nothing there is none."""
    rounds = [RoundPairs(np.arange(3), np.arange(3), True)]
    weights = resample(rounds, (3, 3)).pair
    interval = interval_of_median(np.array([1, np.nan, 3]), weights, 0.95)
    assert interval is not None
    assert interval.estimate == 2
    assert (interval.low, interval.high) == (1, 3)
    assert interval_of_median(np.full(3, np.nan), weights, 0.95) is None
    mean = interval_of_mean(np.array([1, np.nan, 3]), weights, 0.95)
    assert mean is not None
    assert (mean.estimate, mean.low, mean.high) == (2, 1, 3)
    assert interval_of_mean(np.full(3, np.nan), weights, 0.95) is None


def test_the_same_requests_give_the_same_interval() -> None:
    assert _ttft(3, 0.95) == _ttft(3, 0.95)
