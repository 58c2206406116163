"""The rows of a ladder: which recipes come on with which, which cannot, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from vlmprof.model.ladder import LadderStep, PaperFigures
from vlmprof.model.paper import INTERNVL3_2B, SMOLVLM_256M, PaperRow, PaperTable
from vlmprof.patching import Family, Recipe

_TABLES: Mapping[Family, PaperTable] = {
    Family.IDEFICS3: SMOLVLM_256M,
    Family.INTERNVL_CHAT: INTERNVL3_2B,
    Family.INTERNVL_HF: INTERNVL3_2B,
}


@dataclass(frozen=True, slots=True)
class LadderPlan:
    """Rows before anything is measured.

    Attributes:
        table: the paper's, where its order is followed.
    """

    table: PaperTable | None
    steps: list[LadderStep]
    ablations: list[LadderStep]

    @property
    def trial(self) -> dict[str, str]:
        """Arms of the trial that measures the rows, name -> recipes; those equal to an earlier one are one arm."""
        measured = [step for step in (*self.steps, *self.ablations) if step.arm]
        return {step.arm: ",".join(map(str, step.recipes)) for step in measured}


def plan_ladder(
    family: Family,
    chosen: Sequence[int],
    recipes: Mapping[int, Recipe],
    *,
    refused: Mapping[int, str],
    order: Sequence[Sequence[int]] = (),
    ablate: bool = False,
) -> LadderPlan:
    """Rows in the paper's order or another one; recipes that neither names follow one by one.

    Args:
        chosen: recipes that may be on together.
        refused: why each other recipe is not among them.
        order: groups of recipes to add instead of the paper's rows.
    """
    table = None if order else _TABLES.get(family)
    paper_rows = list(table.rows[1:]) if table else [None] * len(order)
    groups = [tuple(row.recipes) for row in table.rows[1:]] if table else [tuple(group) for group in order]
    named = {number for group in groups for number in group}
    groups += [(number,) for number in chosen if number not in named]
    building = _Building(chosen, recipes, refused)
    for group in groups:
        building.add(group)
    steps = [
        _with_paper(step, table, row)
        for step, row in zip(
            building.steps, [*paper_rows, *[None] * (len(groups) - len(paper_rows))], strict=True
        )
    ]
    ablations = [_without(number, building.on, recipes) for number in building.on] if ablate else []
    return LadderPlan(table, steps, _with_shared_arms(ablations, steps))


@dataclass(slots=True)
class _Building:
    """Rows so far; a recipe whose needs are not on yet waits for the row that brings them."""

    chosen: Sequence[int]
    recipes: Mapping[int, Recipe]
    refused: Mapping[int, str]
    on: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    steps: list[LadderStep] = field(default_factory=list)

    def add(self, group: tuple[int, ...]) -> None:
        self.waiting += [number for number in group if number in self.chosen]
        added = self._ready()
        self.steps.append(
            LadderStep(
                arm="+" + ",".join(map(str, sorted(added))) if added else "",
                title="+ " + ", ".join(map(str, group)),
                named=list(group),
                added=sorted(added),
                recipes=sorted(self.on),
                left_out={number: self._reason(number) for number in group if number not in self.on},
            )
        )

    def _ready(self) -> list[int]:
        added: list[int] = []
        while True:
            ready = [n for n in self.waiting if set(self.recipes[n].needs) <= set(self.on)]
            if not ready:
                return added
            self.on += ready
            added += ready
            self.waiting = [number for number in self.waiting if number not in ready]

    def _reason(self, number: int) -> str:
        if number in self.waiting:
            missing = set(self.recipes[number].needs) - set(self.on)
            return f"comes on with recipe {', '.join(map(str, sorted(missing)))}, which it needs"
        return self.refused.get(number, "not asked for")


def _without(number: int, on: Sequence[int], recipes: Mapping[int, Recipe]) -> LadderStep:
    """All recipes but one, and but those that need it."""
    gone = {number}
    while True:
        more = {other for other in on if other not in gone and gone & set(recipes[other].needs)}
        if not more:
            break
        gone |= more
    names = ", ".join(map(str, sorted(gone)))
    return LadderStep(
        arm=f"all-{number}",
        title=f"all without {names}",
        named=[number],
        added=[],
        recipes=sorted(set(on) - gone),
        left_out=dict.fromkeys(sorted(gone - {number}), f"needs recipe {number}"),
    )


def _with_shared_arms(ablations: Sequence[LadderStep], steps: Sequence[LadderStep]) -> list[LadderStep]:
    """Ablations that have the recipes of a row as that row's arm, and none that is the baseline again.

    Measured as arms of their own, the second of two equal ones would meet the first one's entries in the caches.
    """
    arms = {tuple(step.recipes): step.arm for step in steps if step.arm}
    return [
        msgspec.structs.replace(step, arm=arms.get(tuple(step.recipes), step.arm))
        for step in ablations
        if step.recipes
    ]


def _with_paper(step: LadderStep, table: PaperTable | None, row: PaperRow | None) -> LadderStep:
    if table is None or row is None:
        return step
    first = table.rows[0]
    figures = PaperFigures(
        ttft_ms=row.ttft_ms,
        tokens_per_s=row.tokens_per_s,
        e2e_ms=row.e2e_ms,
        ttft_change=row.ttft_ms / first.ttft_ms - 1,
        tokens_per_s_change=row.tokens_per_s / first.tokens_per_s - 1,
        e2e_change=row.e2e_ms / first.e2e_ms - 1,
    )
    return msgspec.structs.replace(step, paper=figures)
