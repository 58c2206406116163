"""What any set of recipes would save of a run, with an interval.

Samples say which part of each stage a set takes away, the unprofiled requests how long that stage is: the
profiler's own cost is in neither. A stack that several recipes claim is taken away once.

What goes is not the same part of every request: a large image's tensors are mapped anew, a small one's are kept.
So the samples that speak for a request are those of requests like it. Which are alike, their ranks by TTFT tell:
the profiler makes all that it samples slower.

The interval is the 95% of a bootstrap that draws sampled requests, unprofiled requests and each claim's share
within its spread.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlmprof.analysis.hot import STAGE_INDEX, RequestTime, request_time
from vlmprof.analysis.stack_table import Ints, StackTable
from vlmprof.analysis.suggest_claims import ClaimedStacks, SourceLine, claimed_stacks
from vlmprof.analysis.suggest_transport import transport_ns
from vlmprof.model.results import RequestBreakdown
from vlmprof.model.stages import STAGE_IDS
from vlmprof.model.suggestions import Saving
from vlmprof.patching.effects import Adds, Effect, Removes, SendsLess

Floats = npt.NDArray[np.float64]

DRAWS = 1000
_CONFIDENCE = 0.95
_LEVELS = 10
_ALIKE = 0.15
"""The standard deviation with which a sampled request counts less the further its rank, of 0 to 1, is away."""

# Requests that wait for others wait for less when the others' work shrinks.
_WAITS: Mapping[str, tuple[str, ...]] = {
    "pool_wait": ("image_decode", "image_transform", "mm_hash", "mm_cache", "tokenize", "prompt_expand"),
    "queue": ("input_prep", "mm_batch", "h2d", "vision_encoder", "connector", "prefill", "sample"),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of one recipe and where in the run it holds; `held` is None for bytes."""

    recipe: int
    effect: Effect
    held: ClaimedStacks | None


@dataclass(frozen=True, slots=True)
class Draws:
    """One row a resample, and in the last row the run itself: n + 1 rows.

    Attributes:
        sampled: how often each sampled request was drawn.
        plain: which unprofiled request stands at each place.
        shares: a share for each claim, within its spread.
    """

    sampled: Floats
    plain: Ints
    shares: Floats


@dataclass(frozen=True, slots=True)
class Level:
    """Requests of about the same rank by TTFT.

    Attributes:
        plain: the places of the unprofiled ones.
        weights: how much each sampled request says of them.
    """

    plain: Ints
    weights: Floats


@dataclass(frozen=True, slots=True)
class SampledRun:
    """The part of a run that suggestions are made from.

    Attributes:
        plain: the requests whose times count, at least one: the unprofiled ones, where there are any.
        sampled: the requests that samples cover, at least one, under the same recipes.
        samples: the table `samples`.
        active: recipes that were on in all of them.
        waits_shrink: whether requests waited for one another.
        on_gpu: whether the model ran on a GPU.
        multiplies_bfloat16: whether its CPU could multiply bfloat16; None where that is not known.
    """

    plain: Sequence[RequestBreakdown]
    sampled: Sequence[RequestBreakdown]
    samples: Any
    stacks: StackTable
    source_line: SourceLine
    active: frozenset[int] = frozenset()
    waits_shrink: bool = False
    on_gpu: bool = False
    multiplies_bfloat16: bool | None = None


