"""Attributes a request's time to first token: at each instant one stage owns it, so that the sum is exact.

A sweep over the spans of the request. Where several cover an instant, the one of the highest rank owns it; where
none does, the gap is named by its neighbours: sent in one process and received in another is a transfer, two
tasks of one event loop are a wait for that loop. What no rule names is `unattributed`, a stage like any other.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from vlmprof.analysis.request_spans import BusyLoop, RuledSpan, SpanIndex
from vlmprof.analysis.stage_rules import AFTER_HAND_OVER
from vlmprof.model.breakdown import Segment, TtftBreakdown
from vlmprof.model.process import Role
from vlmprof.model.stages import UNATTRIBUTED

_START, _END = "sent", "first token"


def attribute(request_id: str, sent_ns: int, first_token_ns: int, index: SpanIndex) -> TtftBreakdown:
    """Divide [sent_ns, first_token_ns) of one request among the stages.

    Returns:
        A breakdown whose stages and `unattributed_ns` add up to the TTFT, checked.
    """
    spans = index.of_request(request_id, sent_ns, first_token_ns)
    spans = _until_first_output(spans)
    owned = list(_owners(spans, sent_ns, first_token_ns))
    return breakdown_of(request_id, sent_ns, first_token_ns - sent_ns, _named(owned, request_id, index))


def breakdown_of(request_id: str, sent_ns: int, ttft_ns: int, segments: Iterable[Segment]) -> TtftBreakdown:
    """The breakdown that some segments make, neighbours of one owner joined; checked."""
    segments = _joined(segments)
    stages: dict[str, int] = {}
    for segment in segments:
        stages[segment.stage] = stages.get(segment.stage, 0) + segment.end_ns - segment.start_ns
    unattributed_ns = stages.pop(UNATTRIBUTED, 0)
    breakdown = TtftBreakdown(request_id, sent_ns, ttft_ns, stages, unattributed_ns, tuple(segments))
    breakdown.check()
    return breakdown


def _until_first_output(spans: Sequence[RuledSpan]) -> list[RuledSpan]:
    """Leave out what the engine did after the step that made the first token.

    The engine goes on with the next token while the first one travels to the client: those spans are the
    request's too, but nobody who waits for the first token waits for them. The same goes for the end of a
    worker's step, which it may come to only after the core has passed on what the step made.
    """
    received = _first(spans, "ipc.decode", Role.API_SERVER)
    sent = _first(spans, "ipc.encode", Role.ENGINE_CORE)
    cut_ns = first_output_ns(spans)
    if received is None or cut_ns is None:
        return list(spans)
    kept = []
    for span in spans:
        if span.role == Role.API_SERVER or span in (sent, received) or span.end_ns <= cut_ns:
            kept.append(span)
        elif span.start_ns < cut_ns:
            kept.append(replace(span, end_ns=cut_ns))
    return kept


def first_output_ns(spans: Sequence[RuledSpan]) -> int | None:
    """When the engine had a request's first token, by the request's spans; None where they do not say."""
    sent = _first(spans, "ipc.encode", Role.ENGINE_CORE)
    if sent is None:
        return None
    made = [span for span in spans if span.name == "core.update" and span.end_ns <= sent.start_ns]
    return made[-1].end_ns if made else sent.start_ns


def _first(spans: Sequence[RuledSpan], name: str, role: Role) -> RuledSpan | None:
    return next((span for span in spans if span.name == name and span.role == role), None)


_Owned = tuple[int, int, RuledSpan | None]
"""A stretch [start_ns, end_ns) and the span that owns it, None in a gap."""


def _owners(spans: Sequence[RuledSpan], sent_ns: int, first_token_ns: int) -> Iterator[_Owned]:
    """Stretches from one change to the next, in order, covering the whole window."""
    moments = {sent_ns, first_token_ns}
    for span in spans:
        moments |= {max(sent_ns, span.start_ns), min(first_token_ns, span.end_ns)}
    times = sorted(moments)
    waiting = sorted((span for span in spans if span.rule.stage), key=lambda span: -span.start_ns)
    active: list[RuledSpan] = []
    for start_ns, end_ns in itertools.pairwise(times):
        while waiting and waiting[-1].start_ns <= start_ns:
            active.append(waiting.pop())
        active = [span for span in active if span.end_ns > start_ns]
        yield start_ns, end_ns, max(active, key=_precedence, default=None)


def _precedence(span: RuledSpan) -> tuple[int, int]:
    return span.rule.rank, span.start_ns


class _Gap(NamedTuple):
    """A stretch that no span owns, and the owners before and after it; None at the window's ends."""

    before: RuledSpan | None
    after: RuledSpan | None
    start_ns: int
    end_ns: int

    @property
    def cause(self) -> str:
        return f"{self.before.name if self.before else _START} -> {self.after.name if self.after else _END}"

    def owned_by(self, stage: str, pid: int, tid: int) -> Segment:
        return Segment(stage, self.start_ns, self.end_ns, pid, tid, self.cause)


