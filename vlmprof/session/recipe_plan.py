"""The recipes of a run: which are installed in its server, which are on in which arm, what its start needs."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from pathlib import Path

from vlmprof.engines.vllm import VllmInstallation, described_by_hub
from vlmprof.errors import RecipeMisfit, UsageError
from vlmprof.model.arms import BASELINE_ARM
from vlmprof.model.run_info import ModelInfo, RecipeUse
from vlmprof.patching import SWITCH_VARIABLE, Family, Launch, Recipe, Switching, family_of
from vlmprof.patching.ledger import LEDGER_VARIABLE
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.served import FAMILY_VARIABLE, SAID_VARIABLE
from vlmprof.patching.source import InstalledSource
from vlmprof.plugin import RECIPES_VARIABLE
from vlmprof.session.baseline import Baseline, choose_baseline, select_beside, select_today
from vlmprof.session.options import RunOptions
from vlmprof.session.recipe_path import make_recipe_path

_UNSET = dict.fromkeys(
    (RECIPES_VARIABLE, FAMILY_VARIABLE, SWITCH_VARIABLE, LEDGER_VARIABLE, SAID_VARIABLE), ""
)


@dataclass(frozen=True, slots=True)
class RecipePlan:
    """Recipes of one server.

    Attributes:
        family: None where no recipes were asked for.
        arms: name -> recipes that are on in it, those that take part in a server's start included; the baseline
            `A` always.
        recipes: every recipe that is on in some arm.
        launches: arm -> how its server is started with those recipes that take part in its start.
        refused: number -> why it was left out of `all` or `exact`.
        old: the old behaviour that the baseline `A` and every block outside a trial is asked for; other arms are
            the engine as it is.
    """

    family: Family | None = None
    arms: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {BASELINE_ARM: ()})
    recipes: tuple[Recipe, ...] = ()
    launches: Mapping[str, Launch] = field(default_factory=lambda: {BASELINE_ARM: Launch()})
    refused: Mapping[int, str] = field(default_factory=dict)
    old: Baseline | None = None

    @property
    def behaviour(self) -> str:
        """Name of the old behaviour; empty where the engine is asked for none."""
        return self.old.name if self.old else ""

    @property
    def baseline(self) -> tuple[int, ...]:
        return self.arms[BASELINE_ARM]

    @property
    def launch(self) -> Launch:
        """How the baseline's server is started."""
        return self.launches[BASELINE_ARM]

    @property
    def alternates(self) -> bool:
        """Whether arms need servers of their own."""
        return any(launch != self.launch for launch in self.launches.values())

    def launch_of(self, arm: str) -> Launch:
        """How the server of a block is started; blocks outside a trial, and `A2`, are served as the baseline is."""
        return self.launches.get(arm, self.launch)

    @property
    def live(self) -> tuple[Recipe, ...]:
        return tuple(recipe for recipe in self.recipes if recipe.switching is Switching.LIVE)

    def uses(self) -> list[RecipeUse]:
        """The recipes as run.json lists them, before anything has been counted."""
        return [RecipeUse(number=recipe.number, slug=recipe.slug) for recipe in self.recipes]

    def environment(self, raw: Path, engine: VllmInstallation) -> dict[str, str]:
        """Variables that install the live recipes in the served processes, switched through `raw/switch`.

        What this process's own environment says of recipes is meant for servers that nobody measures: a run has
        those of its plan alone.

        Args:
            raw: the run's folder of captures, which has the switch and gets the ledgers.
        """
        if self.family is None or not self.live:
            return dict(_UNSET)
        variables = _UNSET | {
            RECIPES_VARIABLE: ",".join(str(recipe.number) for recipe in self.live),
            FAMILY_VARIABLE: self.family.name,
            SWITCH_VARIABLE: str((raw / "switch").resolve()),
            LEDGER_VARIABLE: str(raw.resolve()),
        }
        if "vlmprof" in engine.packages:
            return variables
        return variables | {"PYTHONPATH": str(make_recipe_path(raw))}


