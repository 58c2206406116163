"""The independent check of austin's clock, against samples and spans whose difference is known."""

from typing import Any

import numpy as np
import pyarrow as pa

from vlmprof.analysis.align import Ints
from vlmprof.analysis.witness import EdgeErrors, SeenFunction, SpanTimes, austin_witness, span_edge_errors
from vlmprof.model.tables import FRAMES, SAMPLES, SPANS, STACKS

MS = 1_000_000


def seen_every_ms(
    calls: list[tuple[float, float]], *, until_ms: int = 200, clock_error_ms: float = 0
) -> SeenFunction:
    """A sample each millisecond; it has the function during the calls, given in ms, and a clock that is off."""
    instant_ns = np.arange(until_ms) * MS
    inside = np.zeros(until_ms, np.bool_)
    for start_ms, end_ms in calls:
        inside |= (instant_ns >= start_ms * MS) & (instant_ns < end_ms * MS)
    return SeenFunction(instant_ns + round(clock_error_ms * MS), inside)


def spans_of(calls: list[tuple[float, float]]) -> SpanTimes:
    times = np.array(calls) * MS
    return SpanTimes(times[:, 0].astype(np.int64), times[:, 1].astype(np.int64))


def outside_ms(errors: EdgeErrors) -> list[float]:
    """How far each edge lies outside its bracket, in ms; starts first."""
    outside: Ints = np.maximum(0, np.maximum(errors.bracket_ns[:, 0], -errors.bracket_ns[:, 1]))
    return [round(value / MS, 3) for value in outside.tolist()]


CALLS = [(20.5, 40.5), (60.25, 80.75)]


def test_equal_clocks_are_contradicted_by_no_edge() -> None:
    """The sample at 20 ms lacks the function, that at 21 ms has it: the start at 20.5 ms lies between them."""
    errors = span_edge_errors(seen_every_ms(CALLS), spans_of(CALLS), MS)
    assert outside_ms(errors) == [0, 0, 0, 0]
    assert errors.bracket_ns[0].tolist() == [-500_000, 500_000]


def test_a_clock_that_is_off_is_contradicted_by_the_part_that_no_interval_hides() -> None:
    """3 ms late: the change is seen in (23, 24] and (63, 64]; 20.5 and 60.25 lie 2.5 and 2.75 ms before."""
    errors = span_edge_errors(seen_every_ms(CALLS, clock_error_ms=3), spans_of(CALLS), MS)
    assert outside_ms(errors) == [2.5, 2.75, 2.5, 2.25]


def test_an_error_below_the_interval_shows_in_some_edges() -> None:
    """0.4 ms early: (19.6, 20.6] still holds 20.5, (79.6, 80.6] does not hold 80.75."""
    errors = span_edge_errors(seen_every_ms(CALLS, clock_error_ms=-0.4), spans_of(CALLS), MS)
    assert outside_ms(errors) == [0, 0, 0, 0.15]


def test_an_error_larger_than_the_reach_counts_as_the_reach() -> None:
    """15 ms late, of spans of 20 and 20.5 ms that are 19.75 ms apart: a change is looked for half of that away.

    None is there: differences of 9.875, 9.875, 10 and 10.25 ms, and not a good edge of another span.
    """
    errors = span_edge_errors(seen_every_ms(CALLS, clock_error_ms=15), spans_of(CALLS), MS)
    assert errors.reach_ns.tolist() == [10_000_000, 9_875_000, 9_875_000, 10_250_000]
    witness = austin_witness(*tables(CALLS, 15), functions={"w.forward": ["forward"]}, interval_ns=MS)
    assert (witness.p50_ns, witness.count) == (9_937_500, 4)


def test_short_spans_and_near_neighbours_are_no_witnesses() -> None:
    """A span of 2 ms is shorter than three intervals; two calls 1 ms apart look like one."""
    short = [(20.5, 22.5)]
    assert len(span_edge_errors(seen_every_ms(short), spans_of(short), MS).bracket_ns) == 0
    near = [(20.5, 40.5), (41.2, 60.5)]
    assert len(span_edge_errors(seen_every_ms(near), spans_of(near), MS).bracket_ns) == 2


