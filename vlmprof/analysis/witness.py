"""An independent check of austin's clock: do the samples show a function when, and only when, its span says so?

Independent because the offset was fitted to beacons and arrivals only: the spans that are compared here come
from other threads, other functions and other lines of the program, and no parameter was chosen to suit them.

What is measured: the samples of a thread see a function appear between two instants, the last sample without
it and the first one with it, and likewise disappear. The span recorded when that really happened. If the
recorded time lies between the two instants the clocks do not contradict each other, and the difference is 0;
if not, it is the distance to the nearer of them: the least error of the clock (or of the sample's own time)
that this edge proves. A clock that is off by e shows up in a share e / interval of the edges, with differences
up to e; so each result comes with the p95 that the same edges would have given, had the clock been off by one
millisecond more, to either side. The middle errors are edges less the middles between their samples: their
median shows a bias, their p95 is mostly half the sampling interval.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlmprof.analysis.align import Ints, Witness, witness_of
from vlmprof.analysis.stack_table import Flags, StackTable, as_ints, read_stacks
from vlmprof.units import NS_PER_MS

METHOD = "edges of spans against the samples on both sides of them"
_LEAST_INTERVALS = 3


@dataclass(frozen=True, slots=True, eq=False)
class SeenFunction:
    """One thread's samples: the instants at which they were taken, ascending, and if the function was there."""

    instant_ns: Ints
    has_function: Flags


@dataclass(frozen=True, slots=True, eq=False)
class SpanTimes:
    """n spans of one thread that stand for calls of one function."""

    start_ns: Ints
    end_ns: Ints


def austin_witness(
    samples: Any,
    stacks: Any,
    frames: Any,
    spans: Any,
    *,
    functions: Mapping[str, Sequence[str]],
    interval_ns: int,
) -> Witness:
    """Compare samples on the session clock with spans that had no part in putting them there.

    Args:
        samples, stacks, frames, spans: tables of those schemas.
        functions: span name -> functions that are on the stack from the span's start to its end, with or
            without their class. Coroutines do not qualify: they leave the stack where they wait.
        interval_ns: sampling interval; shorter spans than three of them are not used.
    """
    table = read_stacks(stacks, frames)
    edges = [
        span_edge_errors(seen, times, interval_ns)
        for seen, times in _comparable(table, samples, spans, functions)
    ]
    if not edges:
        return witness_of(METHOD, np.zeros(0, np.int64), {"spans_without_the_function": 0})
    bracket = _concatenate([edge.bracket_ns for edge in edges])
    reach_ns = _concatenate([edge.reach_ns for edge in edges])
    unseen = sum(edge.unseen for edge in edges)
    detail: dict[str, Any] = {"spans_without_the_function": unseen}
    if len(bracket):
        detail |= {
            "contradicted_share": round(float(np.mean(_distance_ns(bracket, reach_ns, 0) > 0)), 4),
            "middle_error_median_ns": round(float(np.median(bracket.mean(axis=1)))),
            "middle_error_p95_ns": _p95(np.abs(bracket.mean(axis=1))),
            "p95_if_1_ms_earlier_ns": _p95(_distance_ns(bracket, reach_ns, -NS_PER_MS)),
            "p95_if_1_ms_later_ns": _p95(_distance_ns(bracket, reach_ns, NS_PER_MS)),
        }
    return witness_of(METHOD, _distance_ns(bracket, reach_ns, 0), detail)


@dataclass(frozen=True, slots=True, eq=False)
class EdgeErrors:
    """n edges of spans.

    Attributes:
        bracket_ns: (n, 2) times of the last sample before and the first one after the change that the samples
            saw, both less the recorded time of the edge.
        reach_ns: how far from the edge a change was looked for; a difference counts as no more than this.
        unseen: spans that no sample shows the function in; their name does not mean this function.
    """

    bracket_ns: Ints
    reach_ns: Ints
    unseen: int


