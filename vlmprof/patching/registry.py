"""All installed recipes, found through the entry-point group, and sets of them that may be on together."""

import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import replace

from vlmprof.errors import RecipeMisfit, UsageError
from vlmprof.patching.availability import has_change
from vlmprof.patching.family import Family
from vlmprof.patching.recipe import Recipe
from vlmprof.patching.source import InstalledSource
from vlmprof.patching.versions import Versions, as_in

ENTRY_POINT_GROUP = "vlmprof.recipes"


def load_recipes(versions: Versions | None = None) -> dict[int, Recipe]:
    """Every recipe that an installed package offers, by number, in order, as it stands in an engine.

    Args:
        versions: of the engine and its libraries, installed or a run's; None for those of this interpreter.

    Raises:
        RecipeMisfit: two packages offer the same number.
    """
    recipes: dict[int, Recipe] = {}
    engine = InstalledSource() if versions is None else versions
    for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        recipe: Recipe = entry.load()
        if recipe.number in recipes and recipes[recipe.number] is not recipe:
            raise RecipeMisfit(
                f"recipe {recipe.number} is offered twice: {recipes[recipe.number].slug} and {recipe.slug}",
                hint=f"uninstall one of the packages that offer {ENTRY_POINT_GROUP}",
            )
        recipes[recipe.number] = recipe
    return {number: as_in(recipe, engine) for number, recipe in sorted(recipes.items())}


def narrowed(recipes: Mapping[int, Recipe], family: Family) -> dict[int, Recipe]:
    """The recipes as they are for the served model's family.

    What has nothing to change there is no recipe's need: the engine does it already, or the model lacks it.
    """

    def needed(number: int, recipe: Recipe) -> bool:
        need = recipes.get(number)
        return need is None or not has_change(recipe, family) or has_change(need, family)

    return {
        number: replace(recipe, needs=tuple(need for need in recipe.needs if needed(need, recipe)))
        for number, recipe in recipes.items()
    }


def with_needs(numbers: Iterable[int], recipes: Mapping[int, Recipe]) -> frozenset[int]:
    """A set of recipes with all that they need, directly or not; numbers of other recipes are left out."""
    closed: set[int] = set()
    waiting = list(numbers)
    while waiting:
        number = waiting.pop()
        if number not in closed and number in recipes:
            closed.add(number)
            waiting += recipes[number].needs
    return frozenset(closed)


def parse_numbers(text: str, recipes: Mapping[int, Recipe]) -> tuple[int, ...]:
    """Recipe numbers of `1,2,8`, each once.

    Raises:
        UsageError: a part is no number, or no recipe has it.
    """
    numbers = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if not part.isdecimal() or int(part) not in recipes:
            raise UsageError(f"there is no recipe {part!r}", hint=_known(recipes))
        numbers.append(int(part))
    return tuple(dict.fromkeys(numbers))


def check_together(numbers: Iterable[int], recipes: Mapping[int, Recipe], family: Family) -> None:
    """Make sure that a set of recipes may be on together in an engine that serves a family.

    Raises:
        RecipeMisfit: one has nothing to change for it, lacks another that it needs, or meets one that it
            conflicts with.
    """
    chosen, recipes = frozenset(numbers), narrowed(recipes, family)
    for recipe in (recipes[number] for number in sorted(chosen)):
        if not has_change(recipe, family):
            raise _nothing_to_apply(recipe, family)
        missing = sorted(set(recipe.needs) - chosen)
        if missing:
            raise RecipeMisfit(
                f"recipe {recipe.number} ({recipe.slug}) needs {_listed(missing)}",
                hint=f"name {','.join(map(str, sorted(with_needs(chosen, recipes))))}",
            )
        clashing = sorted(set(recipe.conflicts) & chosen)
        if clashing:
            raise RecipeMisfit(
                f"recipe {recipe.number} ({recipe.slug}) conflicts with {_listed(clashing)}",
                hint="name one of them",
            )


def _known(recipes: Mapping[int, Recipe]) -> str:
    numbers = ", ".join(map(str, recipes))
    return (
        f"recipes: {numbers}; or all, or exact" if numbers else "the package vlmprof_recipes is not installed"
    )


def _nothing_to_apply(recipe: Recipe, family: Family) -> RecipeMisfit:
    standing = recipe.standing.get(family)
    reason = f": {standing.need}, {standing.where}" if standing else ""
    return RecipeMisfit(
        f"recipe {recipe.number} ({recipe.slug}) has nothing to apply to {family}{reason}",
        hint=f"`vlmprof recipes show {recipe.number}` says why for each model",
    )


def _listed(numbers: list[int]) -> str:
    return f"recipe{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
