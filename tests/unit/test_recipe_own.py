"""Recipes beyond the paper: installed in the real engine, undone to the same objects, refused by another."""

import dataclasses
import importlib
import inspect
from typing import Any

import pytest

from vlmprof.errors import RecipeMisfit
from vlmprof.patching import Family, Need, Patch, PatchSet, Recipe, RecipeSwitch
from vlmprof.patching.registry import check_together, load_recipes
from vlmprof.patching.source import InstalledSource
from vlmprof.patching.versions import check_versions

_RECIPES = load_recipes()
_NUMBERS = (3, 6, 13, 14, 15)


def _is_for_installed_versions(recipe: Recipe, family: Family) -> bool:
    """Recipe 3 is refused beside a torchvision that has no Lanczos."""
    try:
        check_versions(recipe, family, InstalledSource())
    except RecipeMisfit:
        return False
    return True


_PLACES = [
    (number, family)
    for number in _NUMBERS
    for family in Family
    if _RECIPES[number].patches_for(family) and _is_for_installed_versions(_RECIPES[number], family)
]


@pytest.fixture(autouse=True)
def vllm() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")


def _raw(patch: Patch) -> Any:
    owner, name = patch.owner_in(importlib.import_module(patch.module))
    return inspect.getattr_static(owner, name)


@pytest.mark.parametrize(("number", "family"), _PLACES, ids=str)
def test_a_recipe_fits_the_installed_engine_and_is_undone_to_the_same_objects(
    number: int, family: Family
) -> None:
    """Every place holds something else while the recipe is installed, and then what it held before."""
    recipe = _RECIPES[number]
    patches = PatchSet([recipe], RecipeSwitch.private(), family)
    patches.check()
    before = [_raw(patch) for patch in recipe.patches_for(family)]
    patches.apply()
    installed = [_raw(patch) for patch in recipe.patches_for(family)]
    patches.undo()
    assert all(new is not old for new, old in zip(installed, before, strict=True))
    assert all(_raw(patch) is old for patch, old in zip(recipe.patches_for(family), before, strict=True))


def _of_another_engine(recipe: Recipe, family: Family) -> Recipe:
    """The recipe as if it had been written for functions with another source."""
    foreign = tuple(
        dataclasses.replace(patch, fingerprints=("0" * 16,)) for patch in recipe.patches_for(family)
    )
    return dataclasses.replace(recipe, patches={family: foreign})


@pytest.mark.parametrize(("number", "family"), _PLACES, ids=str)
def test_a_recipe_refuses_an_engine_that_it_was_not_written_for(number: int, family: Family) -> None:
    """The message names the recipe and the function whose source it does not know."""
    recipe = _of_another_engine(_RECIPES[number], family)
    with pytest.raises(RecipeMisfit, match=rf"recipe {number} .*source fingerprint"):
        PatchSet([recipe], RecipeSwitch.private(), family).check()


def test_folding_needs_uint8_tiles_without_a_mask() -> None:
    """Recipe 14 embeds tiles as they were sent: 8 sends uint8, which needs 1, and 10 sends no mask."""
    check_together((1, 8, 10, 14), _RECIPES, Family.IDEFICS3)
    with pytest.raises(RecipeMisfit, match=r"recipe 14 .* needs recipe"):
        check_together((1, 8, 14), _RECIPES, Family.IDEFICS3)


@pytest.mark.parametrize("number", [3, 4, 6, 9, 12, 13, 14, 15])
def test_a_recipe_says_how_it_stands_in_every_family(number: int) -> None:
    """One row a family, each with a place or a reason; a family with patches needs the recipe."""
    recipe = _RECIPES[number]
    assert set(recipe.standing) == set(Family)
    assert all(standing.where for standing in recipe.standing.values())
    assert all(recipe.standing[family].need is Need.NEEDED for family in recipe.patches)