def plan_recipes(options: RunOptions, model: ModelInfo, engine: VllmInstallation) -> RecipePlan:
    """Choose and check the recipes of a run; imports nothing of the engine.

    Raises:
        UsageError: no recipe has one of the numbers, or an arm of the trial is blank or the baseline again.
        RecipeMisfit: a set cannot be applied exactly as meant to this engine and model.
    """
    _check_named(options.trial)
    texts = {BASELINE_ARM: options.recipes, **options.trial}
    if not any(text.strip() for text in (*texts.values(), options.baseline)):
        return RecipePlan()
    family = family_of_model(described_by_hub(model, engine))
    installed = InstalledSource(engine.search_path)
    recipes = load_recipes(installed)
    old = _old_behaviour(options, family, recipes, installed)
    chosen = {
        arm: select_beside(old, text, recipes, family, installed)
        if old is not None and arm == BASELINE_ARM
        else select_today(text, old, recipes, family, installed)
        for arm, text in texts.items()
    }
    if old is None:
        _check_differing({arm: each.numbers for arm, each in chosen.items()})
    taken = tuple(recipes[number] for number in sorted({n for each in chosen.values() for n in each.numbers}))
    restarting = {recipe.number: recipe for recipe in taken if recipe.switching is Switching.RESTART}
    launches = {
        number: recipe.launch(engine.python)
        for number, recipe in restarting.items()
        if recipe.launch is not None
    }
    return RecipePlan(
        family=family,
        arms={arm: each.numbers for arm, each in chosen.items()},
        recipes=taken,
        launches={
            arm: _joined(
                (
                    *(launches[number] for number in each.numbers if number in launches),
                    old.launch if old else Launch(),
                )
            )
            for arm, each in chosen.items()
        },
        refused={number: reason for each in chosen.values() for number, reason in each.refused.items()},
        old=old,
    )


def _check_named(trial: Mapping[str, str]) -> None:
    if any(not text.strip() for text in trial.values()):
        raise UsageError(
            "--ab names no recipe",
            hint="as --ab 1,2,8, --ab exact or --ab all; leave it out to compare nothing",
        )


def _check_differing(arms: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse an arm that is the baseline once more: it would find the baseline's entries in the caches.

    Args:
        arms: name -> recipes; the baseline's requests ask for the engine as it is, as all others do.
    """
    baseline = arms[BASELINE_ARM]
    for arm, numbers in arms.items():
        if arm != BASELINE_ARM and numbers == baseline:
            on = f"recipes {','.join(map(str, numbers))}" if numbers else "no recipes"
            raise UsageError(
                f"--ab compares {on} with the same",
                hint="--ab names what is on in one arm, --recipes what is on in the other: let them differ",
            )


def _old_behaviour(
    options: RunOptions, family: Family, recipes: Mapping[int, Recipe], installed: InstalledSource
) -> Baseline | None:
    if not options.baseline:
        return None
    return choose_baseline(
        options.baseline,
        family,
        recipes,
        installed,
        load_command=options.load_command,
        engine_args=options.engine_args,
    )


def family_of_model(model: ModelInfo) -> Family:
    """The family that recipes know a model by.

    Raises:
        RecipeMisfit: none of them knows it.
    """
    architectures = [model.architecture] if model.architecture else []
    family = family_of({"architectures": architectures, "model_type": model.model_type})
    if family is None:
        raise RecipeMisfit(
            f"no recipe knows {model.architecture or model.model_type or model.name}",
            hint=f"recipes are for {'; '.join(Family)}",
        )
    return family


def _joined(launches: Iterable[Launch]) -> Launch:
    return reduce(or_, launches, Launch())


def with_recipes(environment: dict[str, str], added: dict[str, str], launch: Launch) -> dict[str, str]:
    """A server's variables with those of recipes; paths of Python modules are put before what is there."""
    return launch.added_to(
        Launch(added).added_to({"PYTHONPATH": os.environ.get("PYTHONPATH", "")} | environment)
    )
