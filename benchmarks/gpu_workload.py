"""What `benchmarks/gpu.py` serves with each engine; 640x480 photographs, drawn by rule."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 640, 480


@dataclass(frozen=True, slots=True)
class Workload:
    """`rounds` pairs of a control and a profiled block, after warm-up requests that count for nothing."""

    rounds: int = 4
    per_block: int = 5
    warm_up: int = 5
    max_tokens: int = 16

    @property
    def requests(self) -> int:
        """Control and profiled requests together."""
        return 2 * self.rounds * self.per_block

    def as_dict(self) -> dict[str, Any]:
        """For the results."""
        return {**asdict(self), "image": f"{WIDTH}x{HEIGHT}"}


@dataclass(frozen=True, slots=True)
class Trial:
    """One model that an engine is to serve in each precision.

    Attributes:
        runs: where the run folders go.
        notes: takes what had to be left out, and why.
    """

    checkpoint: Path
    precisions: Sequence[str]
    workload: Workload
    runs: Path
    device: str
    notes: list[str] = field(default_factory=list)

    def path(self, engine: str, precision: str) -> Path:
        """Where the run of an arm goes."""
        return self.runs / f"{self.checkpoint.name}-{engine}-{precision}"
