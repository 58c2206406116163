"""Recipes as patches of a running engine: replace a function, count its calls, switch it live, undo it.

Standard library and `vlmprof.model` alone: this package is loaded into the served processes.
"""

from vlmprof.patching.family import Family, family_of
from vlmprof.patching.launch import Launch
from vlmprof.patching.patch import Patch, fingerprint
from vlmprof.patching.patch_set import PatchCounts, PatchedCall, PatchSet
from vlmprof.patching.recipe import (
    Diagnosis,
    Exactness,
    Fits,
    Need,
    Recipe,
    Standing,
    Switching,
)
from vlmprof.patching.switch import SWITCH_VARIABLE, RecipeSwitch

__all__ = [
    "SWITCH_VARIABLE",
    "Diagnosis",
    "Exactness",
    "Family",
    "Fits",
    "Launch",
    "Need",
    "Patch",
    "PatchCounts",
    "PatchSet",
    "PatchedCall",
    "Recipe",
    "RecipeSwitch",
    "Standing",
    "Switching",
    "family_of",
    "fingerprint",
]
