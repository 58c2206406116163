"""Which recipes a user's words stand for in an engine: numbers as they are, `all` and `exact` as far as it fits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vlmprof.errors import RecipeMisfit, UsageError
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
    """

    numbers: tuple[int, ...]
    refused: Mapping[int, str] = field(default_factory=dict)


def is_word(text: str) -> bool:
    """Whether a user's words are `all` or `exact`, and no numbers."""
    return text.strip() in (ALL, EXACT)


def named_recipes(text: str, recipes: Mapping[int, Recipe]) -> tuple[int, ...]:
    """The numbers that a user's words name, of which there must be one.

    Raises:
        UsageError: a part is no number, no recipe has it, or there is none.
    """
    numbers = parse_numbers(text, recipes)
    if not numbers:
        raise UsageError(f"{text!r} names no recipe", hint="numbers as 1,2,8, or all, or exact")
    return numbers


def select(text: str, recipes: Mapping[int, Recipe], family: Family, installed: InstalledSource) -> Selection:
    """Recipes for `1,2,8`, `all` (live ones that fit) or `exact` (those of them that keep outputs equal).

    Args:
        family: the served model's.

    Raises:
        UsageError: no recipe has one of the numbers, or there is none.
        RecipeMisfit: numbers that cannot be applied exactly as meant.
    """
    if is_word(text):
        return _all_that_fit(narrowed(recipes, family), family, installed, exact_only=text.strip() == EXACT)
    numbers = named_recipes(text, recipes)
    check_together(numbers, recipes, family)
    for number in numbers:
        if recipes[number].patches_for(family):
            check_recipe(recipes[number], family, installed)
    return Selection(tuple(sorted(numbers)))


def _all_that_fit(
    recipes: Mapping[int, Recipe], family: Family, installed: InstalledSource, *, exact_only: bool
) -> Selection:
    refused: dict[int, str] = {}
    candidates = []
    for number, recipe in recipes.items():
        reason = _reason_against(recipe, family, installed)
        if exact_only and recipe.exactness is not Exactness.EXACT:
            refused[number] = f"changes outputs: {recipe.tolerance}"
        elif recipe.switching is Switching.RESTART:
            refused[number] = "takes part in how the server is started"
        elif reason:
            refused[number] = reason
        else:
            candidates.append(recipe)
    return Selection(_compatible(candidates, refused), refused)


def _reason_against(recipe: Recipe, family: Family, installed: InstalledSource) -> str:
    """Why a recipe cannot be on; empty where it can."""
    if not recipe.patches_for(family):
        standing = recipe.standing.get(family)
        return f"{standing.need}: {standing.where}" if standing else "says nothing of this model"
    try:
        check_recipe(recipe, family, installed)
    except RecipeMisfit as error:
        return error.message
    return ""


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
