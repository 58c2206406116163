"""Which recipes a user's words stand for in an engine: numbers as they are, `all` and `exact` as far as it fits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vlmprof.errors import RecipeMisfit
from vlmprof.patching.family import Family
from vlmprof.patching.recipe import Exactness, Recipe, Switching
from vlmprof.patching.registry import check_together, narrowed, parse_numbers
from vlmprof.patching.source import InstalledSource
from vlmprof.patching.versions import check_recipe

ALL = "all"
EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Selection:
    """Recipes that may be on together.

    Attributes:
        refused: why each of the others was left out of `all` or `exact`; empty for numbers, which are all
            taken or refused as a whole.
        misfits: pairs of a recipe that is taken and a family that it does not fit.
    """

    numbers: tuple[int, ...]
    refused: Mapping[int, str] = field(default_factory=dict)
    misfits: frozenset[tuple[int, Family]] = frozenset()


def select(
    text: str, recipes: Mapping[int, Recipe], families: Sequence[Family], installed: InstalledSource
) -> Selection:
    """Recipes for `1,2,8`, `all` (live ones that fit) or `exact` (those of them that keep outputs equal).

    Args:
        families: the served model's, or every family that may come to be served.

    Raises:
        UsageError: no recipe has one of the numbers.
        RecipeMisfit: numbers that cannot be applied exactly as meant.
    """
    if text.strip() in (ALL, EXACT):
        return _all_that_fit(
            narrowed(recipes, *families), families, installed, exact_only=text.strip() == EXACT
        )
    numbers = parse_numbers(text, recipes)
    check_together(numbers, recipes, *families)
    for number in numbers:
        _check_for_some(recipes[number], families, installed)
    return Selection(tuple(sorted(numbers)))


def _check_for_some(recipe: Recipe, families: Iterable[Family], installed: InstalledSource) -> None:
    """Where several models may come, one that the recipe fits is enough: another refuses when it is loaded."""
    misfits: list[RecipeMisfit] = []
    for family in families:
        if recipe.patches_for(family):
            try:
                check_recipe(recipe, family, installed)
            except RecipeMisfit as error:
                misfits.append(error)
            else:
                return
    if misfits:
        raise misfits[0]


def _all_that_fit(
    recipes: Mapping[int, Recipe], families: Sequence[Family], installed: InstalledSource, *, exact_only: bool
) -> Selection:
    refused: dict[int, str] = {}
    misfits: set[tuple[int, Family]] = set()
    candidates = []
    for number, recipe in recipes.items():
        reasons = _reasons_against(recipe, families, installed)
        misfits |= {(number, family) for family in reasons}
        if exact_only and recipe.exactness is not Exactness.EXACT:
            refused[number] = f"changes outputs: {recipe.tolerance}"
        elif recipe.switching is Switching.RESTART:
            refused[number] = "takes part in how the server is started"
        elif len(reasons) == len(families):
            refused[number] = next(iter(reasons.values()), "nothing to apply")
        else:
            candidates.append(recipe)
    taken = _compatible(candidates, refused)
    return Selection(taken, refused, frozenset(pair for pair in misfits if pair[0] in taken))


def _reasons_against(
    recipe: Recipe, families: Iterable[Family], installed: InstalledSource
) -> dict[Family, str]:
    """Why a recipe cannot be on, for each family for which it cannot."""
    reasons: dict[Family, str] = {}
    for family in families:
        if not recipe.patches_for(family):
            standing = recipe.standing.get(family)
            reasons[family] = (
                f"{standing.need}: {standing.where}" if standing else "says nothing of this model"
            )
            continue
        try:
            check_recipe(recipe, family, installed)
        except RecipeMisfit as error:
            reasons[family] = error.message
    return reasons


def _compatible(candidates: Sequence[Recipe], refused: dict[int, str]) -> tuple[int, ...]:
    """Exact recipes before others, lower numbers before higher; what then conflicts or lacks a need goes."""
    taken: dict[int, Recipe] = {}
    for recipe in sorted(candidates, key=lambda each: (each.exactness is not Exactness.EXACT, each.number)):
        clashing = [other for other in taken.values() if _conflict(recipe, other)]
        if clashing:
            refused[recipe.number] = f"conflicts with recipe {clashing[0].number}"
        else:
            taken[recipe.number] = recipe
    lacking = _lacking(taken)
    while lacking:
        for number, need in lacking.items():
            del taken[number]
            refused[number] = f"needs recipe {need}"
        lacking = _lacking(taken)
    return tuple(sorted(taken))


def _conflict(one: Recipe, other: Recipe) -> bool:
    return other.number in one.conflicts or one.number in other.conflicts


def _lacking(taken: Mapping[int, Recipe]) -> dict[int, int]:
    """Recipe number -> the first of its needs that is not taken."""
    missing = {
        number: [need for need in recipe.needs if need not in taken] for number, recipe in taken.items()
    }
    return {number: needs[0] for number, needs in missing.items() if needs}
