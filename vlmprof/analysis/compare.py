"""Two arms of one server, or two runs: what changed, by how much, and whether that can be told from noise."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from vlmprof.analysis.compare_enough import Doubts, served_of
from vlmprof.analysis.compare_environment import NOTHING, environment_differences
from vlmprof.analysis.compare_measure import Measured
from vlmprof.analysis.compare_outputs import output_equality
from vlmprof.analysis.compare_requests import (
    Pairing,
    Requests,
    Rounds,
    by_round,
    compared_requests,
    failed_requests,
    has_stages,
    headline_blocks,
    neighbour_rounds,
    pair,
    rounds_of_runs,
    way_of_pairing,
)
from vlmprof.analysis.compare_sentence import sentence
from vlmprof.analysis.compare_verdict import CONFIDENCE
from vlmprof.errors import UsageError
from vlmprof.model.arms import BASELINE_ARM, BASELINE_ARMS, REPEAT_ARM, TRIAL_ARM
from vlmprof.model.comparison import (
    ComparedSide,
    Comparison,
    EnvironmentDifference,
    Scope,
)
from vlmprof.model.results import BreakdownResult
from vlmprof.model.run_info import BlockInfo, RunInfo

_COMPLETE, _INVALID = "complete", "invalid"
# Measured: two servers started alike, one after the other, on a machine shared with others.
_SERVERS_DIFFER_BY = 0.23


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """What a comparison needs of a run; `requests` is the table of that name."""

    path: str
    info: RunInfo
    requests: Any
    breakdown: BreakdownResult

    @property
    def arms(self) -> list[str]:
        """The arms of the run's rounds, the baseline first and then as they first came; empty for a plain run."""
        found = dict.fromkeys(block.arm for block in self.info.blocks if block.round is not None)
        return sorted(found, key=lambda arm: (arm != BASELINE_ARM, arm != REPEAT_ARM))

    @property
    def trials(self) -> list[str]:
        """Arms that are something else than the baseline, those with fewer recipes first."""
        own = [arm for arm in self.arms if arm not in BASELINE_ARMS]
        return sorted(own, key=lambda arm: len(_recipe_set(self, arm).split(",")))

    def blocks_of(self, arm: str) -> list[BlockInfo]:
        return [block for block in self.info.blocks if block.round is not None and block.arm == arm]

    def requests_of(self, arm: str) -> Requests:
        return self.sent_in({block.index for block in self.blocks_of(arm)}).requests

    def sent_in(self, blocks: set[int]) -> "SentRequests":
        """What became of the requests of some blocks."""
        return SentRequests(
            requests=compared_requests(self.requests, self.breakdown, blocks, self.prompt),
            failures=failed_requests(self.requests, blocks),
            blocks=len(blocks),
        )

    @property
    def prompt(self) -> str:
        """What every request asked of its picture; empty where a foreign load generator knows."""
        return self.info.workload.prompt if self.info.workload else ""

    @property
    def invalid(self) -> str:
        """Why nothing may be concluded from the run; empty where something may."""
        if self.info.status != _INVALID:
            return ""
        return self.info.error or f"the run {self.info.name} is invalid"


@dataclass(frozen=True, slots=True)
class SentRequests:
    """One side's requests: those that ended well, and what each of the others failed with."""

    requests: Requests
    failures: list[str]
    blocks: int


def compare_arms_of(run: ComparedRun, baseline: str = BASELINE_ARM, trial: str = TRIAL_ARM) -> Comparison:
    """One arm against another of the same server, round by round.

    Raises:
        UsageError: the run has no such arm, or no round in which both served a request.
    """
    for arm in (baseline, trial):
        if arm not in run.arms:
            known = ", ".join(run.arms) or "no arms at all"
            raise UsageError(
                f"{run.path} has no arm {arm!r}: it has {known}", hint="record one with `vlmprof run --ab`"
            )
    sent = [run.sent_in({block.index for block in run.blocks_of(arm)}) for arm in (baseline, trial)]
    sides = (_side(run, baseline, sent[0], baseline), _side(run, trial, sent[1], trial))
    has_noise = REPEAT_ARM in run.arms and trial != REPEAT_ARM and BASELINE_ARM in run.arms
    return _compare(
        sides,
        _rounds_of_arms(run, baseline, trial),
        [_rounds_of_arms(run, BASELINE_ARM, REPEAT_ARM)] if has_noise else [],
        scope=_scope_of_arms(run),
        gpu=run.info.on_gpu,
        environment=[
            *_difference("old behaviour", *(_behaviour(run, arm) for arm in (baseline, trial))),
            *_difference("recipes", *(_recipe_set(run, arm) for arm in (baseline, trial))),
        ],
        warnings=[
            *_status_warnings(run, run.info.name),
            *_failure_warnings(sides, sent),
            *_recipe_warnings(run.info),
        ],
    )


