"""Sets of recipes: numbers, needs and conflicts are checked before a server starts."""

from dataclasses import replace

import pytest

from vlmprof.errors import RecipeMisfit, UsageError
from vlmprof.model.run_folder import RunFolder
from vlmprof.patching import Diagnosis, Family, Need, Patch, Recipe, Standing, Switching
from vlmprof.patching.registry import check_together, load_recipes, parse_numbers
from vlmprof.patching.versions import NamedVersions

_FAMILY = Family.QWEN3_VL
_PATCH = Patch("engine:f", "recipe:g", parameters=(), fingerprints=())


def _no_diagnosis(_run: RunFolder) -> Diagnosis:
    return Diagnosis()


def _recipe(
    number: int,
    *,
    needs: tuple[int, ...] = (),
    conflicts: tuple[int, ...] = (),
    patches: tuple[Patch, ...] = (_PATCH,),
) -> Recipe:
    return Recipe(
        number=number,
        slug=f"toy_{number}",
        title="toy",
        paper="-",
        here="-",
        standing={},
        diagnose=_no_diagnosis,
        needs=needs,
        conflicts=conflicts,
        patches={_FAMILY: patches},
    )


_RECIPES = {
    1: _recipe(1),
    4: _recipe(4, patches=()),
    8: _recipe(8, needs=(1,)),
    9: _recipe(9, conflicts=(1,)),
}


@pytest.mark.parametrize(("text", "numbers"), [("1,8", (1, 8)), (" 8 , 1 ,8", (8, 1)), ("", ())])
def test_numbers_are_read_in_the_order_given(text: str, numbers: tuple[int, ...]) -> None:
    """A number that is named twice counts once."""
    assert parse_numbers(text, _RECIPES) == numbers


@pytest.mark.parametrize("text", ["2", "x", "1;8", "-1", "²"])
def test_an_unknown_recipe_is_refused_and_the_known_ones_are_named(text: str) -> None:
    """The hint is what a person needs to correct the command."""
    with pytest.raises(UsageError, match="there is no recipe") as refused:
        parse_numbers(text, _RECIPES)
    assert refused.value.hint == "recipes: 1, 4, 8, 9; or all, or exact"


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((8,), "recipe 8 (toy_8) needs recipe 1"),
        ((1, 9), "recipe 9 (toy_9) conflicts with recipe 1"),
        ((4,), "recipe 4 (toy_4) has nothing to apply to Qwen3-VL"),
    ],
)
def test_a_set_that_cannot_be_on_together_is_refused(numbers: tuple[int, ...], said: str) -> None:
    """Each refusal names both recipes."""
    with pytest.raises(RecipeMisfit) as refused:
        check_together(numbers, _RECIPES, _FAMILY)
    assert refused.value.message == said


def test_a_recipe_of_another_family_is_refused_with_its_reason() -> None:
    """Recipe 1 has a patch for Qwen3-VL alone: for SmolVLM there is nothing, and the recipe says why."""
    standing = {Family.IDEFICS3: Standing(Need.UPSTREAM, "engine.resize does it")}
    recipes = {1: replace(_recipe(1), standing=standing)}
    with pytest.raises(RecipeMisfit, match=r"to SmolVLM, Idefics3: upstream, engine\.resize does it"):
        check_together([1], recipes, Family.IDEFICS3)


def test_a_set_with_what_it_needs_is_accepted() -> None:
    """8 needs 1, and 1 is there."""
    check_together((8, 1), _RECIPES, _FAMILY)


def test_recipes_are_found_by_number_in_order() -> None:
    """Whatever packages offer them, each number is there once and keys agree with recipes."""
    recipes = load_recipes()
    assert list(recipes) == sorted(recipes)
    assert all(number == recipe.number for number, recipe in recipes.items())


def test_no_cache_entry_is_shared_between_sets_of_live_recipes() -> None:
    """Every live recipe salts the multimodal hashes of each family that it changes."""
    salted = "vllm.multimodal.processing.inputs:ProcessorInputs.get_mm_hashes"
    for recipe in load_recipes().values():
        for family, patches in recipe.patches.items():
            if recipe.switching is Switching.LIVE and patches:
                assert salted in {patch.target for patch in patches}, (recipe.number, family)


@pytest.mark.parametrize("version", ["0.26.0", "0.32.0"])
def test_every_live_recipe_has_a_patch_whose_calls_show_its_use(version: str) -> None:
    """The keys of caches are asked for with each request: a recipe that never acted would pass for one that did."""
    for recipe in load_recipes(NamedVersions({"vllm": version})).values():
        for family, patches in recipe.patches.items():
            assert any(patch.shows_use for patch in patches), (recipe.number, family)
            assert not all(patch.shows_use for patch in patches), (recipe.number, family)
