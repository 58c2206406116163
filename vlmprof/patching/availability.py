"""Whether a recipe can be on in an installed engine: it has something to change there, which looks as it must."""

from dataclasses import dataclass

from vlmprof.errors import RecipeMisfit
from vlmprof.patching.family import Family
from vlmprof.patching.recipe import Need, Recipe
from vlmprof.patching.source import InstalledSource
from vlmprof.patching.versions import check_recipe


@dataclass(frozen=True, slots=True)
class Availability:
    """What stands in the way of a recipe for one family.

    Attributes:
        changes: whether the recipe has anything to switch on for the family.
        misfit: why what is installed is not what it was written for; empty where it is.
    """

    changes: bool
    misfit: str = ""

    @property
    def is_available(self) -> bool:
        return self.changes and not self.misfit


def availability(recipe: Recipe, family: Family, installed: InstalledSource) -> Availability:
    """Look a recipe's functions up in the files of what is installed; imports none of it."""
    if not has_change(recipe, family):
        return Availability(changes=False)
    try:
        check_recipe(recipe, family, installed)
    except RecipeMisfit as error:
        return Availability(changes=True, misfit=error.message)
    return Availability(changes=True)


def has_change(recipe: Recipe, family: Family) -> bool:
    """Whether there is anything to switch on: patches for the family, or a server to start where it is needed."""
    standing = recipe.standing.get(family)
    wanted = standing is not None and standing.need in (Need.NEEDED, Need.FLAG)
    return bool(recipe.patches_for(family)) or (recipe.launch is not None and wanted)