def compare_runs(baseline: ComparedRun, trial: ComparedRun) -> Comparison:
    """One run against another, as two servers served them.

    Of a run with arms, the baseline's blocks are compared. The noise floor is the wider of what each run's
    neighbouring blocks differ by.

    Raises:
        UsageError: one of them has no request with a first token.
    """
    sides = [_headline_requests(run) for run in (baseline, trial)]
    same = baseline.path == trial.path
    labels = _labels(baseline, trial)
    compared = [
        _side(run, label, sent) for run, label, sent in zip((baseline, trial), labels, sides, strict=True)
    ]
    warnings = [] if same else [_two_servers()]
    for run, label in zip((baseline, trial), labels, strict=True):
        if run.arms:
            warnings.append(
                f"{label} holds the arms {', '.join(run.arms)}: only its arm {run.arms[0]} is compared"
            )
        warnings += [*_status_warnings(run, label), *_recipe_warnings(run.info)]
    warnings += [*_failure_warnings(compared, sides), *_stage_warnings(compared, sides)]
    return _compare(
        (compared[0], compared[1]),
        rounds_of_runs(sides[0].requests, sides[1].requests),
        [neighbour_rounds(sent.requests) for sent in sides],
        scope=Scope.ONE_SERVER if same else Scope.TWO_SERVERS,
        gpu=baseline.info.on_gpu or trial.info.on_gpu,
        environment=environment_differences(baseline.info, trial.info),
        warnings=warnings,
        other_texts=_other_texts(baseline.info, trial.info),
    )


def compared_rounds(baseline: ComparedRun, trial: ComparedRun, comparison: Comparison) -> Rounds:
    """The requests that a comparison was made of, round by round."""
    if comparison.baseline.arm:
        return _rounds_of_arms(trial, comparison.baseline.arm, comparison.trial.arm)
    return rounds_of_runs(_headline_requests(baseline).requests, _headline_requests(trial).requests)


def _scope_of_arms(run: ComparedRun) -> Scope:
    in_rounds = {block.server for block in run.info.blocks if block.round is not None}
    return Scope.ONE_SERVER if len(in_rounds) == 1 else Scope.ALTERNATING_SERVERS


def _two_servers() -> str:
    return (
        "these are two servers, and two servers started alike have differed by up to "
        f"{_SERVERS_DIFFER_BY:.0%} on a shared machine: a smaller difference may be theirs; "
        "compare recipes inside one server with `vlmprof run --ab`"
    )


def _other_texts(baseline: RunInfo, trial: RunInfo) -> str:
    limits = [info.workload.max_tokens if info.workload else None for info in (baseline, trial)]
    if limits[0] == limits[1]:
        return ""
    return (
        f"one run asked for at most {limits[0] or 'any number of'} tokens, the other for {limits[1] or 'any'}"
    )


def _labels(baseline: ComparedRun, trial: ComparedRun) -> tuple[str, str]:
    """Names of the runs, or their folders where the names are the same."""
    if baseline.info.name != trial.info.name:
        return baseline.info.name, trial.info.name
    return baseline.path, trial.path


def _headline_requests(run: ComparedRun) -> SentRequests:
    arms = run.arms
    blocks = {block.index for block in run.blocks_of(arms[0])} if arms else headline_blocks(run.requests)
    return run.sent_in(blocks)


def _recipe_set(run: ComparedRun, arm: str) -> str:
    return next((block.recipe_set for block in run.blocks_of(arm)), "")


def _behaviour(run: ComparedRun, arm: str) -> str:
    """The old behaviour that the requests of an arm asked for; empty for none."""
    return next((block.behaviour for block in run.blocks_of(arm)), "")


def _difference(what: str, baseline: str, trial: str) -> list[EnvironmentDifference]:
    """What the arms of a server do not share, if they do not."""
    if baseline == trial:
        return []
    return [
        EnvironmentDifference(
            what=what,
            baseline=baseline or NOTHING,
            trial=trial or NOTHING,
            why="this is what is compared; everything else is one and the same server",
        )
    ]


def _recipe_warnings(info: RunInfo) -> list[str]:
    failed = [recipe for recipe in info.recipes if recipe.failures]
    return [
        f"recipe {recipe.number} {recipe.slug} failed {recipe.failures} times; "
        "those requests went the engine's own way"
        for recipe in failed
    ]


