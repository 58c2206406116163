"""The old behaviour that a run starts from: chosen before a server is started, shown to have acted afterwards."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from vlmprof.errors import RecipeMisfit, UsageError
from vlmprof.model.request import Phase, Request
from vlmprof.model.run_info import BaselineUse, BlockInfo
from vlmprof.patching import Effect, Family, Launch, OldBehaviour, Recipe
from vlmprof.patching.registry import narrowed, with_needs
from vlmprof.patching.selection import Selection, is_word, select
from vlmprof.patching.source import InstalledSource
from vlmprof.patching.versions import is_within

_KWARGS_OPTION = "--mm-processor-kwargs"


@dataclass(frozen=True, slots=True)
class Baseline:
    """An old behaviour, and the recipe that made it the old one: `2` in an arm is the engine as it is.

    Attributes:
        launch: how the servers are started.
        by_request: whether each request asks for it, or the server does so with all.
    """

    number: int
    behaviour: OldBehaviour
    launch: Launch
    by_request: bool

    @property
    def name(self) -> str:
        return self.behaviour.name

    def use(self) -> BaselineUse:
        """The baseline as run.json has it before anything has been counted."""
        return BaselineUse(
            name=self.name, title=self.behaviour.title, recipe=self.number, span=self.behaviour.span
        )

    def fields(self, behaviour: str) -> Mapping[str, Any]:
        """Fields of the body of a request that is to be served so, or as today where nothing is named."""
        return self.behaviour.request if behaviour == self.name and self.by_request else {}


def choose_baseline(
    name: str,
    family: Family,
    recipes: Mapping[int, Recipe],
    installed: InstalledSource,
    *,
    load_command: str = "",
    engine_args: Iterable[str] = (),
) -> Baseline:
    """The old behaviour of a name.

    Args:
        load_command: where it sends the requests, the server is what is told.

    Raises:
        UsageError: nothing has this name, or the engine arguments tell the server otherwise.
        RecipeMisfit: this family has no such behaviour, or it is what the installed engine does today.
    """
    recipe, behaviour = _found(name, family, recipes)
    _check_old(behaviour, installed)
    if not load_command:
        refuses = not behaviour.asks_permission or installed.function(behaviour.asks_permission) is not None
        return Baseline(recipe.number, behaviour, behaviour.permission if refuses else Launch(), True)
    told = [word for word in engine_args if word.startswith(_KWARGS_OPTION)]
    if told and _KWARGS_OPTION in behaviour.launch.arguments:
        raise UsageError(
            f"--baseline {name} with a load command sets {_KWARGS_OPTION}, which {told[0]} sets too",
            hint="leave one of them out",
        )
    return Baseline(recipe.number, behaviour, behaviour.launch, False)


def _found(name: str, family: Family, recipes: Mapping[int, Recipe]) -> tuple[Recipe, OldBehaviour]:
    known = [recipe for recipe in recipes.values() if any(b.name == name for b in recipe.baseline.values())]
    of_family = {
        recipe.baseline[family].name: recipe for recipe in recipes.values() if family in recipe.baseline
    }
    if name in of_family:
        return of_family[name], of_family[name].baseline[family]
    hint = f"baselines of {family}: {', '.join(of_family) or 'none'}"
    if not known:
        raise UsageError(f"there is no baseline {name!r}", hint=hint)
    reason = known[0].no_baseline.get(family, "nothing is known of its old behaviour")
    raise RecipeMisfit(f"{family} has no baseline {name!r}: {reason}", hint=hint)


def _check_old(behaviour: OldBehaviour, installed: InstalledSource) -> None:
    for fits in behaviour.fits:
        found = installed.version(fits.distributions)
        if found is not None and not is_within(fits, found[1]):
            raise RecipeMisfit(
                f"{behaviour.title} is the old behaviour from {found[0]} {fits.at_least} on, up to {fits.below}; "
                f"{found[1]} is installed",
                hint="with an earlier one it is what the engine does: leave out --baseline",
            )


def old_behaviour_of(use: BaselineUse, family: Family, recipes: Mapping[int, Recipe]) -> OldBehaviour | None:
    """What the recipes know today of the baseline that a run was made with."""
    recipe = recipes.get(use.recipe)
    behaviour = recipe.baseline.get(family) if recipe else None
    return behaviour if behaviour is not None and behaviour.name == use.name else None


def idle_under(
    behaviour: OldBehaviour, number: int, family: Family, recipes: Mapping[int, Recipe]
) -> dict[int, str]:
    """Number -> why a recipe cannot act on the old behaviour: what it changes is not called then.

    Args:
        number: of the recipe that made it the old one.
    """
    recipes = narrowed(recipes, family)
    idle = {number: f"is what the baseline {behaviour.name} takes back"}
    for each in recipes.values():
        if behaviour.leaves_out(each.patches_for(family)):
            idle.setdefault(
                each.number, f"changes functions that the baseline {behaviour.name} does not call"
            )
    waiting = [each for each in recipes.values() if each.patches_for(family)]
    while lacking := [each for each in waiting if each.number not in idle and idle.keys() & set(each.needs)]:
        for each in lacking:
            need = next(need for need in each.needs if need in idle)
            idle[each.number] = f"needs recipe {need}, which cannot act on the baseline {behaviour.name}"
    return idle


def hidden_by(
    behaviour: OldBehaviour,
    number: int,
    family: Family,
    recipes: Mapping[int, Recipe],
    effects: Mapping[int, Collection[Effect]],
) -> dict[int, str]:
    """Number -> why samples of the old behaviour cannot show what a recipe saves on top of today's.

    Args:
        number: of the recipe that made it the old one, which they do show.
        effects: what each recipe that has something to change claims to change.
    """
    idle, narrow = idle_under(behaviour, number, family, recipes), narrowed(recipes, family)
    return {
        each: f"not predicted: it changes what the baseline {behaviour.name} does not do; measure it: "
        f"--baseline {behaviour.name} --ab {','.join(map(str, sorted(with_needs([each], narrow))))}"
        for each, claims in effects.items()
        if each != number and (each in idle or behaviour.hides(claims))
    }


def select_today(
    text: str,
    baseline: Baseline | None,
    recipes: Mapping[int, Recipe],
    family: Family,
    installed: InstalledSource,
) -> Selection:
    """Recipes that are on together on the engine as it is; beside a baseline, its recipe may stand for that alone.

    Raises:
        UsageError: no recipe has one of the numbers.
        RecipeMisfit: a set cannot be applied exactly as meant.
    """
    if baseline is not None:
        parts = [part.strip() for part in text.split(",")]
        text = ",".join(part for part in parts if part != str(baseline.number))
    return select(text, recipes, family, installed) if text.strip() else Selection(())


def select_beside(
    baseline: Baseline, text: str, recipes: Mapping[int, Recipe], family: Family, installed: InstalledSource
) -> Selection:
    """Recipes that are on together with the old behaviour: numbers as they are, of `all` those that can act.

    Raises:
        UsageError: no recipe has one of the numbers.
        RecipeMisfit: one of them could not act, or not exactly as meant.
    """
    if not text.strip():
        return Selection(())
    idle = idle_under(baseline.behaviour, baseline.number, family, recipes)
    if is_word(text):
        able = {number: recipe for number, recipe in recipes.items() if number not in idle}
        selection = select(text, able, family, installed)
        return Selection(selection.numbers, {**selection.refused, **idle})
    for part in text.split(","):
        reason = idle.get(int(part)) if part.strip().isdecimal() else None
        if reason is not None:
            raise RecipeMisfit(
                f"recipe {part.strip()} ({recipes[int(part)].slug}) {reason}",
                hint=f"to compare recipes on the engine as it is with {baseline.name}: --ab {text.strip()}",
            )
    return select(text, recipes, family, installed)


def counted_use(
    use: BaselineUse, blocks: list[BlockInfo], requests: list[Request], spans: Any
) -> BaselineUse:
    """In how many requests the old behaviour acted, of those that asked for it and of the others.

    Args:
        blocks: of the run; requests of those that are not listed, as a load command's, asked for it.
        requests: the warm-up's do not count.
        spans: the table of that name.
    """
    names, ids = spans["name"].to_pylist(), spans["request_ids"].to_pylist()
    served = {
        request
        for name, of_span in zip(names, ids, strict=True)
        if name == use.span
        for request in of_span or ()
    }
    today = {block.index for block in blocks if not block.behaviour}
    answered = [each for each in requests if not each.error and each.phase != Phase.WARM_UP]
    asked = {request.id for request in answered if request.block not in today}
    return msgspec.structs.replace(
        use,
        asked=len(asked),
        acted=len(asked & served),
        elsewhere=len({request.id for request in answered} & served - asked),
    )


def fault_of(use: BaselineUse | None, *, watched: bool) -> str:
    """Why a run is invalid whose baseline did not act, or acted where it was not asked for; empty for none.

    Args:
        watched: whether the agent was in the engine: without its spans nothing can be told.
    """
    if use is None or not watched:
        return ""
    if use.asked and not use.acted:
        return f"the baseline {use.name} acted in none of {use.asked} requests"
    if use.elsewhere:
        return f"the baseline {use.name} acted in {use.elsewhere} requests that did not ask for it"
    return ""


def warnings_of(use: BaselineUse | None, *, watched: bool) -> list[str]:
    """What there is to say of a baseline that acted only in part, or of which nobody knows."""
    if use is None:
        return []
    if not watched:
        return [
            f"nothing shows whether the baseline {use.name} acted: the agent was in no process of the engine"
        ]
    if 0 < use.acted < use.asked:
        return [f"the baseline {use.name} acted in {use.acted} of {use.asked} requests that asked for it"]
    return []
