"""Recipes that are installed before the engine is imported, as in a served process: every one finds its place."""

import json
import subprocess
import sys

import pytest

from vlmprof.patching import Family

pytest.importorskip("vllm", reason="vLLM is not installed")

_PROGRAM = """
import importlib, json, sys
from vlmprof.patching import Family, PatchSet, RecipeSwitch
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.selection import select
from vlmprof.patching.source import InstalledSource

recipes, family = load_recipes(), Family[sys.argv[1]]
taken = select("all", recipes, family, InstalledSource())
# A library of another version is a reason; a function that the recipe does not know is none.
for number, reason in taken.refused.items():
    assert not recipes[number].patches_for(family) or reason.endswith("is installed"), reason
patches = PatchSet([recipes[number] for number in taken.numbers], RecipeSwitch.private(), family)
patches.apply()
importlib.import_module("vllm.entrypoints.openai.api_server")
wanted = {patch for number in taken.numbers for patch in recipes[number].patches_for(family)}
for module in sorted({patch.module for patch in wanted}):
    importlib.import_module(module)
print(json.dumps([sorted(patch.target for patch in wanted), sorted(patches.counts())]))
"""


@pytest.mark.parametrize("family", list(Family), ids=lambda each: each.name)
def test_all_recipes_of_a_family_find_their_place_while_the_engine_is_imported(family: Family) -> None:
    """A replacement that imports what is only half imported itself would end the engine at its start."""
    command = [sys.executable, "-c", _PROGRAM, family.name]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    wanted, installed = json.loads(child.stdout.splitlines()[-1])
    assert set(installed) == set(wanted)
