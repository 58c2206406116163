"""Suggests recipes for a finished run."""

import linecache
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
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
from vlmprof.patching import Family, Recipe, Standing, Switching, family_of
from vlmprof.patching.availability import has_change
from vlmprof.patching.registry import load_recipes


@dataclass(frozen=True, slots=True)
class _Basis:
    """What suggestions of a run rest on."""

    family: Family
    recipes: Mapping[int, Recipe]
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
        not_suggested=[*useless, *_unchanging(basis)],
    )


def predict(folder: RunFolder, sets: Sequence[Collection[int]]) -> list[Saving | None]:
    """What each of several sets of recipes saves against the run's own; None where nothing can be concluded.

    Raises:
        FileUnreadable: the run's breakdown or a table is absent or damaged.
    """
    info = folder.read_info()
    tables = {name: read_table(folder, name) for name in ("samples", "stacks", "frames")}
    stacks = read_stacks(tables["stacks"], tables["frames"])
    basis = _basis(folder, info, of_baseline(read_breakdown(folder), info), tables["samples"], stacks)
    if isinstance(basis, str):
        return [None] * len(sets)
    return [basis.model.saving(numbers) for numbers in sets]


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
    recipes = load_recipes()
    changing = {number: recipe for number, recipe in recipes.items() if has_change(recipe, family)}
    active = active_recipes(info, recipes)
    diagnoses = {number: recipe.diagnose(folder) for number, recipe in changing.items()}
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
    model = SavingModel(run, {number: diagnosis.effects for number, diagnosis in diagnoses.items()})
    if not model.times.time_ns.any():
        return "no stack sample lies on the critical path of a request"
    notes = {number: diagnosis.note for number, diagnosis in diagnoses.items()}
    checkpoint = info.model.path or info.model.name
    return _Basis(
        family, recipes, Candidates(changing, active & changing.keys(), notes, checkpoint), run, model
    )


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


def active_recipes(info: RunInfo, recipes: Mapping[int, Recipe]) -> frozenset[int]:
    """Recipes that were on in the blocks that no trial compares, or that the server was started with."""
    sets = {block.recipe_set for block in info.blocks if block.round is None and block.phase != Phase.WARM_UP}
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


def _unchanging(basis: _Basis) -> list[NotSuggested]:
    return [
        NotSuggested(number=number, slug=recipe.slug, reason=_reason(recipe.standing.get(basis.family)))
        for number, recipe in basis.recipes.items()
        if number not in basis.candidates.recipes
    ]


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
