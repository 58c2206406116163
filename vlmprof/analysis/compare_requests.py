"""The requests that a comparison is made of, what is measured of each, and which are compared with which."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from vlmprof.analysis.compare_bootstrap import RoundPairs
from vlmprof.analysis.stats import Floats
from vlmprof.model.request import Phase
from vlmprof.model.results import BreakdownResult, RequestBreakdown
from vlmprof.model.stages import GROUPS, STAGE_IDS, STAGES, UNATTRIBUTED

HEADLINE = ("ttft", "e2e", "tpot", "tokens_per_s")
COLUMNS: tuple[str, ...] = (
    *HEADLINE,
    *(f"group.{group}" for group in GROUPS),
    *(f"stage.{stage_id}" for stage_id in STAGE_IDS),
)
"""What is measured of each request: ns, except for tokens_per_s."""

# Beyond this many comparable pairs, each request is compared with only some of the others of its round: with
# four of ten, the interval was an eighth wider than with all.
_MOST_PAIRS = 8_000
_NUMBER = re.compile(r"vp-[A-Za-z0-9-]+-(\d+)")
_REPEAT = re.compile(r"#\d+$")
_NS_PER_S = 1e9


@dataclass(frozen=True, slots=True)
class ComparedRequest:
    """One request with everything that is compared of it.

    Attributes:
        number: its number in its run's workload, which fixes its prompt and, but for other pixels, its image;
            None of a foreign request.
        sizes: width and height of its images.
        values: one for each of `COLUMNS`; NaN where it was not measured.
        prompt: what its run asked of every picture, without what makes each request's prompt its own.
    """

    id: str
    number: int | None
    block: int
    sent_ns: int
    images: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    text: str
    values: Floats
    prompt: str = ""


Requests = Sequence[ComparedRequest]
Rounds = Sequence[tuple[Requests, Requests]]
"""Baseline and trial requests of each round."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """All rounds' requests of both sides, and the pairs among them.

    Attributes:
        paired_by: what the requests of a pair have in common.
    """

    baseline: Requests
    trial: Requests
    rounds: list[RoundPairs]
    paired_by: str

    @property
    def positions(self) -> tuple[Any, Any]:
        """Of every pair the position of its baseline and of its trial request."""
        empty = np.empty(0, np.int64)
        return (
            np.concatenate([empty, *(each.baseline for each in self.rounds)]),
            np.concatenate([empty, *(each.trial for each in self.rounds)]),
        )


def compared_requests(
    requests: Any, breakdown: BreakdownResult, blocks: set[int], prompt: str = ""
) -> list[ComparedRequest]:
    """The requests of some blocks that got a first token and ended well, in the order of sending.

    Args:
        requests: the table of that name.
        prompt: the run's own.
    """
    stages = {request.id: request for request in breakdown.requests}
    rows = [row for row in requests.to_pylist() if row["block"] in blocks and _ended_well(row)]
    found = [
        ComparedRequest(
            id=row["id"],
            number=_number(row["id"]),
            block=row["block"],
            sent_ns=row["sent_ns"],
            images=tuple(row["image_names"] or ()),
            sizes=tuple(zip(row["image_widths"] or (), row["image_heights"] or (), strict=False)),
            text=row["text"] or "",
            values=_values(row, stages.get(row["id"])),
            prompt=prompt,
        )
        for row in rows
    ]
    return sorted(found, key=lambda request: request.sent_ns)


def failed_requests(requests: Any, blocks: set[int]) -> list[str]:
    """What the requests of some blocks failed with, one for each that did not end well, in the order of sending."""
    rows = [row for row in requests.to_pylist() if row["block"] in blocks and not _ended_well(row)]
    return [row["error"] or "no first token" for row in sorted(rows, key=lambda row: row["sent_ns"])]


def has_stages(requests: Requests) -> bool:
    """Whether the stages of some request are known."""
    column = COLUMNS.index(f"stage.{STAGE_IDS[0]}")
    return any(np.isfinite(request.values[column]) for request in requests)


def headline_blocks(requests: Any) -> set[int]:
    """Blocks whose times speak for a run: the control blocks, or the profiled ones where there are none."""
    by_phase: dict[str, set[int]] = defaultdict(set)
    for row in requests.select(["phase", "block"]).to_pylist():
        by_phase[row["phase"]].add(row["block"])
    return by_phase[Phase.CONTROL] or by_phase[Phase.PROFILED]


def _number(request_id: str) -> int | None:
    match = _NUMBER.fullmatch(request_id)
    return int(match[1]) if match else None


def _ended_well(row: dict[str, Any]) -> bool:
    return row["first_token_ns"] is not None and not row["error"]


def _values(row: dict[str, Any], breakdown: RequestBreakdown | None) -> Floats:
    ttft_ns = row["first_token_ns"] - row["sent_ns"]
    e2e_ns = float("nan") if row["done_ns"] is None else row["done_ns"] - row["sent_ns"]
    steps = (row["output_tokens"] or 0) - 1
    decode_ns = e2e_ns - ttft_ns
    decoded = steps > 0 and decode_ns > 0
    tpot_ns = decode_ns / steps if decoded else float("nan")
    parts = np.full(len(GROUPS) + len(STAGE_IDS), np.nan) if breakdown is None else _parts(breakdown)
    return np.concatenate([[ttft_ns, e2e_ns, tpot_ns, _NS_PER_S / tpot_ns if decoded else np.nan], parts])


def _parts(breakdown: RequestBreakdown) -> Floats:
    # A request without any stage was not watched, as on a server without the agent: its stages are not 0.
    elsewhere = 0.0 if any(breakdown.stages.values()) else float("nan")
    by_stage = {stage_id: float(breakdown.stages.get(stage_id, elsewhere)) for stage_id in STAGE_IDS}
    by_stage[UNATTRIBUTED] = float(breakdown.unattributed_ns)
    by_group = dict.fromkeys(GROUPS, 0.0)
    for stage in STAGES:
        by_group[stage.group] += by_stage[stage.id]
    return np.array([*by_group.values(), *by_stage.values()], np.float64)


def by_round(requests: Requests, round_of_block: dict[int, int]) -> dict[int, list[ComparedRequest]]:
    """Requests of each round, in the order of sending."""
    found: dict[int, list[ComparedRequest]] = defaultdict(list)
    for request in requests:
        found[round_of_block[request.block]].append(request)
    return found


def rounds_of_runs(baseline: Requests, trial: Requests) -> Rounds:
    """Two runs as rounds: by blocks where both sent the same requests, else by their order.

    Requests of two servers share no time. Where their images and numbers agree, a round is a block of the run
    with fewer blocks, with the same requests of the other one; else both are cut, in order, into as many parts.
    Blocks of the run with more of them would be drawn as if what they share of a block of the other were not one.
    """
    fewer_in_trial = len(_by_block(trial)) < len(_by_block(baseline))
    if _can_match(baseline, trial, _same_request):
        if fewer_in_trial:
            return [(partners, block) for block, partners in _blocks_with_partners(trial, baseline)]
        return _blocks_with_partners(baseline, trial)
    parts = max(1, len(_by_block(trial if fewer_in_trial else baseline)))
    return list(zip(_cut(baseline, parts), _cut(trial, parts), strict=True))


def _by_block(requests: Requests) -> dict[int, list[ComparedRequest]]:
    return by_round(requests, {request.block: request.block for request in requests})


def _blocks_with_partners(requests: Requests, others: Requests) -> list[tuple[Requests, Requests]]:
    """Each block of some requests, and the same requests of another run."""
    partners = _by_key(others, _same_request)
    return [
        (block, [own for request in block for own in partners.get(_same_request(request), [])])
        for block in _by_block(requests).values()
    ]


def neighbour_rounds(requests: Requests) -> Rounds:
    """A run against itself: each block with the next one, the first with the second, the third with the fourth."""
    blocks = list(_by_block(requests).values())
    return list(zip(blocks[::2], blocks[1::2], strict=False))


@dataclass(frozen=True, slots=True)
class Way:
    """A way of pairing: by what two requests of a pair have in common.

    Attributes:
        matched: each request has one partner; else every two of a round that agree are a pair.
    """

    name: str
    key: "_Key"
    matched: bool

    def fits(self, rounds: Rounds) -> bool:
        """Whether in every round at least half of the requests of the smaller side find a partner."""
        return all(_can_match(lower, upper, self.key) for lower, upper in rounds if lower and upper)


def way_of_pairing(*comparisons: Rounds) -> Way:
    """The first of `WAYS` that fits all of some comparisons, so that they are measured alike."""
    return next(way for way in WAYS if all(way.fits(rounds) for rounds in comparisons))


def way_named(name: str) -> Way:
    """The way that a comparison says its requests were paired by."""
    return next(way for way in WAYS if way.name == name)


def pair(rounds: Rounds, way: Way | None = None) -> Pairing:
    """Pairs of all rounds; what finds no partner, and a round that one side did not serve, are left out."""
    way = way or way_of_pairing(rounds)
    whole = [(lower, upper) for lower, upper in rounds if lower and upper]
    baseline = [request for lower, _ in whole for request in lower]
    trial = [request for _, upper in whole for request in upper]
    found: list[RoundPairs] = []
    offsets = [0, 0]
    for lower, upper in whole:
        pairs = (
            _matches(lower, upper, way.key) if way.matched else _comparable(lower, upper, way.key, len(whole))
        )
        places = np.array(pairs, np.int64).reshape(-1, 2) + offsets
        found.append(RoundPairs(places[:, 0], places[:, 1], way.matched))
        offsets = [offsets[0] + len(lower), offsets[1] + len(upper)]
    return Pairing(baseline, trial, found, way.name)


_Key = Callable[[ComparedRequest], Hashable]


def _same_request(request: ComparedRequest) -> Hashable:
    # A request of a foreign load generator has no images: nothing says that two of them are the same.
    if not request.images:
        return request.id
    return request.number, request.prompt, request.images, request.sizes


def _same_image(request: ComparedRequest) -> Hashable:
    """The same pictures, though perhaps with other pixels: a file that is sent again is `name#2`."""
    if not request.images:
        return request.id
    # A name says little by itself: a generated picture's is the same in every size.
    return tuple(_REPEAT.sub("", name) for name in request.images), request.sizes


def _same_size(request: ComparedRequest) -> Hashable:
    return request.sizes


def _anything(_: ComparedRequest) -> Hashable:
    return None


WAYS = (
    Way("image and prompt", _same_request, True),
    Way("image", _same_image, True),
    Way("image size", _same_size, False),
    Way("nothing but their round", _anything, False),
)
"""From the strongest to the weakest, which fits everything."""


def same_requests(baseline: Requests, trial: Requests) -> list[tuple[ComparedRequest, ComparedRequest]]:
    """Requests of both sides with the same image and prompt, in the baseline's order."""
    return [(baseline[lower], trial[upper]) for lower, upper in _matches(baseline, trial, _same_request)]


