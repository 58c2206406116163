"""Recipes in a served process: chosen when the engine says which model it serves, switched live or always on."""

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from vlmprof.agent.import_hook import ImportWatch
from vlmprof.errors import RecipeMisfit, UsageError
from vlmprof.patching.family import Family, family_of
from vlmprof.patching.ledger import LEDGER_VARIABLE, CallLedger
from vlmprof.patching.patch_set import PatchSet
from vlmprof.patching.recipe import Recipe, Switching
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.selection import Selection, is_word, named_recipes, select
from vlmprof.patching.source import InstalledSource
from vlmprof.patching.switch import SWITCH_VARIABLE, RecipeSwitch

FAMILY_VARIABLE = "VLMPROF_RECIPE_FAMILY"
"""Environment variable with the name of the served model's family, or NO_FAMILY; unset while it is not known."""
NO_FAMILY = "NONE"
SAID_VARIABLE = "VLMPROF_RECIPES_SAID"
"""Environment variable with the name of the family for which the engine's log has the recipes already."""

# Where each process of an engine learns which model it serves: a call, and the place of the model's config in it.
_CONFIG_OF_CALL: dict[str, Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]] = {
    "vllm.engine.arg_utils:EngineArgs.create_model_config": lambda returned, _, __: returned,
    "vllm.v1.worker.worker_base:WorkerBase.__init__": lambda _, args, kwargs: (
        (kwargs["vllm_config"] if "vllm_config" in kwargs else args[1]).model_config
    ),
}


class ServedRecipes:
    """The recipes of one process of an engine.

    They are those of one family of models: classes that a recipe changes are used by other models too, whose other
    half of the work would not be changed. Processes that are started later inherit the family's name.

    Args:
        text: `1,2,8`, `all` or `exact`.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._family: Family | None = None
        self._patches: PatchSet | None = None
        self._has_met_a_model = False

    def wait_for_model(self) -> None:
        """From now on, look at each model that the engine is asked for in this process."""
        ImportWatch({target.partition(":")[0] for target in _CONFIG_OF_CALL}, self._look_on)

    def install(self, family: Family) -> None:
        """Install the recipes for models of a family.

        Raises:
            UsageError: no recipe has one of the numbers.
            RecipeMisfit: numbers that cannot be applied exactly as meant, or not any more: the engine must not
                start without them.
        """
        installed = InstalledSource()
        recipes = load_recipes(installed)
        selection = select(self._text, recipes, family, installed)
        chosen = [recipes[number] for number in selection.numbers]
        _check_live(chosen)
        patches = PatchSet(chosen, _switch(selection), family, ledger=_ledger())
        patches.apply()
        self._family, self._patches = family, patches
        _say(family.name, selection)

    def meet(self, architecture: str) -> None:
        """Install what fits the model that the engine is about to serve, if a recipe knows it.

        Args:
            architecture: the model class that the engine has chosen.

        Raises:
            UsageError, RecipeMisfit: as `install`; or no recipe knows the model, and recipes were named.
        """
        family = family_of({"architectures": [architecture]})
        first, self._has_met_a_model = not self._has_met_a_model, True
        if self._patches is not None and family is not self._family:
            self._leave(architecture, refuse=first)
        elif family is None:
            self._know_nothing_of(architecture)
        elif self._patches is None and first:
            self.install(family)
            os.environ[FAMILY_VARIABLE] = family.name

    def _leave(self, architecture: str, *, refuse: bool) -> None:
        """Recipes for one model are installed, and the engine serves another."""
        if refuse:
            raise RecipeMisfit(
                f"the recipes were chosen for {self._family}, and the engine runs {architecture}",
                hint="leave out the option that has the engine run it (as --model-impl), or the recipes",
            )
        if self._patches is not None:
            self._patches.undo()
        self._patches = self._family = None
        os.environ[FAMILY_VARIABLE] = NO_FAMILY
        _write_line(f"vlmprof recipes: off in this process, which now serves {architecture} as well")

    def _know_nothing_of(self, architecture: str) -> None:
        os.environ[FAMILY_VARIABLE] = NO_FAMILY
        if not is_word(self._text):
            raise RecipeMisfit(f"no recipe knows {architecture}", hint=f"recipes are for {'; '.join(Family)}")
        _say(NO_FAMILY, Selection(()), f"no recipe knows {architecture}")

    def _look_on(self, module: ModuleType) -> None:
        for target, config_of in _CONFIG_OF_CALL.items():
            name, _, path = target.partition(":")
            if name == module.__name__:
                self._look_at_calls(module, path, config_of)

    def _look_at_calls(self, module: ModuleType, path: str, config_of: Callable[..., Any]) -> None:
        owner_name, _, name = path.partition(".")
        owner = getattr(module, owner_name, None)
        original = getattr(owner, name, None)
        if owner is None or original is None:
            raise RecipeMisfit(
                f"this vLLM has no {path}, from which recipes learn what is served",
                hint="take a version that `vlmprof recipes list` shows recipes for, or unset VLMPROF_RECIPES",
            )

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            returned = original(*args, **kwargs)
            with_hint(self._text, self.meet, config_of(returned, args, kwargs).architecture)
            return returned

        setattr(owner, name, call)


# An engine may load its plugins more than once in a process.
@functools.cache
def start(text: str) -> ServedRecipes:
    """Install recipes in this process: at once where the environment names the family, else with the model.

    Args:
        text: `1,2,8`, `all` or `exact`.

    Raises:
        UsageError, RecipeMisfit: as `ServedRecipes.install`.
    """
    recipes = ServedRecipes(text)
    with_hint(text, _check_text, text)
    named = os.environ.get(FAMILY_VARIABLE)
    if named == NO_FAMILY:
        return recipes
    if named:
        with_hint(text, recipes.install, Family[named])
    recipes.wait_for_model()
    return recipes


def with_hint(text: str, act: Callable[..., None], *args: Any) -> None:
    """Do something whose errors a server's log shows by their text alone: it names the variable and what to do."""
    try:
        act(*args)
    except (RecipeMisfit, UsageError) as error:
        raise type(error)(f"VLMPROF_RECIPES={text}: {error.message}; {error.hint}") from error


def _check_text(text: str) -> None:
    """Refuse before the model is known what fits none."""
    if not is_word(text):
        recipes = load_recipes(InstalledSource())
        _check_live(recipes[number] for number in named_recipes(text, recipes))


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


def _say(family: str, selection: Selection, reason: str = "") -> None:
    """One line for the whole engine: its other processes inherit the environment."""
    if os.environ.get(SAID_VARIABLE) == family:
        return
    os.environ[SAID_VARIABLE] = family
    applied = ", ".join(map(str, selection.numbers)) or f"none{f': {reason}' if reason else ''}"
    refused = "; ".join(f"{number} ({reason})" for number, reason in sorted(selection.refused.items()))
    _write_line(f"vlmprof recipes applied: {applied}{f'; refused: {refused}' if refused else ''}")


def _write_line(text: str) -> None:
    """Through vLLM's logger, or past it where it is not set up yet: some versions load plugins before that."""
    log = logging.getLogger("vllm.vlmprof")
    if log.isEnabledFor(logging.INFO):
        log.info(text)
    else:
        sys.stderr.write(f"INFO {text}\n")
