"""Measures a ladder: one server, recipes added one by one, every row in every round."""

from dataclasses import dataclass, replace

import msgspec

from vlmprof.engines.vllm import described_by_hub, find_vllm, resolve_model
from vlmprof.errors import RecipeMisfit
from vlmprof.model.ladder import LadderResult, LadderStep
from vlmprof.model.run_folder import RunFolder
from vlmprof.patching import Family
from vlmprof.patching.registry import load_recipes, narrowed
from vlmprof.patching.selection import ALL
from vlmprof.patching.source import InstalledSource
from vlmprof.session.baseline import choose_baseline, select_today
from vlmprof.session.compare import compare_arms
from vlmprof.session.ladder_plan import LadderPlan, parse_order, plan_ladder
from vlmprof.session.options import Progress, RunOptions
from vlmprof.session.profile import profile
from vlmprof.session.recipe_plan import family_of_model
from vlmprof.session.suggest import predict
from vlmprof.workload.trial import usual_size


@dataclass(frozen=True, slots=True)
class LadderOptions:
    """A run whose trial is the ladder.

    Attributes:
        run: everything but its trial, which the ladder sets; its `recipes` are what the ladder may use.
        order: groups of recipes to add, as `10 1,11 8`, instead of the paper's rows; None for those.
        ablate: also measure all recipes without each one.
    """

    run: RunOptions
    order: str | None = None
    ablate: bool = False


def measure_ladder(options: LadderOptions, progress: Progress) -> tuple[RunFolder, LadderResult]:
    """Run a ladder to its end, going on where an earlier one of the same plan was cut off.

    Raises:
        UsageError: the order names no rows, a recipe that there is not, or one twice.
        RecipeMisfit: no recipe can be switched in this engine and model.
        VlmprofError: as `profile`.
    """
    family, plan = _plan(options)
    run = replace(options.run, recipes="", trial=plan.trial, resume=True)
    folder = profile(run, progress)
    progress.step("Comparing")
    result = _result(folder, family, plan, run)
    folder.write_result("ladder", result)
    return folder, result


def _plan(options: LadderOptions) -> tuple[Family, LadderPlan]:
    run = options.run
    engine = find_vllm(run.python)
    family = family_of_model(described_by_hub(resolve_model(run.model), engine))
    installed = InstalledSource(engine.search_path)
    recipes = narrowed(load_recipes(installed), family)
    old = choose_baseline(run.baseline, family, recipes, installed) if run.baseline else None
    selection = select_today(run.recipes.strip() or ALL, old, recipes, family, installed)
    plan = plan_ladder(
        family,
        selection.numbers,
        recipes,
        refused=selection.refused,
        order=() if options.order is None else parse_order(options.order, recipes),
        ablate=options.ablate,
        today=old.number if old else None,
    )
    if not plan.trial:
        raise RecipeMisfit(
            f"no recipe can be switched on for {family} in this engine",
            hint="`vlmprof recipes list` says why for each of them",
        )
    return family, plan


def _result(folder: RunFolder, family: Family, plan: LadderPlan, run: RunOptions) -> LadderResult:
    usual = usual_size(alternate=False)
    sets = [frozenset(step.recipes) for step in (*plan.steps, *plan.ablations)]
    predicted = iter(predict(folder, sets))

    def measured(step: LadderStep) -> LadderStep:
        saving = next(predicted)
        if not step.arm:
            return step
        return msgspec.structs.replace(
            step, comparison=compare_arms(folder, trial=step.arm), predicted=saving
        )

    return LadderResult(
        model=folder.read_info().model.name,
        family=family,
        paper_table=plan.table.title if plan.table else "",
        rounds=run.rounds or usual.rounds,
        requests_per_block=(run.per_block or usual.requests_per_block) * run.concurrency,
        baseline=folder.read_info().baseline,
        notes=plan.notes,
        steps=[measured(step) for step in plan.steps],
        ablations=[measured(step) for step in plan.ablations],
    )
