"""A verdict in words, with the numbers that it rests on."""

from vlmprof.model.comparison import Change, Verdict
from vlmprof.units import format_ns


def sentence(change: Change, trial: str) -> str:
    """What to say about the TTFT of a trial."""
    interval = f"95% interval {_relative(change, change.low)} to {_relative(change, change.high)}"
    measured = f"TTFT {format_ns(change.baseline)} to {format_ns(change.trial)}, {relative(change.share)}"
    if change.verdict in (Verdict.FASTER, Verdict.SLOWER):
        return f"{trial} is {change.verdict}: {measured} ({interval}{_noise(change)})"
    if change.verdict == Verdict.NO_DIFFERENCE:
        if change.low == change.high == 0:
            return f"{trial} is no different: the same times"
        return f"{trial} is no different: TTFT {relative(change.share)}, at 95% {_excluded(change)}"
    reason = change.undecided_because or "too noisy or too short to tell, send more requests"
    return f"{trial} is not decided: {measured} ({interval}{_noise(change)}); {reason}"


def relative(share: float | None) -> str:
    """A signed relative change: `"-38.2%"`."""
    if share is None:
        return "–"
    return f"{100 * share:+.1f}%"


def _relative(change: Change, difference: float) -> str:
    if change.ratio_low is not None and difference == change.low:
        return relative(change.ratio_low - 1)
    if change.ratio_high is not None and difference == change.high:
        return relative(change.ratio_high - 1)
    return relative(difference / change.baseline if change.baseline else None)


def _excluded(change: Change) -> str:
    return f"between {_relative(change, change.low)} and {_relative(change, change.high)}"


def _noise(change: Change) -> str:
    if change.noise_low is None or change.noise_high is None or not change.baseline:
        return ""
    low, high = (relative(noise / change.baseline) for noise in (change.noise_low, change.noise_high))
    return f"; the baseline against itself {low} to {high}"
