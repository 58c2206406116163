"""What the served processes counted of a run's recipes, and whether every recipe really acted."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from vlmprof.model.process import Process
from vlmprof.model.run_info import RecipeUse, RunInfo
from vlmprof.patching.call import NOTHING_TO_DO, PatchCounts
from vlmprof.patching.ledger import read_ledgers, read_reasons
from vlmprof.patching.registry import load_recipes
from vlmprof.session.engine_of_run import versions_of

_NAMING_OPTIONS = ("--recipes", "--ab")


def counted_uses(raw: Path, planned: list[RecipeUse], processes: list[Process]) -> list[RecipeUse]:
    """The recipes of a run with their calls by role of the process, and what became of them.

    Args:
        raw: the run's folder of captures, with the ledgers.
        processes: of the server; one that the agent did not see counts as `other`.
    """
    roles = {process.pid: str(process.role) for process in processes}
    reasons = read_reasons(raw)
    uses = {
        use.number: RecipeUse(number=use.number, slug=use.slug, reasons=reasons.get(use.number, []))
        for use in planned
    }
    for pid, counts in sorted(read_ledgers(raw).items()):
        for number, count in counts.items():
            if number in uses:
                uses[number] = _added(uses[number], roles.get(pid, "other"), count)
    return list(uses.values())


def _added(use: RecipeUse, role: str, count: PatchCounts) -> RecipeUse:
    return msgspec.structs.replace(
        use,
        calls={**use.calls, role: use.calls.get(role, 0) + count.calls},
        failures=use.failures + count.failures,
        gave_way=use.gave_way + count.gave_way,
    )


def never_called(info: RunInfo) -> list[RecipeUse]:
    """Recipes that were on and whose replacements nobody called: what was measured is not what was meant."""
    return [use for use in _live(info) if not any(use.calls.values())]


def inactions(info: RunInfo) -> list[str]:
    """One line for each recipe that was called, never acted, and makes a run invalid by that.

    Such are those that the command names. Where `all` or a ladder chose one, its others are what was meant, and a
    warning says that it never acted; unless none of them did. It is a warning too where others did its work, as 8
    leaves nothing to 6 on a CPU.
    """
    uses = _live(info)
    never_acted = [use for use in uses if any(use.calls.values()) and use.acted <= 0]
    if any(use.acted > 0 for use in uses):
        named = _named_by(info.command)
        never_acted = [use for use in never_acted if use.number in named and use.reasons != [NOTHING_TO_DO]]
    return [_inaction(use) for use in never_acted]


def _live(info: RunInfo) -> list[RecipeUse]:
    """Recipes that have replacements; of the others a server's start is told."""
    recipes = load_recipes(versions_of(info))
    return [use for use in info.recipes if use.number in recipes and recipes[use.number].patches]


def _named_by(command: Sequence[str]) -> set[int]:
    """Numbers that a command's options name; `all` and `exact` name none."""
    own = command[: command.index("--")] if "--" in command else command
    texts = []
    for word, following in zip(own, [*own[1:], ""], strict=False):
        option, equals, text = word.partition("=")
        if option in _NAMING_OPTIONS:
            texts.append(text if equals else following)
    return {int(part) for text in texts for part in text.split(",") if part.strip().isdecimal()}


def failure_warnings(uses: list[RecipeUse]) -> list[str]:
    """One line for each recipe of which calls failed, and for each that was called and never acted."""
    failed = [
        f"recipe {use.number} ({use.slug}) failed in {use.failures} calls, which went the engine's own way; the "
        "reason is in raw/server.log"
        for use in uses
        if use.failures
    ]
    return failed + [_inaction(use) for use in uses if use.gave_way and use.acted <= 0]


def _inaction(use: RecipeUse) -> str:
    """What became of the calls of a recipe that never acted."""
    calls = sum(use.calls.values())
    reasons = f" ({'; '.join(use.reasons)})" if use.reasons else ""
    if not use.failures:
        became = f"gave way each time{reasons}"
    elif not use.gave_way:
        became = "failed each time"
    else:
        became = f"failed in {use.failures} of them and gave way in the others{reasons}"
    return f"recipe {use.number} ({use.slug}) was called {calls} times and {became}"