def _status_warnings(run: ComparedRun, label: str) -> list[str]:
    if run.info.status == _COMPLETE:
        return []
    if run.invalid:
        return [f"{label}: {run.invalid}; no verdict may rest on it, and every gate is violated"]
    return [f"{label} is {run.info.status}: what it holds may not be all"]


def _failure_warnings(sides: Iterable[ComparedSide], sent: Iterable[SentRequests]) -> list[str]:
    return [
        f"{side.label}: {side.failed} of {side.sent} requests failed, the first with: {each.failures[0]}"
        for side, each in zip(sides, sent, strict=True)
        if each.failures
    ]


def _stage_warnings(sides: Sequence[ComparedSide], sent: Sequence[SentRequests]) -> list[str]:
    """Named where it is one side alone: of two without stages, each run says so itself."""
    without = [side.label for side, each in zip(sides, sent, strict=True) if not has_stages(each.requests)]
    return [
        f"{label} has no stages: only whole requests are compared" for label in without[: len(without) == 1]
    ]


def _rounds_of_arms(run: ComparedRun, baseline: str, trial: str) -> Rounds:
    sides = []
    for arm in (baseline, trial):
        round_of_block = {block.index: block.round for block in run.blocks_of(arm) if block.round is not None}
        sides.append(by_round(run.requests_of(arm), round_of_block))
    return [(sides[0][number], sides[1][number]) for number in sorted(set(sides[0]) & set(sides[1]))]


def _side(run: ComparedRun, label: str, sent: SentRequests, arm: str = "") -> ComparedSide:
    """A side before its requests are paired: only those that failed are left out of it."""
    return ComparedSide(
        label=label,
        run=run.path,
        name=run.info.name,
        arm=arm,
        recipe_set=_recipe_set(run, arm) if arm else ",".join(str(r.number) for r in run.info.recipes),
        behaviour=_behaviour(run, arm) if arm else run.info.baseline.name if run.info.baseline else "",
        requests=len(sent.requests),
        left_out=len(sent.failures),
        failed=len(sent.failures),
        blocks=sent.blocks,
        invalid=run.invalid,
    )


def _compare(
    sides: tuple[ComparedSide, ComparedSide],
    rounds: Rounds,
    noise: Sequence[Rounds],
    *,
    scope: Scope,
    gpu: bool,
    environment: list[EnvironmentDifference],
    warnings: list[str],
    other_texts: str = "",
) -> Comparison:
    """Pair, measure and judge.

    Args:
        noise: rounds of the baseline against itself.
        other_texts: why both sides' texts differ whatever the model says; empty for no reason.

    Raises:
        UsageError: no request of one side can be compared with one of the other.
    """
    # Between arms the noise floor is paired as the trial is; blocks of one run never share an image.
    way = way_of_pairing(rounds, *noise) if sides[0].arm else None
    pairing = pair(rounds, way)
    if not pairing.rounds:
        raise UsageError(
            f"nothing to compare: {sides[0].label} has {sides[0].requests} requests with a first token, "
            f"{sides[1].label} has {sides[1].requests}",
            hint="look at the runs first: vlmprof report RUN",
        )
    noise_pairings = [found for each in noise if (found := pair(each, way)).rounds]
    measured = Measured.of(pairing, noise_pairings, _doubts(sides))
    metrics = measured.metrics()
    return Comparison(
        baseline=_with_left_out(sides[0], pairing, trial=False),
        trial=_with_left_out(sides[1], pairing, trial=True),
        scope=scope,
        paired_by=pairing.paired_by,
        rounds=len(pairing.rounds),
        confidence=CONFIDENCE,
        verdict=metrics[0].verdict,
        sentence=sentence(metrics[0], sides[1].label),
        metrics=metrics,
        parts=measured.parts(gpu=gpu),
        absent=measured.absent(),
        outputs=output_equality(
            [request for side, _ in rounds for request in side],
            [request for _, side in rounds for request in side],
            other_texts,
        ),
        environment=environment,
        warnings=list(dict.fromkeys(warnings)),
    )


def _doubts(sides: tuple[ComparedSide, ComparedSide]) -> Doubts:
    baseline, trial = map(served_of, sides)
    return Doubts(invalid=sides[0].invalid or sides[1].invalid, served=(baseline, trial))


def _with_left_out(side: ComparedSide, pairing: Pairing, *, trial: bool) -> ComparedSide:
    used = len(np.unique(pairing.positions[1 if trial else 0]))
    return msgspec.structs.replace(side, requests=used, left_out=side.sent - used)
