"""What shows that a recipe would save something: stage, function, file, line and time."""

import numpy as np

from vlmprof.analysis.stack_table import Ints, distinct
from vlmprof.analysis.suggest_claims import ClaimedStacks
from vlmprof.analysis.suggest_model import Claim, SavingModel
from vlmprof.model.stages import STAGE_IDS
from vlmprof.model.suggestions import Evidence
from vlmprof.patching.effects import Adds

_SMALLEST_NS = 10_000


def evidence_of(model: SavingModel, recipe: int) -> list[Evidence]:
    """What each of a recipe's claims found, most first; means per sampled request, less than 10 us left out."""
    found: list[Evidence] = []
    for claim in model.claims:
        share = _share_saved(claim, recipe)
        if not share:
            continue
        if claim.held is None:
            bytes_ns = round(share * model.mean_transport_ns())
            found.append(Evidence(stage="ipc_transfer", function="", file="", line=0, time_ns=bytes_ns))
        else:
            found += _by_function(model, claim.held, share)
    found = [each for each in found if abs(each.time_ns) >= _SMALLEST_NS]
    return sorted(found, key=lambda each: -abs(each.time_ns))


def _share_saved(claim: Claim, recipe: int) -> float:
    """The part of what a claim is about that a recipe saves, or spares another recipe; below 0 if it adds."""
    effect = claim.effect
    if claim.recipe == recipe:
        return -effect.share if isinstance(effect, Adds) else effect.share
    return effect.share if isinstance(effect, Adds) and effect.unless == recipe else 0.0


def _by_function(model: SavingModel, held: ClaimedStacks, share: float) -> list[Evidence]:
    """One piece of evidence for each stage and function, at the line that took most."""
    stage, function, line, time_ns = _lines(model, held)
    evidence: dict[tuple[int, int], Evidence] = {}
    for row in np.argsort(-time_ns, kind="stable").tolist():
        key = int(stage[row]), int(function[row])
        before = evidence.get(key)
        mean_ns = share * time_ns[row] / max(1, model.sampled_requests)
        named = model.stacks.functions[key[1]]
        evidence[key] = Evidence(
            stage=STAGE_IDS[key[0]],
            function=named.name,
            file=named.file,
            line=before.line if before else int(line[row]),
            time_ns=round(mean_ns) + (before.time_ns if before else 0),
        )
    return list(evidence.values())


def _lines(model: SavingModel, held: ClaimedStacks) -> tuple[Ints, Ints, Ints, Ints]:
    """Sampled time in a claim's stacks by stage, function and executing line."""
    place = np.searchsorted(held.stack, model.times.stack)
    inside = place < len(held.stack)
    inside[inside] = held.stack[place[inside]] == model.times.stack[inside]
    frame = held.frame[place[inside]]
    keys = model.times.stage[inside], model.stacks.function[frame], model.stacks.line[frame]
    (stage, function, line), row = distinct(*keys)
    time_ns = np.bincount(row, weights=model.times.time_ns[inside], minlength=len(stage)).astype(np.int64)
    return stage, function, line, time_ns