def test_a_span_whose_function_never_shows_is_counted_apart() -> None:
    """Its name stands for another function: no fault of the clock."""
    errors = span_edge_errors(seen_every_ms([(20.5, 40.5)]), spans_of([(20.5, 40.5), (100.5, 120.5)]), MS)
    assert (len(errors.bracket_ns), errors.unseen) == (2, 1)


def test_edges_in_a_pause_of_the_sampler_are_no_witnesses() -> None:
    """No sample from 50 to 150 ms: the end at 70.5 ms and the start at 130.5 ms have none on either side."""
    calls = [(20.5, 70.5), (130.5, 180.5)]
    seen = seen_every_ms(calls)
    kept = (seen.instant_ns < 50 * MS) | (seen.instant_ns > 150 * MS)
    errors = span_edge_errors(
        SeenFunction(seen.instant_ns[kept], seen.has_function[kept]), spans_of(calls), MS
    )
    assert outside_ms(errors) == [0, 0]


def tables(calls: list[tuple[float, float]], clock_error_ms: float) -> tuple[Any, Any, Any, Any]:
    """Thread 9 of process 7 sampled each millisecond, in Model.forward during the calls, else in wait."""
    seen = seen_every_ms(calls, clock_error_ms=clock_error_ms)
    samples = [
        {"pid": 7, "tid": 9, "stack_id": int(has), "start_ns": at - MS, "duration_ns": MS, "on_cpu": None}
        for at, has in zip(seen.instant_ns.tolist(), seen.has_function.tolist(), strict=True)
    ]
    frames = [("run", 1), ("wait", 2), ("Model.forward", 3)]
    return (
        pa.Table.from_pylist([{**sample, "holds_gil": None} for sample in samples], schema=SAMPLES),
        pa.table({"stack_id": [0, 1], "frame_ids": [[0, 1], [0, 2]]}, schema=STACKS),
        pa.table(
            {
                "frame_id": [0, 1, 2],
                "function": [name for name, _ in frames],
                "file": ["m.py"] * 3,
                "line": [1, 2, 3],
            },
            schema=FRAMES,
        ),
        pa.Table.from_pylist(
            [
                {
                    "pid": 7,
                    "tid": 9,
                    "name": name,
                    "request_ids": [],
                    "start_ns": round(start * MS),
                    "end_ns": round(end * MS),
                    "depth": 0,
                }
                for name in ("w.forward", "w.other")
                for start, end in calls
            ],
            schema=SPANS,
        ),
    )


def test_the_witness_compares_spans_with_the_function_they_stand_for() -> None:
    """Named without its class; two spans, four edges, and what a clock 1 ms off would have shown is stated."""
    witness = austin_witness(*tables(CALLS, 0), functions={"w.forward": ["forward"]}, interval_ns=MS)
    assert (witness.count, witness.p50_ns, witness.p95_ns) == (4, 0, 0)
    assert witness.detail["contradicted_share"] == 0
    assert witness.detail["spans_without_the_function"] == 0
    assert witness.detail["p95_if_1_ms_later_ns"] > 500_000
    assert witness.detail["p95_if_1_ms_earlier_ns"] > 500_000


def test_the_witness_sees_a_wrong_clock() -> None:
    """3 ms late, as in the edges' own test: 2.25, 2.5, 2.5 and 2.75 ms."""
    witness = austin_witness(*tables(CALLS, 3), functions={"w.forward": ["Model.forward"]}, interval_ns=MS)
    assert witness.p50_ns == 2_500_000
    assert witness.p95_ns is not None
    assert 2_500_000 < witness.p95_ns <= 2_750_000
    assert witness.detail["middle_error_median_ns"] == 3_000_000


def test_without_common_functions_there_is_no_witness() -> None:
    witness = austin_witness(*tables(CALLS, 0), functions={"absent": ["forward"]}, interval_ns=MS)
    assert (witness.count, witness.p95_ns) == (0, None)


def test_a_function_that_is_never_sampled_is_counted_not_compared() -> None:
    witness = austin_witness(*tables(CALLS, 0), functions={"w.forward": ["encode"]}, interval_ns=MS)
    assert (witness.count, witness.detail["spans_without_the_function"]) == (0, 2)