class SavingModel:
    """A run reduced to what the claims are about.

    Args:
        effects: of each recipe that may be asked about, those that were on included.
    """

    def __init__(self, run: SampledRun, effects: Mapping[int, Sequence[Effect]], *, seed: int = 0) -> None:
        self.stacks = run.stacks
        self.times = request_time(run.sampled, run.samples, run.stacks)
        self.claims = [
            Claim(number, effect, _held(effect, run.stacks, run.source_line))
            for number, of_recipe in effects.items()
            for effect in of_recipe
            if _holds_on(run, effect)
        ]
        self.sampled_requests = len(run.sampled)
        self._active = run.active
        self._waits_shrink = run.waits_shrink
        self._stage_ns = _stage_matrix(run.plain)
        self._levels = _levels(run)
        self._transport_ns = np.array([transport_ns(each) for each in run.plain], float)
        self._cells_ns, self._signatures = self._grouped(len(run.stacks))
        self._whole_ns = _by_request(self.times, len(run.sampled))
        self._draws = self._drawn(np.random.default_rng(seed), len(run.sampled), len(run.plain))

    def saving(self, numbers: Collection[int], given: Collection[int] = ()) -> Saving:
        """What a set of recipes saves of the median request, others being on already."""
        saved = self._saved(frozenset(numbers) | frozenset(given))
        if given:
            saved = saved - self._saved(frozenset(given))
        tail = 100 * (1 - _CONFIDENCE) / 2
        low, high = np.percentile(saved[:-1], (tail, 100 - tail)).tolist()
        point = float(saved[-1])
        return Saving(saving_ns=round(point), low_ns=round(min(low, point)), high_ns=round(max(high, point)))

    def mean_transport_ns(self) -> int:
        """Mean time on the critical path that is in proportion to the bytes sent."""
        return round(self._transport_ns.mean()) if len(self._transport_ns) else 0

    def _saved(self, numbers: frozenset[int]) -> Floats:
        """Saving of the median request in each draw, the run itself last."""
        fractions = self._fractions(numbers)
        saved = np.outer(self._bytes_share(numbers), self._transport_ns)
        for number, level in enumerate(self._levels):
            saved[:, level.plain] += fractions[:, number] @ self._stage_ns[level.plain].T
        drawn = np.take_along_axis(saved, self._draws.plain, axis=1)
        medians: Floats = np.median(drawn, axis=1)
        return medians

    def _fractions(self, numbers: frozenset[int]) -> Floats:
        """The part of each stage that goes of requests of each level: [draws, levels, stages]."""
        taken = self._taken(numbers)
        requests, stages, groups = self._cells_ns.shape
        flat_ns = self._cells_ns.reshape(requests, stages * groups)
        gone, whole = np.zeros((2, len(taken), len(self._levels), stages))
        for number, level in enumerate(self._levels):
            drawn = self._draws.sampled * level.weights
            cells = (drawn @ flat_ns).reshape(len(taken), stages, groups)
            gone[:, number] = np.einsum("dsg,dg->ds", cells, taken)
            whole[:, number] = drawn @ self._whole_ns
        fractions: Floats = np.divide(gone, whole, out=np.zeros_like(gone), where=whole > 0)
        if self._waits_shrink:
            for wait, work in _WAITS.items():
                columns = [STAGE_INDEX[stage] for stage in work]
                weight = self._stage_ns[:, columns].mean(axis=0)
                if weight.sum() > 0:
                    fractions[..., STAGE_INDEX[wait]] = fractions[..., columns] @ (weight / weight.sum())
        return fractions

    def _taken(self, numbers: frozenset[int]) -> Floats:
        """The part of each group of stacks that goes, at most the whole, less what is added: [draws, groups]."""
        draws, groups = len(self._draws.shares), len(self._signatures)
        parts: dict[str, Floats] = {}
        added = np.zeros((draws, groups))
        for place, claim in enumerate(self.claims):
            if claim.recipe not in numbers - self._active or claim.held is None:
                continue
            if isinstance(claim.effect, Adds) and claim.effect.unless in numbers | self._active:
                continue
            share = np.outer(self._draws.shares[:, place], self._signatures[:, place])
            if isinstance(claim.effect, Removes):
                part = claim.effect.part or f"recipe {claim.recipe}"
                parts[part] = np.maximum(parts.get(part, 0.0), share)
            else:
                added += share
        removed = sum(parts.values(), np.zeros((draws, groups)))
        taken: Floats = np.minimum(removed, 1.0) - added
        return taken

    def _bytes_share(self, numbers: frozenset[int]) -> Floats:
        """The part of the bytes sent today that goes, one a draw."""
        before, gone = np.zeros(len(self._draws.shares)), np.zeros(len(self._draws.shares))
        for place, claim in enumerate(self.claims):
            if isinstance(claim.effect, SendsLess):
                if claim.recipe in self._active:
                    before += self._draws.shares[:, place]
                elif claim.recipe in numbers:
                    gone += self._draws.shares[:, place]
        left = np.maximum(1.0 - before, 1e-9)
        share: Floats = np.clip(gone / left, -1.0, 1.0)
        return share

    def _grouped(self, n_stacks: int) -> tuple[Floats, Floats]:
        """Sampled time by request, stage and group of stacks that the same claims hold for, and the groups' claims.

        Returns:
            [requests, stages, groups] ns and [groups, claims] 0 or 1; stacks without a claim are in no group.
        """
        holds = np.zeros((n_stacks, max(1, len(self.claims))), dtype=np.bool_)
        for place, claim in enumerate(self.claims):
            if claim.held is not None:
                holds[claim.held.stack, place] = True
        claimed = np.flatnonzero(holds.any(axis=1))
        signatures, group_of_claimed = np.unique(holds[claimed], axis=0, return_inverse=True)
        group = np.full(n_stacks, -1, dtype=np.int64)
        group[claimed] = group_of_claimed.ravel()
        group_of_row = group[self.times.stack]
        chosen = group_of_row >= 0
        shape = (self.sampled_requests, len(STAGE_IDS), len(signatures))
        cells = np.zeros(shape)
        place_of = self.times.request[chosen], self.times.stage[chosen], group_of_row[chosen]
        np.add.at(cells, place_of, self.times.time_ns[chosen])
        return cells, signatures.astype(float)

    def _drawn(self, rng: np.random.Generator, sampled: int, plain: int) -> Draws:
        counts = rng.multinomial(sampled, np.full(sampled, 1 / sampled), DRAWS)
        places = rng.integers(0, plain, (DRAWS, plain))
        shares = np.array([claim.effect.share for claim in self.claims])
        spreads = np.array([claim.effect.spread for claim in self.claims])
        drawn = np.clip(shares + spreads * rng.uniform(-1, 1, (DRAWS, len(shares))), 0.0, None)
        return Draws(
            sampled=np.vstack([counts, np.ones((1, sampled))]),
            plain=np.vstack([places, np.arange(plain)[None]]),
            shares=np.vstack([drawn, shares[None]]),
        )