def _named(owned: Sequence[_Owned], request_id: str, index: SpanIndex) -> Iterator[Segment]:
    """Turn stretches into segments, naming each gap by the owners before and after it."""
    before: RuledSpan | None = None
    for (start_ns, end_ns, owner), after in zip(owned, _next_owners(owned), strict=True):
        if owner is not None:
            yield Segment(owner.rule.stage, start_ns, end_ns, owner.pid, owner.tid, owner.name)
            before = owner
            continue
        gap = _Gap(before, after, start_ns, end_ns)
        loop = index.loops.get(before.pid) if before is not None else None
        if loop is not None and _within_api_server(gap):
            yield from _api_gap(gap, loop, request_id)
        else:
            yield _other_gap(gap)


def _next_owners(owned: Sequence[_Owned]) -> list[RuledSpan | None]:
    following: list[RuledSpan | None] = []
    after: RuledSpan | None = None
    for _, _, owner in reversed(owned):
        following.append(after)
        after = owner or after
    return following[::-1]


def _within_api_server(gap: _Gap) -> bool:
    """Whether the request stayed in the API server between the two neighbours."""
    before, after = gap.before, gap.after
    if before is None or after is None or before.pid != after.pid or before.role != Role.API_SERVER:
        return False
    left = before.name in AFTER_HAND_OVER and after.name == "ipc.decode"
    arriving = before.name == after.name == "http.receive"
    return not left and not arriving


def _api_gap(gap: _Gap, loop: BusyLoop, request_id: str) -> Iterator[Segment]:
    """A gap of the event loop: it worked for others, or had not yet seen that a pool thread is done, or glue."""
    before = gap.before
    waits = before is not None and (before.tid != loop.tid or before.name == "ipc.decode")
    own_stage = "event_loop_wait" if waits else "api_other"
    at_ns = gap.start_ns
    for start_ns, end_ns in loop.foreign(request_id, gap.start_ns, gap.end_ns):
        if start_ns > at_ns:
            yield Segment(own_stage, at_ns, start_ns, loop.pid, loop.tid, gap.cause)
        yield Segment(
            "event_loop_wait", start_ns, end_ns, loop.pid, loop.tid, f"{gap.cause} (other requests)"
        )
        at_ns = end_ns
    if gap.end_ns > at_ns:
        yield Segment(own_stage, at_ns, gap.end_ns, loop.pid, loop.tid, gap.cause)


def _other_gap(gap: _Gap) -> Segment:
    """A gap between processes, at the window's ends, or inside the engine core or a worker."""
    before, after = gap.before, gap.after
    if before is None and after is None:
        return gap.owned_by(UNATTRIBUTED, 0, 0)
    if before is None or after is None or before.name == after.name == "http.receive":
        # Before the first byte is read, between two reads, and after the last byte is written.
        return gap.owned_by("network", 0, 0)
    if before.pid != after.pid:
        return gap.owned_by("ipc_transfer" if _adjacent(before, after) else UNATTRIBUTED, 0, 0)
    tid = before.tid if before.tid == after.tid else 0
    return gap.owned_by(_stage_inside(before, after), before.pid, tid)


def _stage_inside(before: RuledSpan, after: RuledSpan) -> str:
    """The stage of a gap inside one process of the engine."""
    if before.role == Role.ENGINE_CORE:
        unscheduled = before.name in ("ipc.decode", "core.preprocess", "core.add")
        return "queue" if unscheduled and after.name in ("core.add", "core.schedule") else "core_other"
    return "worker_other" if before.role == Role.WORKER else UNATTRIBUTED


_NEIGHBOURS = (
    {Role.API_SERVER, Role.ENGINE_CORE},
    {Role.ENGINE_CORE, Role.WORKER},
)


def _adjacent(before: RuledSpan, after: RuledSpan) -> bool:
    """Whether one of the two processes sends to the other; two workers hand a batch on through the core."""
    roles = {before.role, after.role}
    return roles == {Role.WORKER} or any(roles == pair for pair in _NEIGHBOURS)


def _joined(segments: Iterable[Segment]) -> list[Segment]:
    """Neighbouring stretches of one owner as one."""
    joined: list[Segment] = []
    for segment in segments:
        last = joined[-1] if joined else None
        if last is not None and _same_owner(last, segment):
            joined[-1] = Segment(last.stage, last.start_ns, segment.end_ns, last.pid, last.tid, last.cause)
        else:
            joined.append(segment)
    return joined


def _same_owner(one: Segment, other: Segment) -> bool:
    return (one.stage, one.pid, one.tid, one.cause) == (other.stage, other.pid, other.tid, other.cause)
