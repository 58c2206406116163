"""When a difference is one: the rule that turns intervals into a verdict.

Let *d* be the median paired difference of trial and baseline, [low, high] its 95% bootstrap interval, and the
noise floor the 95% interval of the same difference of the baseline to itself (arm A2 against arm A of the
same rounds). The first that holds counts:

1. Too little to go by (`compare_enough`): **inconclusive**. Of an invalid run, or where more requests of one side
   failed, an interval is that of something else; of fewer than 3 rounds, or blocks of a side, it does not see what
   differs from block to block; of fewer requests on a side than the percentile takes it does not see the tail.
2. Both requests of every pair have the same number: **no difference**, however few they are.
3. The interval lies wholly below 0, and d outside the noise floor: **faster**; wholly above: **slower**.
   (Of a rate, of which more is better, the other way round. Of a stage or group, d is at least 0.1% of the TTFT.)
4. The interval lies wholly within 10% of the baseline on both sides of 0: **no difference**. It is a claim: a
   difference of 10% or more would have been seen; the sentence beside it says what the interval excludes.
   Of a stage or group, what is within 1% of the TTFT is no difference either.
5. Else **inconclusive**: there may be a difference, and this run is too short or too noisy to tell.

The second condition of 3 is what holds the rate of false alarms: where nothing differs, the interval alone is
wrong in up to 1 of 20 comparisons, and a comparison has thirty stages. A2 shares its A with B, so a baseline
that had bad luck moves the noise floor and the difference alike.

Of a stage or group that so many requests lack that the median difference is 0, *d* is the mean of the paired
differences: 50 ms in 16 of 40 requests are none in the median, and 20 ms in the mean.

Measured on simulated and on real blocks of one server: `benchmarks/results/compare_aa.md`.
"""

from vlmprof.analysis.compare_bootstrap import Interval
from vlmprof.model.comparison import Verdict

CONFIDENCE = 0.95
MARGIN_SHARE = 0.10
PART_MARGIN_SHARE_OF_TTFT = 0.01
PART_LEAST_SHARE_OF_TTFT = 0.001


def margin(baseline: float, ttft_ns: float | None = None) -> float:
    """The largest difference that may pass as none, in the metric's unit.

    Args:
        baseline: the metric of the baseline.
        ttft_ns: the baseline's TTFT, for a stage or group.
    """
    own = MARGIN_SHARE * abs(baseline)
    return own if ttft_ns is None else max(own, PART_MARGIN_SHARE_OF_TTFT * ttft_ns)


def verdict(
    change: Interval,
    noise: Interval | None,
    margin: float,
    *,
    enough: bool,
    same: bool = False,
    least: float = 0.0,
    more_is_better: bool = False,
) -> Verdict:
    """The verdict on one metric; the rule is the module's.

    Args:
        noise: None where the baseline was not compared with itself.
        least: the smallest difference that is worth a word.
        enough: whether a verdict may rest on what there is.
        same: whether both requests of every pair have the same number.
    """
    if not enough:
        return Verdict.INCONCLUSIVE
    if same:
        return Verdict.NO_DIFFERENCE
    noise_low, noise_high = (min(noise.low, -least), max(noise.high, least)) if noise else (-least, least)
    if change.high < 0 and change.estimate < noise_low:
        return Verdict.SLOWER if more_is_better else Verdict.FASTER
    if change.low > 0 and change.estimate > noise_high:
        return Verdict.FASTER if more_is_better else Verdict.SLOWER
    if -margin < change.low and change.high < margin:
        return Verdict.NO_DIFFERENCE
    return Verdict.INCONCLUSIVE
