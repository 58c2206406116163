"""`results/ladder.json`: recipes added one by one inside one server, beside the paper's tables."""

import msgspec

from vlmprof.model.comparison import Comparison
from vlmprof.model.results import RESULTS_SCHEMA_VERSION, read_result
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import BaselineUse
from vlmprof.model.suggestions import Saving


class PaperFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the paper's table with its change relative to the table's baseline: -0.53 is 53% less."""

    ttft_ms: float
    tokens_per_s: float
    e2e_ms: float
    ttft_change: float
    tokens_per_s_change: float
    e2e_change: float


class LadderStep(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a ladder, or one ablation.

    Attributes:
        arm: name of its blocks in the run; empty for a row that adds nothing to measure.
        named: recipes that the row names; added: those of them, and of earlier rows, that come on with it.
        recipes: all that are on; on top of an old behaviour, the one that is the engine as it is among them.
        left_out: number -> why a named recipe is not on.
        comparison: against the baseline of the same server; None where nothing was measured.
        predicted: the TTFT that the recipes would save, from the profile of the baseline alone.
    """

    arm: str
    title: str
    named: list[int]
    added: list[int]
    recipes: list[int]
    left_out: dict[int, str]
    paper: PaperFigures | None = None
    comparison: Comparison | None = None
    predicted: Saving | None = None


class LadderResult(msgspec.Struct, frozen=True, kw_only=True):
    """A whole ladder.

    Attributes:
        paper_table: title of the paper's table; empty where the paper has none or another order was asked for.
        rounds: complete ones.
        baseline: the old behaviour that it starts from; None for the engine as it is.
        notes: what people should know of the rows.
        steps: in the order in which recipes were added; ablations: all recipes without one, and what needs it.
    """

    model: str
    family: str
    paper_table: str
    rounds: int
    requests_per_block: int
    steps: list[LadderStep]
    ablations: list[LadderStep]
    baseline: BaselineUse | None = None
    notes: list[str] = []
    schema_version: int = RESULTS_SCHEMA_VERSION


def read_ladder(folder: RunFolder) -> LadderResult:
    """Read `results/ladder.json`; raises `FileUnreadable`."""
    return read_result(folder, "ladder", LadderResult)
