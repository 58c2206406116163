"""Whether a verdict may rest on what there is, and the words for why it may not.

A verdict and a gate ask the same: what is too little for the one is too little for the other.
"""

import math
from dataclasses import dataclass

from vlmprof.model.comparison import ComparedSide

FEWEST_ROUNDS = 3
FEWEST_REQUESTS = 10
_NOTHING_ABOVE = 0.05
# How far the shares of failed requests may lie apart, as a part of what lies beyond the percentile. Nobody knows
# how long a failed request would have taken: were those the slowest, a percentile would shift by as many ranks.
_FAILED_PART_OF_TAIL = 0.02


@dataclass(frozen=True, slots=True)
class Served:
    """What became of one side's requests: `failed` of `sent` ended with an error or without a token."""

    label: str
    sent: int
    failed: int

    @property
    def failed_share(self) -> float:
        return self.failed / self.sent if self.sent else 0.0

    def __str__(self) -> str:
        return f"{self.failed} of {self.sent} requests of {self.label}"


@dataclass(frozen=True, slots=True)
class Doubts:
    """What no number of requests mends.

    Attributes:
        invalid: why one of the runs is invalid; empty where none is.
        served: what became of the baseline's and of the trial's requests; None where that is not known.
    """

    invalid: str = ""
    served: tuple[Served, Served] | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict on one metric rests on: rounds, and blocks and requests of the baseline and of the trial.

    Attributes:
        same: both requests of every pair have the same number, which no more of them would make clearer.
    """

    rounds: int
    blocks: tuple[int, int]
    requests: tuple[int, int]
    same: bool = False


def served_of(side: ComparedSide) -> Served:
    return Served(side.label, side.sent, side.failed)


def why_no_verdict(evidence: Evidence, q: float, doubts: Doubts) -> str:
    """Why no verdict on a q-quantile may rest on this, and what to do; empty where one may."""
    return (
        doubts.invalid or _failures(q, doubts.served) or ("" if evidence.same else _too_little(evidence, q))
    )


def fails_more(baseline: Served, trial: Served) -> str:
    """How many more requests the trial lost, where that is no accident; empty where it is one, or none."""
    if trial.failed_share - baseline.failed_share <= _FAILED_PART_OF_TAIL * 0.5:
        return ""
    return f"{trial} failed and {baseline}: that is no faster, whatever the others took"


def fewest_requests(q: float) -> int:
    """The least number of requests of a side that may speak of its q-quantile.

    Of fewer, the chance q^n that not one lies above the quantile is 5% or more, and what the bootstrap draws from
    holds nothing of the tail: its interval is narrow where it should be wide.
    """
    return max(FEWEST_REQUESTS, math.ceil(math.log(_NOTHING_ABOVE) / math.log(q)))


def _failures(q: float, served: tuple[Served, Served] | None) -> str:
    """Requests that failed are not compared: where one side lost more of them, what is left is not alike."""
    if served is None:
        return ""
    lower, upper = served
    if abs(lower.failed_share - upper.failed_share) <= _FAILED_PART_OF_TAIL * (1 - q):
        return ""
    return f"{lower} failed and {upper}, so what is left of them is not alike"


def _too_little(evidence: Evidence, q: float) -> str:
    fewest = fewest_requests(q)
    # Rounds are cut from blocks: of one block, however many rounds it is cut into, all have its luck.
    rules = (
        (counted(evidence.rounds, "round"), evidence.rounds, FEWEST_ROUNDS),
        (f"{counted(min(evidence.blocks), 'block')} of a side", min(evidence.blocks), FEWEST_ROUNDS),
        (f"{counted(min(evidence.requests), 'request')} of a side", min(evidence.requests), fewest),
    )
    for told, number, least in rules:
        if number < least:
            verb = "is" if number == 1 else "are"
            return f"{told} {verb} too few to tell p{100 * q:.0f}, which takes {least}, send more requests"
    return ""


def counted(number: int, noun: str) -> str:
    """`"1 round"`, `"8 rounds"`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
