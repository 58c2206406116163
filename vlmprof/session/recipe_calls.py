"""What the served processes counted of a run's recipes, and whether every recipe really acted."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from vlmprof.model.process import Process
from vlmprof.model.run_info import RecipeUse, RunInfo
from vlmprof.patching.ledger import read_ledgers
from vlmprof.patching.registry import load_recipes
from vlmprof.session.engine_of_run import versions_of


def counted_uses(raw: Path, planned: list[RecipeUse], processes: list[Process]) -> list[RecipeUse]:
    """The recipes of a run with their calls by role of the process and their failures.

    Args:
        raw: the run's folder of captures, with the ledgers.
        processes: of the server; one that the agent did not see counts as `other`.
    """
    roles = {process.pid: str(process.role) for process in processes}
    uses = {use.number: msgspec.structs.replace(use, calls={}, failures=0) for use in planned}
    for pid, counts in sorted(read_ledgers(raw).items()):
        for number, count in counts.items():
            if number in uses:
                uses[number] = _added(uses[number], roles.get(pid, "other"), count.calls, count.failures)
    return list(uses.values())


def _added(use: RecipeUse, role: str, calls: int, failures: int) -> RecipeUse:
    return msgspec.structs.replace(
        use, calls={**use.calls, role: use.calls.get(role, 0) + calls}, failures=use.failures + failures
    )


def never_called(info: RunInfo) -> list[RecipeUse]:
    """Recipes that were on and whose replacements nobody called: what was measured is not what was meant."""
    live = {number for number, recipe in load_recipes(versions_of(info)).items() if recipe.patches}
    return [use for use in info.recipes if use.number in live and not any(use.calls.values())]


def failure_warnings(uses: list[RecipeUse]) -> list[str]:
    """One line for each recipe of which calls raised and were served by the engine's own way."""
    return [
        f"recipe {use.number} ({use.slug}) failed in {_share(use.failures, use.calls)} calls, which went the "
        "engine's own way; the reason is in raw/server.log"
        for use in uses
        if use.failures
    ]


def _share(failures: int, calls: Mapping[str, int]) -> str:
    return f"{failures} of {sum(calls.values())}"
