"""Suggests recipes for a finished run."""

import linecache
from collections.abc import Mapping
from typing import Any

import numpy as np

from vlmprof.analysis.stack_table import read_stacks
from vlmprof.analysis.suggest import Candidates, all_together, rank
from vlmprof.analysis.suggest_model import SampledRun, SavingModel
from vlmprof.model.request import Phase
from vlmprof.model.results import BreakdownResult, RequestBreakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import RunInfo
from vlmprof.model.suggestions import NotSuggested, SuggestionsResult
from vlmprof.patching import Family, Recipe, Standing, Switching, family_of
from vlmprof.patching.availability import has_change
from vlmprof.patching.registry import load_recipes


def suggest(
    folder: RunFolder, info: RunInfo, breakdown: BreakdownResult, *, samples: Any, stacks: Any, frames: Any
) -> SuggestionsResult:
    """What each recipe would save of a run.

    Args:
        breakdown: the requests under the run's own recipes, those of a trial's other arms left out.
        samples, stacks, frames: the tables of those names.
    """
    architectures = [info.model.architecture] if info.model.architecture else []
    family = family_of({"architectures": architectures, "model_type": info.model.model_type})
    if family is None:
        return _nothing(f"no recipe knows {info.model.architecture or info.model.name}")
    sampled, plain = _divided(breakdown.requests)
    if not sampled:
        return _nothing("no request got a first token", family)
    recipes = load_recipes()
    changing = {number: recipe for number, recipe in recipes.items() if has_change(recipe, family)}
    diagnoses = {number: recipe.diagnose(folder) for number, recipe in changing.items()}
    table = read_stacks(stacks, frames)
    active = active_recipes(info, recipes)
    run = SampledRun(
        plain, sampled, samples, table, linecache.getline, active=active, waits_shrink=_requests_meet(info)
    )
    model = SavingModel(run, {number: diagnosis.effects for number, diagnosis in diagnoses.items()})
    if not model.times.time_ns.any():
        return _nothing("no stack sample lies on the critical path of a request", family)
    notes = {number: diagnosis.note for number, diagnosis in diagnoses.items()}
    candidates = Candidates(changing, active & changing.keys(), notes, info.model.path or info.model.name)
    suggestions, useless = rank(model, candidates)
    together = all_together(suggestions)
    return SuggestionsResult(
        family=family,
        active=sorted(active),
        ttft_ns=round(float(np.median([request.ttft_ns for request in plain]))),
        requests=len(plain),
        sampled_requests=len(sampled),
        suggestions=suggestions,
        together=model.saving(together) if together else None,
        command=candidates.command(together) if together else "",
        not_suggested=[*useless, *_unchanging(recipes, changing, family)],
    )


def active_recipes(info: RunInfo, recipes: Mapping[int, Recipe]) -> frozenset[int]:
    """Recipes that were on in the blocks that no trial compares, or that the server was started with."""
    sets = {block.recipe_set for block in info.blocks if block.round is None}
    switched = {int(number) for text in sets for number in text.split(",") if number}
    used = {use.number for use in info.recipes if use.number in recipes}
    return frozenset(switched) | {n for n in used if recipes[n].switching is Switching.RESTART}


def _divided(requests: list[RequestBreakdown]) -> tuple[list[RequestBreakdown], list[RequestBreakdown]]:
    """Those that samplers watched, and those whose times count: the control's, where there are any."""
    profiled = [request for request in requests if request.phase == Phase.PROFILED]
    control = [request for request in requests if request.phase == Phase.CONTROL]
    return profiled or control, control or profiled


def _requests_meet(info: RunInfo) -> bool:
    load = info.workload
    return load is not None and bool(load.concurrency > 1 or load.rate_per_s or load.load_command)


def _unchanging(
    recipes: Mapping[int, Recipe], changing: Mapping[int, Recipe], family: Family
) -> list[NotSuggested]:
    return [
        NotSuggested(number=number, slug=recipe.slug, reason=_reason(recipe.standing.get(family)))
        for number, recipe in recipes.items()
        if number not in changing
    ]


def _reason(standing: Standing | None) -> str:
    return f"{standing.need}: {standing.where}" if standing else "says nothing of this model"


def _nothing(reason: str, family: str = "") -> SuggestionsResult:
    return SuggestionsResult(
        family=family,
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