def _levels(run: SampledRun) -> list[Level]:
    """The unprofiled requests by level, the fastest first; no level is without one."""
    number_of_plain = (_ranks(run.plain) * _LEVELS).astype(np.int64)
    sampled = _ranks(run.sampled)
    levels = []
    for number in np.unique(number_of_plain):
        away = (sampled - (number + 0.5) / _LEVELS) / _ALIKE
        levels.append(Level(np.flatnonzero(number_of_plain == number), np.exp(-0.5 * away**2)))
    return levels


def _ranks(requests: Sequence[RequestBreakdown]) -> Floats:
    """Of requests by TTFT, between 0 and 1, neither included."""
    ttft_ns = np.array([request.ttft_ns for request in requests])
    ranks: Floats = (np.argsort(np.argsort(ttft_ns, kind="stable")) + 0.5) / len(requests)
    return ranks


def _holds_on(run: SampledRun, effect: Effect) -> bool:
    """Whether a claim is about the kind of machine that the run was made on."""
    if isinstance(effect, Adds):
        return not (run.on_gpu and effect.on_device)
    if isinstance(effect, Removes) and effect.without_bfloat16:
        return not (run.on_gpu or run.multiplies_bfloat16)
    return True


def _held(effect: Effect, stacks: StackTable, source_line: SourceLine) -> ClaimedStacks | None:
    return claimed_stacks(effect, stacks, source_line) if isinstance(effect, Removes | Adds) else None


def _stage_matrix(requests: Sequence[RequestBreakdown]) -> Floats:
    """Time of every request in every stage: [requests, stages]."""
    rows = [[request.stages.get(stage, 0) for stage in STAGE_IDS] for request in requests]
    return np.array(rows, np.float64).reshape(len(requests), len(STAGE_IDS))


def _by_request(times: RequestTime, requests: int) -> Floats:
    """Sampled time of every request in every stage: [requests, stages]."""
    whole = np.zeros((requests, len(STAGE_IDS)))
    np.add.at(whole, (times.request, times.stage), times.time_ns)
    return whole
