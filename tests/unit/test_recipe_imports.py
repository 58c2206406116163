"""Recipes that are installed before the engine is imported, as in a served process: every one finds its place."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed")

_PROGRAM = """
import importlib, json
from vlmprof.patching import Family, PatchSet, RecipeSwitch
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.selection import select
from vlmprof.patching.source import InstalledSource

recipes = load_recipes()
taken = select("all", recipes, list(Family), InstalledSource())
# A library of another version is a reason; a function that the recipe does not know is none.
for number, reason in taken.refused.items():
    assert not recipes[number].patches or reason.endswith("is installed"), reason
assert not [pair for pair in taken.misfits if recipes[pair[0]].patches_for(pair[1])], taken.misfits
recipes = {number: recipes[number] for number in taken.numbers}
patches = PatchSet(list(recipes.values()), RecipeSwitch.private(), *Family)
patches.apply()
importlib.import_module("vllm.entrypoints.openai.api_server")
wanted = {patch for each in recipes.values() for family in Family for patch in each.patches_for(family)}
for module in sorted({patch.module for patch in wanted}):
    importlib.import_module(module)
print(json.dumps([sorted(patch.target for patch in wanted), sorted(patches.counts())]))
"""


def test_all_recipes_of_all_families_find_their_place_while_the_engine_is_imported() -> None:
    """A replacement that imports what is only half imported itself would end the engine at its start."""
    child = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    wanted, installed = json.loads(child.stdout.splitlines()[-1])
    assert set(installed) == set(wanted)