def _by_key(requests: Iterable[ComparedRequest], key: _Key) -> dict[Hashable, list[ComparedRequest]]:
    found: dict[Hashable, list[ComparedRequest]] = defaultdict(list)
    for request in requests:
        found[key(request)].append(request)
    return found


def _can_match(lower: Requests, upper: Requests, key: _Key) -> bool:
    common = Counter(map(key, lower)) & Counter(map(key, upper))
    return 2 * common.total() >= min(len(lower), len(upper))


def _matches(lower: Requests, upper: Requests, key: _Key) -> list[tuple[int, int]]:
    """One-to-one, the first with the first among those that agree."""
    waiting: dict[Hashable, list[int]] = defaultdict(list)
    for position in reversed(range(len(upper))):
        waiting[key(upper[position])].append(position)
    return [
        (position, waiting[key(request)].pop())
        for position, request in enumerate(lower)
        if waiting[key(request)]
    ]


def _comparable(lower: Requests, upper: Requests, key: _Key, rounds: int) -> list[tuple[int, int]]:
    """Every two that agree; of too many, each request with the same number of others, spread evenly."""
    others: dict[Hashable, list[int]] = defaultdict(list)
    for position, request in enumerate(upper):
        others[key(request)].append(position)
    most = max(1, _MOST_PAIRS // (rounds * len(lower)))
    pairs = []
    for position, request in enumerate(lower):
        own = others[key(request)]
        step = max(1, -(-len(own) // most))
        pairs += [(position, other) for other in own[position % step :: step]]
    return pairs


def _cut(requests: Requests, parts: int) -> list[Requests]:
    bounds = [round(part * len(requests) / parts) for part in range(parts + 1)]
    return [requests[start:end] for start, end in pairwise(bounds)]
