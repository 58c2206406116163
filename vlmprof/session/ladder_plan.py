"""The rows of a ladder: which recipes come on with which, which cannot, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from vlmprof.errors import UsageError
from vlmprof.model.ladder import LadderStep, PaperFigures
from vlmprof.model.paper import INTERNVL3_2B, SMOLVLM_256M, PaperRow, PaperTable
from vlmprof.patching import Family, Recipe
from vlmprof.patching.registry import parse_numbers

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
        notes: what people should know of the rows.
    """

    table: PaperTable | None
    steps: list[LadderStep]
    ablations: list[LadderStep]
    notes: list[str] = field(default_factory=list)

    @property
    def trial(self) -> dict[str, str]:
        """Arms of the trial that measures the rows, name -> recipes; those equal to an earlier one are one arm."""
        measured = [step for step in (*self.steps, *self.ablations) if step.arm]
        return {step.arm: ",".join(map(str, step.recipes)) for step in measured}


def parse_order(text: str, recipes: Mapping[int, Recipe]) -> list[tuple[int, ...]]:
    """Rows of `10 1,11 8`: what comes on with each.

    Raises:
        UsageError: no row, a part that is no recipe's number, or a recipe that is named by two rows.
    """
    rows = [parse_numbers(group, recipes) for group in text.split()]
    counts = Counter(number for row in rows for number in row)
    if not rows or not all(rows):
        raise UsageError(f"--order {text!r} names no recipe in some row", hint=_ORDER_HINT)
    if counts.most_common(1)[0][1] > 1:
        raise UsageError(
            f"--order {text!r} names recipe {counts.most_common(1)[0][0]} twice", hint=_ORDER_HINT
        )
    return rows


_ORDER_HINT = "as --order '10 1,11 8': recipe 10 first, then 1 and 11 together, then 8"


def plan_ladder(
    family: Family,
    chosen: Sequence[int],
    recipes: Mapping[int, Recipe],
    *,
    refused: Mapping[int, str],
    order: Sequence[Sequence[int]] = (),
    ablate: bool = False,
    today: int | None = None,
) -> LadderPlan:
    """Rows in the paper's order or another one; recipes that neither names follow one by one.

    Args:
        chosen: recipes that may be on together.
        refused: why each other recipe is not among them.
        order: groups of recipes to add instead of the paper's rows.
        today: number of the recipe that is the engine as it is, where the ladder starts from an old behaviour;
            it has a row of its own unless `order` says otherwise, and every other one comes on with it or later.
    """
    table = None if order else _TABLES.get(family)
    rows: list[_Row] = [(tuple(row.recipes), row) for row in table.rows[1:]] if table else []
    rows += [(tuple(group), None) for group in order]
    if today is not None:
        chosen = [today, *chosen]
        recipes = _all_needing(today, recipes)
        refused = {**refused, **_clashing(today, recipes)}
        rows = _with_row_of(today, rows)
    named = {number for group, _ in rows for number in group}
    rows += [((number,), None) for number in chosen if number not in named]
    building = _Building(chosen, recipes, refused)
    for group, _ in rows:
        building.add(group)
    steps = [_with_paper(step, table, row) for step, (_, row) in zip(building.steps, rows, strict=True)]
    ablated = [number for number in building.on if number != today] if ablate else []
    ablations = [_without(number, building.on, recipes) for number in ablated]
    notes = [_NO_ABLATION.format(today)] if ablate and today is not None else []
    return LadderPlan(table, steps, _with_shared_arms(ablations, steps), notes)


_Row = tuple[tuple[int, ...], PaperRow | None]
_NO_ABLATION = (
    "no row leaves out recipe {0}: it is the engine as it is, which the others are written for; without it there "
    "is the baseline"
)


def _all_needing(today: int, recipes: Mapping[int, Recipe]) -> dict[int, Recipe]:
    """The recipes as they are on top of an old behaviour: each needs the one that is the engine as it is."""
    return {
        number: replace(recipe, needs=() if number == today else (*recipe.needs, today))
        for number, recipe in recipes.items()
    }


def _clashing(today: int, recipes: Mapping[int, Recipe]) -> dict[int, str]:
    """Recipes that could act on the old behaviour alone, which no row of a ladder is."""
    return {
        number: f"conflicts with recipe {today}, which is the engine as it is and on in every row"
        for number, recipe in recipes.items()
        if today in recipe.conflicts
    }


def _with_row_of(today: int, rows: list[_Row]) -> list[_Row]:
    """A row of its own for the engine as it is, before the paper's that names it; first where none does."""
    places = [place for place, (group, _) in enumerate(rows) if today in group]
    if places and (rows[places[0]][1] is None or rows[places[0]][0] == (today,)):
        return rows
    place = places[0] if places else 0
    return [*rows[:place], ((today,), None), *rows[place:]]


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
        self.waiting += [number for number in group if number in self.chosen and number not in self.on]
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
