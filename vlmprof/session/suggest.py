"""Suggests recipes for a finished run."""

import linecache
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from vlmprof.analysis.stack_table import StackTable, read_stacks
from vlmprof.analysis.suggest import Candidates, all_together, rank
from vlmprof.analysis.suggest_model import SampledRun, SavingModel
from vlmprof.model.arms import BASELINE_ARMS
from vlmprof.model.request import Phase
from vlmprof.model.results import BreakdownResult, RequestBreakdown, read_breakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import RunInfo
from vlmprof.model.suggestions import NotSuggested, Saving, SuggestionsResult
from vlmprof.model.table_io import read_table
from vlmprof.patching import Effect, Family, Recipe, Standing, family_of
from vlmprof.patching.availability import has_change
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.versions import Versions, why_unfit
from vlmprof.session.baseline import hidden_by, old_behaviour_of
from vlmprof.session.engine_of_run import engine_args, named_python, versions_of
from vlmprof.session.workload_of_run import workload_words


@dataclass(frozen=True, slots=True)
class _Basis:
    """What suggestions of a run rest on.

    Attributes:
        recipes: all there are, as they stand in the run's engine.
        unfit: number -> why a recipe that has something to change cannot be on in that engine.
        hidden: number -> why the samples cannot show what a recipe would save.
    """

    family: Family
    recipes: Mapping[int, Recipe]
    unfit: Mapping[int, str]
    hidden: Mapping[int, str]
    candidates: Candidates
    run: SampledRun
    model: SavingModel


def suggest(
    folder: RunFolder, info: RunInfo, breakdown: BreakdownResult, *, samples: Any, stacks: Any, frames: Any
) -> SuggestionsResult:
    """What each recipe would save of a run.

    Args:
        breakdown: the requests under the run's own recipes, those of a trial's other arms left out.
        samples, stacks, frames: the tables of those names.
    """
    basis = _basis(folder, info, breakdown, samples, read_stacks(stacks, frames))
    if isinstance(basis, str):
        return _nothing(basis)
    suggestions, useless = rank(basis.model, basis.candidates)
    together = all_together(suggestions)
    return SuggestionsResult(
        family=basis.family,
        active=sorted(basis.run.active),
        ttft_ns=round(float(np.median([request.ttft_ns for request in basis.run.plain]))),
        requests=len(basis.run.plain),
        sampled_requests=len(basis.run.sampled),
        suggestions=suggestions,
        together=basis.model.saving(together) if together else None,
        command=basis.candidates.command(together) if together else "",
        not_suggested=[*useless, *_left_out(basis)],
        reason="" if suggestions else _why_none(basis, info),
    )


def predict(folder: RunFolder, sets: Sequence[Collection[int]]) -> list[Saving | None]:
    """What each of several sets of recipes saves against the run's own; None where nothing can be concluded.

    From samples of an old behaviour nothing is for a set with a recipe that changes what replaced it.

    Raises:
        FileUnreadable: the run's breakdown or a table is absent or damaged.
    """
    info = folder.read_info()
    tables = {name: read_table(folder, name) for name in ("samples", "stacks", "frames")}
    stacks = read_stacks(tables["stacks"], tables["frames"])
    basis = _basis(folder, info, of_baseline(read_breakdown(folder), info), tables["samples"], stacks)
    if isinstance(basis, str):
        return [None] * len(sets)
    return [None if basis.hidden.keys() & set(each) else basis.model.saving(each) for each in sets]


def _basis(
    folder: RunFolder, info: RunInfo, breakdown: BreakdownResult, samples: Any, stacks: StackTable
) -> _Basis | str:
    """The model of a run's savings, or why there is none."""
    architectures = [info.model.architecture] if info.model.architecture else []
    family = family_of({"architectures": architectures, "model_type": info.model.model_type})
    if family is None:
        return f"no recipe knows {info.model.architecture or info.model.name}"
    sampled, plain = _divided(breakdown.requests)
    if not sampled:
        return "no request got a first token"
    versions = versions_of(info)
    recipes = load_recipes(versions)
    changing: Mapping[int, Recipe] = {n: each for n, each in recipes.items() if has_change(each, family)}
    active = active_recipes(info)
    # What was on was installed: the engine itself was looked at then.
    unfit = _unfit({n: recipe for n, recipe in changing.items() if n not in active}, family, versions)
    diagnoses = {number: recipe.diagnose(folder) for number, recipe in recipes.items()}
    hidden = _hidden(info, family, recipes, {number: diagnoses[number].effects for number in changing})
    if hidden is None:
        return "no recipe knows the baseline of the run"
    changing = _seen(info, recipes, changing, hidden.keys() - active)
    run = SampledRun(
        plain,
        sampled,
        samples,
        stacks,
        linecache.getline,
        active=active,
        waits_shrink=_requests_meet(info),
        on_gpu=info.on_gpu,
        multiplies_bfloat16=info.host.multiplies_bfloat16,
    )
    model = SavingModel(run, {number: diagnoses[number].effects for number in changing})
    if not model.times.time_ns.any():
        return "no stack sample lies on the critical path of a request"
    notes = {number: diagnosis.note for number, diagnosis in diagnoses.items()}
    checkpoint = info.model.path or info.model.name
    fitting = {number: recipe for number, recipe in changing.items() if number not in unfit}
    baseline = info.baseline.name if info.baseline else ""
    candidates = Candidates(
        fitting,
        active & fitting.keys(),
        notes,
        checkpoint,
        baseline,
        python=named_python(info),
        engine_args=engine_args(info),
        workload=workload_words(info),
    )
    return _Basis(family, recipes, unfit, hidden, candidates, run, model)


