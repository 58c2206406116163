"""Clocks: the session clock is CLOCK_MONOTONIC of the serving host, in integer nanoseconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

SESSION_CLOCK = "CLOCK_MONOTONIC"


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open interval [start_ns, end_ns) on the session clock."""

    start_ns: int
    end_ns: int

    @property
    def length_ns(self) -> int:
        return self.end_ns - self.start_ns

    def overlap_ns(self, other: "Window") -> int:
        """Length of the common part; 0 where the two do not meet."""
        return max(0, min(self.end_ns, other.end_ns) - max(self.start_ns, other.start_ns))


@dataclass(frozen=True, slots=True)
class ClockMap:
    """How a source's own times become session times.

    `session_ns = source_ns + offset_ns + drift_ppm * 1e-6 * (source_ns - origin_ns)`

    Attributes:
        source: which clock, as `"austin:4711"` or `"nsys"`.
        offset_ns: session time minus source time at `origin_ns`.
        drift_ppm: how much faster the session clock runs, parts per million.
        uncertainty_ns: half-width within which the true offset lies.
        evidence: how the offset was found, and what an independent witness said.
        origin_ns: source time at which `offset_ns` holds exactly.
    """

    source: str
    offset_ns: int
    drift_ppm: float = 0.0
    uncertainty_ns: int = 0
    evidence: Mapping[str, Any] = field(default_factory=dict)
    origin_ns: int = 0

    def to_session(self, source_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Map times of the source onto the session clock; times before the session stay negative."""
        drift_ns = (self.drift_ppm * 1e-6) * (source_ns - self.origin_ns)
        session_ns: npt.NDArray[np.int64] = source_ns + self.offset_ns + np.rint(drift_ns).astype(np.int64)
        return session_ns
