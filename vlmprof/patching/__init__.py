"""Recipes as patches of a running engine: replace a function, count its calls, switch it live, undo it.

Standard library and `vlmprof.model` alone: this package is loaded into the served processes.
"""

from vlmprof.patching.call import PatchCounts, PatchedCall
from vlmprof.patching.effects import Adds, Diagnosis, Effect, Removes, SendsLess
from vlmprof.patching.family import Family, family_of
from vlmprof.patching.fits import Fits
from vlmprof.patching.launch import Launch
from vlmprof.patching.old_behaviour import OldBehaviour
from vlmprof.patching.patch import Original, Patch, fingerprint
from vlmprof.patching.patch_set import PatchSet
from vlmprof.patching.recipe import (
    Earlier,
    Exactness,
    Need,
    Recipe,
    Standing,
    Switching,
)
from vlmprof.patching.switch import SWITCH_VARIABLE, RecipeSwitch

__all__ = [
    "SWITCH_VARIABLE",
    "Adds",
    "Diagnosis",
    "Earlier",
    "Effect",
    "Exactness",
    "Family",
    "Fits",
    "Launch",
    "Need",
    "OldBehaviour",
    "Original",
    "Patch",
    "PatchCounts",
    "PatchSet",
    "PatchedCall",
    "Recipe",
    "RecipeSwitch",
    "Removes",
    "SendsLess",
    "Standing",
    "Switching",
    "family_of",
    "fingerprint",
]