def _unfit(recipes: Mapping[int, Recipe], family: Family, versions: Versions) -> dict[int, str]:
    """Number -> why a recipe cannot be on in an engine of these versions: its own, or that of one it needs."""
    reasons = {number: why_unfit(recipe, family, versions) for number, recipe in recipes.items()}
    unfit = {number: reason for number, reason in reasons.items() if reason}
    while lacking := _lacking(recipes, unfit):
        unfit |= lacking
    return dict(sorted(unfit.items()))


def _lacking(recipes: Mapping[int, Recipe], unfit: Mapping[int, str]) -> dict[int, str]:
    """Number -> the first need of a recipe that cannot be had."""
    missing = {
        number: [need for need in recipe.needs if need in unfit]
        for number, recipe in recipes.items()
        if number not in unfit
    }
    return {
        number: f"needs recipe {needs[0]}, {unfit[needs[0]]}" for number, needs in missing.items() if needs
    }


def _hidden(
    info: RunInfo, family: Family, recipes: Mapping[int, Recipe], effects: Mapping[int, Collection[Effect]]
) -> Mapping[int, str] | None:
    """Number -> why samples of the run's old behaviour cannot show what a recipe saves; None for an unknown one."""
    if info.baseline is None:
        return {}
    old = old_behaviour_of(info.baseline, family, recipes)
    return None if old is None else hidden_by(old, info.baseline.recipe, family, recipes, effects)


def _seen(
    info: RunInfo, recipes: Mapping[int, Recipe], changing: Mapping[int, Recipe], hidden: Collection[int]
) -> Mapping[int, Recipe]:
    """What samples of an old behaviour can tell of: the engine as it is, and what is on top of it."""
    if info.baseline is None:
        return changing
    today = info.baseline.recipe
    above = {
        number: replace(recipe, needs=(*recipe.needs, today))
        for number, recipe in changing.items()
        if number not in hidden
    }
    return {today: recipes[today], **above}


def suggest_again(folder: RunFolder) -> SuggestionsResult:
    """Suggestions concluded from a run's tables and breakdown.

    Raises:
        FileUnreadable: one of them is absent or damaged.
    """
    info = folder.read_info()
    tables = {name: read_table(folder, name) for name in ("samples", "stacks", "frames")}
    return suggest(folder, info, of_baseline(read_breakdown(folder), info), **tables)


def of_baseline(breakdown: BreakdownResult, info: RunInfo) -> BreakdownResult:
    """Without the requests of a trial's other arms: what is said of a run is said of the server as it was."""
    others = {
        block.index for block in info.blocks if block.round is not None and block.arm not in BASELINE_ARMS
    }
    if not others:
        return breakdown
    return msgspec.structs.replace(
        breakdown, requests=[request for request in breakdown.requests if request.block not in others]
    )


def active_recipes(info: RunInfo) -> frozenset[int]:
    """Recipes that were on in the blocks that no trial compares."""
    sets = {block.recipe_set for block in info.blocks if block.round is None and block.phase != Phase.WARM_UP}
    return frozenset(int(number) for text in sets for number in text.split(",") if number)


def _divided(requests: list[RequestBreakdown]) -> tuple[list[RequestBreakdown], list[RequestBreakdown]]:
    """Those that samplers watched, and those whose times count: the control's, where there are any."""
    profiled = [request for request in requests if request.phase == Phase.PROFILED]
    control = [request for request in requests if request.phase == Phase.CONTROL]
    return profiled or control, control or profiled


def _requests_meet(info: RunInfo) -> bool:
    load = info.workload
    return load is not None and bool(load.concurrency > 1 or load.rate_per_s or load.load_command)


def _left_out(basis: _Basis) -> list[NotSuggested]:
    """Recipes that have nothing to change, were written for other versions, or have no samples here."""
    return [
        NotSuggested(
            number=number,
            slug=recipe.slug,
            reason=_first_reason(basis, number, recipe),
        )
        for number, recipe in basis.recipes.items()
        if number not in basis.candidates.recipes
    ]


def _first_reason(basis: _Basis, number: int, recipe: Recipe) -> str:
    judged = basis.unfit.get(number) or basis.hidden.get(number)
    return judged or _reason(recipe.standing.get(basis.family))


def _why_none(basis: _Basis, info: RunInfo) -> str:
    """Why there is no suggestion, where versions are the reason; empty where every recipe was judged."""
    if not basis.unfit:
        return ""
    engine = f"{info.engine.name} {info.engine.version}" if info.engine else "this engine"
    number, reason = next(iter(basis.unfit.items()))
    kept = "none that fits would save anything" if basis.candidates.recipes else "none fits"
    return f"of the recipes for {engine} {kept}; {number} ({basis.recipes[number].slug}): {reason}"


def _reason(standing: Standing | None) -> str:
    return f"{standing.need}: {standing.where}" if standing else "says nothing of this model"


def _nothing(reason: str) -> SuggestionsResult:
    return SuggestionsResult(
        family="",
        active=[],
        ttft_ns=0,
        requests=0,
        sampled_requests=0,
        suggestions=[],
        together=None,
        command="",
        not_suggested=[],
        reason=reason,
    )
