"""Putting a source's clock on the session clock: what every alignment shares.

An alignment is made from one kind of evidence and judged by another, the witness, which took no part in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vlmprof.model.clock import ClockMap
from vlmprof.model.run_info import ClockEvidence

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Vote:
    """The offsets on which most of the evidence agrees: [low_ns, high_ns], and how many pieces of it."""

    low_ns: int
    high_ns: int
    votes: int

    @property
    def middle_ns(self) -> int:
        return (self.low_ns + self.high_ns) // 2

    @property
    def half_width_ns(self) -> int:
        return (self.high_ns - self.low_ns + 1) // 2

    def distance_ns(self, offset_ns: float) -> float:
        """How far an offset lies outside."""
        return max(0.0, self.low_ns - offset_ns, offset_ns - self.high_ns)


def most_agreed(low_ns: Ints, high_ns: Ints) -> Vote:
    """Where most of the intervals [low, high] overlap; the first such place if there are several.

    An interval that is wrong, because its sample was taken late or matched to another edge, is outvoted and
    moves nothing, which it would with a mean or a quantile.
    """
    order = np.argsort(np.concatenate([low_ns, high_ns]), kind="stable")
    ends = np.concatenate([low_ns, high_ns])[order]
    # Equal ends: the stable sort keeps lows before highs, so that intervals that touch count as overlapping.
    overlapping = np.cumsum(np.where(order < len(low_ns), 1, -1))
    at = int(np.argmax(overlapping))
    return Vote(int(ends[at]), int(ends[at + 1]), int(overlapping[at]))


@dataclass(frozen=True, slots=True)
class Witness:
    """What an independent check found; p50 and p95 of absolute differences, None where there were none.

    Attributes:
        method: one line on what was compared.
        count: differences that were taken.
    """

    method: str
    count: int
    p50_ns: int | None
    p95_ns: int | None
    detail: Mapping[str, Any] = field(default_factory=dict)


def witness_of(
    method: str, differences_ns: npt.NDArray[np.integer], detail: Mapping[str, Any] | None = None
) -> Witness:
    """Summarise signed or absolute differences."""
    detail = detail or {}
    if not len(differences_ns):
        return Witness(method, 0, None, None, detail)
    p50_ns, p95_ns = np.quantile(np.abs(differences_ns), [0.5, 0.95])
    return Witness(method, len(differences_ns), round(p50_ns), round(p95_ns), detail)


def clock_evidence(clock: ClockMap, witness: Witness | None = None) -> ClockEvidence:
    """The alignment and its check as they stand in run.json."""
    detail = {key: value for key, value in clock.evidence.items() if key != "method"}
    if witness is None:
        witness = Witness("", 0, None, None)
    return ClockEvidence(
        source=clock.source,
        method=str(clock.evidence.get("method", "")),
        offset_ns=clock.offset_ns,
        drift_ppm=clock.drift_ppm,
        uncertainty_ns=clock.uncertainty_ns,
        witness=witness.method,
        witness_count=witness.count,
        witness_p50_ns=witness.p50_ns,
        witness_p95_ns=witness.p95_ns,
        detail={**detail, **({"witness": dict(witness.detail)} if witness.detail else {})},
    )
