"""Recipes in a served process: chosen, installed as the engine is imported, switched live or always on."""

import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from vlmprof.errors import RecipeMisfit
from vlmprof.patching.family import Family
from vlmprof.patching.ledger import LEDGER_VARIABLE, CallLedger
from vlmprof.patching.patch_set import PatchSet
from vlmprof.patching.recipe import Recipe, Switching
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.selection import Selection, select
from vlmprof.patching.source import InstalledSource
from vlmprof.patching.switch import SWITCH_VARIABLE, RecipeSwitch

FAMILY_VARIABLE = "VLMPROF_RECIPE_FAMILY"
"""Environment variable with the name of the served model's family; unset where that is not known."""
_SAID_VARIABLE = "VLMPROF_RECIPES_SAID"


def start(text: str) -> PatchSet:
    """Install recipes in this process; a model that is served later meets those of its family alone.

    Args:
        text: `1,2,8`, `all` or `exact`.

    Raises:
        UsageError: no recipe has one of the numbers.
        RecipeMisfit: numbers that cannot be applied exactly as meant, or not any more: the engine must not start
            without them.
    """
    installed = InstalledSource()
    recipes = load_recipes(installed)
    named = os.environ.get(FAMILY_VARIABLE)
    families = (Family[named],) if named else tuple(Family)
    selection = select(text, recipes, families, installed)
    _check_live(recipes[number] for number in selection.numbers)
    patches = PatchSet(
        [recipes[number] for number in selection.numbers],
        _switch(selection),
        *families,
        leaving_out=selection.misfits,
        ledger=_ledger(),
    )
    patches.apply()
    _say(selection)
    return patches


def _check_live(recipes: Iterable[Recipe]) -> None:
    """Raise `RecipeMisfit` for a recipe that takes part in a server's start, which is over."""
    for recipe in recipes:
        if recipe.switching is Switching.RESTART:
            raise RecipeMisfit(
                f"recipe {recipe.number} ({recipe.slug}) is in how a server is started, and this one has been",
                hint=f"leave it out; `vlmprof recipes show {recipe.number}` says what the server is started with",
            )


def _switch(selection: Selection) -> RecipeSwitch:
    path = os.environ.get(SWITCH_VARIABLE)
    return RecipeSwitch.shared(Path(path)) if path else RecipeSwitch.private(selection.numbers)


def _ledger() -> CallLedger | None:
    folder = os.environ.get(LEDGER_VARIABLE)
    return CallLedger(Path(folder)) if folder else None


def _say(selection: Selection) -> None:
    """One line for the whole engine: its other processes inherit the environment."""
    if os.environ.get(_SAID_VARIABLE):
        return
    os.environ[_SAID_VARIABLE] = "1"
    applied = ", ".join(map(str, selection.numbers)) or "none"
    refused = "; ".join(f"{number} ({reason})" for number, reason in sorted(selection.refused.items()))
    _write_line(f"vlmprof recipes applied: {applied}{f'; refused: {refused}' if refused else ''}")


def _write_line(text: str) -> None:
    """Through vLLM's logger, or past it where it is not set up yet: some versions load plugins before that."""
    log = logging.getLogger("vllm.vlmprof")
    if log.isEnabledFor(logging.INFO):
        log.info(text)
    else:
        sys.stderr.write(f"INFO {text}\n")