def span_edge_errors(seen: SeenFunction, spans: SpanTimes, interval_ns: int) -> EdgeErrors:
    """Bracket the edges of spans between samples.

    An edge is used if its span is longer than three intervals, the next span of the function is as far away,
    and the thread was sampled on both sides of it.
    """
    order = np.argsort(spans.start_ns, kind="stable")
    start_ns, end_ns = spans.start_ns[order], spans.end_ns[order]
    least_ns = _LEAST_INTERVALS * interval_ns
    shown = np.searchsorted(seen.instant_ns[seen.has_function], [start_ns, end_ns])
    sampled = np.searchsorted(seen.instant_ns, [start_ns, end_ns])
    was_shown = shown[1] > shown[0]
    unseen = int(np.count_nonzero((sampled[1] - sampled[0] >= _LEAST_INTERVALS) & ~was_shown))
    alone_ns = 20 * least_ns
    gap_before_ns = np.concatenate([[alone_ns], start_ns[1:] - end_ns[:-1]])[: len(start_ns)]
    gap_after_ns = np.concatenate([gap_before_ns[1:], [alone_ns]])[: len(start_ns)]
    length_ns = end_ns - start_ns
    brackets, reaches = [], []
    for edge_ns, gap_ns, appears in ((start_ns, gap_before_ns, True), (end_ns, gap_after_ns, False)):
        usable = was_shown & (length_ns > least_ns) & (gap_ns > least_ns)
        reach_ns = np.minimum(np.minimum(length_ns, gap_ns) // 2, 10 * least_ns)[usable]
        bracket_ns, sampled_around = _nearest_change(seen, edge_ns[usable], reach_ns, appears)
        brackets.append(bracket_ns[sampled_around])
        reaches.append(reach_ns[sampled_around])
    return EdgeErrors(np.concatenate(brackets), np.concatenate(reaches), unseen)


def _nearest_change(seen: SeenFunction, edge_ns: Ints, reach_ns: Ints, appears: bool) -> tuple[Ints, Flags]:
    """For each edge the samples around the nearest change of the right kind, and if there are samples near."""
    time_ns, has = seen.instant_ns, seen.has_function
    change = np.flatnonzero((has[1:] != has[:-1]) & (has[1:] == appears))
    near = np.searchsorted(time_ns, [edge_ns - reach_ns, edge_ns, edge_ns + reach_ns])
    sampled_around = (near[1] > near[0]) & (near[2] > near[1])
    if not len(change):
        # No change at all: as wrong as can be told.
        return np.stack([edge_ns * 0 + reach_ns, edge_ns * 0 + reach_ns], axis=1), sampled_around
    before_ns, after_ns = time_ns[change], time_ns[change + 1]
    right = np.clip(np.searchsorted(after_ns, edge_ns), 0, len(change) - 1)
    left = np.maximum(right - 1, 0)
    brackets = [
        np.stack([before_ns[pick] - edge_ns, after_ns[pick] - edge_ns], axis=1) for pick in (left, right)
    ]
    is_left = _outside_ns(brackets[0]) < _outside_ns(brackets[1])
    return np.where(is_left[:, None], brackets[0], brackets[1]), sampled_around


def _outside_ns(bracket_ns: Ints) -> Ints:
    """How far 0 lies outside each bracket."""
    outside: Ints = np.maximum(0, np.maximum(bracket_ns[:, 0], -bracket_ns[:, 1]))
    return outside


def _distance_ns(bracket_ns: Ints, reach_ns: Ints, shift_ns: int) -> Ints:
    """What the edges contradict, had the samples been shifted."""
    distance: Ints = np.minimum(_outside_ns(bracket_ns + shift_ns), reach_ns)
    return distance


def _p95(values: npt.NDArray[Any]) -> int:
    return round(float(np.quantile(values, 0.95)))


def _concatenate(parts: list[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _comparable(
    table: StackTable, samples: Any, spans: Any, functions: Mapping[str, Sequence[str]]
) -> Iterator[tuple[SeenFunction, SpanTimes]]:
    """For each thread and function that both spans and samples know: its samples by time and its spans."""
    span_names = np.array(spans["name"].to_pylist(), object)
    span_pid, span_tid = as_ints(spans["pid"]), as_ints(spans["tid"])
    start_ns, end_ns = as_ints(spans["start_ns"]), as_ints(spans["end_ns"])
    sample_thread = as_ints(samples["pid"]) << 32 | as_ints(samples["tid"])
    instant_ns = as_ints(samples["start_ns"]) + as_ints(samples["duration_ns"])
    stack_row = table.rows(as_ints(samples["stack_id"]))
    for name, wanted in functions.items():
        on_stack = _stacks_with(table, wanted)
        of_name = span_names == name
        for thread in np.unique(span_pid[of_name] << 32 | span_tid[of_name]).tolist():
            mine = np.flatnonzero(sample_thread == thread)
            mine = mine[np.argsort(instant_ns[mine], kind="stable")]
            chosen = of_name & (span_pid == thread >> 32) & (span_tid == thread & 0xFFFFFFFF)
            if len(mine):
                yield (
                    SeenFunction(instant_ns[mine], on_stack[stack_row[mine]]),
                    SpanTimes(start_ns[chosen], end_ns[chosen]),
                )


def _stacks_with(table: StackTable, wanted: Sequence[str]) -> Flags:
    """Which stacks have one of the functions on them, named with or without their class."""
    is_wanted = np.array(
        [any(f".{function.name}".endswith(f".{name}") for name in wanted) for function in table.functions]
    )
    owner = np.repeat(np.arange(len(table)), table.depth)
    on_stack = np.zeros(len(table), np.bool_)
    on_stack[owner[is_wanted[table.function]]] = True
    return on_stack
