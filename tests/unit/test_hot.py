"""Samples laid over the critical path."""

from typing import Any

import pyarrow as pa
import pytest

from vlmprof.analysis.hot import critical_time, hot_functions, window_time
from vlmprof.analysis.stack_table import StackTable, read_stacks
from vlmprof.model.request import Phase
from vlmprof.model.results import RequestBreakdown, SegmentResult
from vlmprof.model.tables import FRAMES, SAMPLES, STACKS

PID, TID, OTHER_TID = 10, 11, 12


def _stacks() -> StackTable:
    """Stack 0: main, resize at line 4; stack 1: main, resize at line 9; stack 2: main; 3: fib, fib, fib."""
    frames = [
        (0, "main", "m.py", 1),
        (1, "resize", "i.py", 4),
        (2, "resize", "i.py", 9),
        (3, "fib", "f.py", 2),
    ]
    frame_rows = [dict(zip(FRAMES.names, frame, strict=True)) for frame in frames]
    stacks = [[0, 1], [0, 2], [0], [3, 3, 3]]
    stack_rows = [{"stack_id": number, "frame_ids": ids} for number, ids in enumerate(stacks)]
    return read_stacks(
        pa.Table.from_pylist(stack_rows, schema=STACKS), pa.Table.from_pylist(frame_rows, schema=FRAMES)
    )


def _samples(*rows: tuple[int, int, int, int]) -> Any:
    """Rows of (tid, stack, start, duration)."""
    columns = ("tid", "stack_id", "start_ns", "duration_ns")
    dicts = [{"pid": PID, **dict(zip(columns, row, strict=True))} for row in rows]
    return pa.Table.from_pylist(dicts, schema=SAMPLES)


def _request(*segments: tuple[str, int, int, int]) -> RequestBreakdown:
    """Segments of (stage, start, end, tid), one after the other."""
    rows = [
        SegmentResult(stage=stage, start_ns=start, end_ns=end, pid=PID if tid else 0, tid=tid, cause="")
        for stage, start, end, tid in segments
    ]
    ttft_ns = rows[-1].end_ns - rows[0].start_ns
    return RequestBreakdown(
        id="r",
        phase=Phase.PROFILED,
        block=1,
        sent_ns=rows[0].start_ns,
        ttft_ns=ttft_ns,
        stages={},
        unattributed_ns=0,
        segments=rows,
    )


def test_a_sample_counts_for_each_segment_by_the_part_that_lies_in_it() -> None:
    """Sample [0, 10) over segments [2, 6) and [6, 20): 4 ns to the first stage, 4 to the second."""
    request = _request(("image_transform", 2, 6, TID), ("mm_hash", 6, 20, TID))
    stacks = _stacks()
    critical = critical_time([request], _samples((TID, 0, 0, 10)), stacks)
    [resize] = hot_functions(critical, stacks, 10)
    assert resize.stages == {"image_transform": 4, "mm_hash": 4}
    assert (critical.sampled_ns, critical.thread_ns, critical.ttft_ns) == (8, 18, 18)


def test_other_threads_and_segments_without_a_thread_count_nothing() -> None:
    """The wire's segment [0, 5) has tid 0; the sample of the other thread is not waited for."""
    request = _request(("network", 0, 5, 0), ("image_transform", 5, 10, TID))
    critical = critical_time([request], _samples((OTHER_TID, 0, 0, 10), (TID, 2, 0, 10)), _stacks())
    assert critical.time_ns.tolist() == [5]
    assert critical.tid.tolist() == [TID]


def test_self_time_goes_to_the_leaf_and_total_to_the_whole_stack() -> None:
    """6 ns in resize below main, 4 ns in main itself: main's total is 10; per request of 2 half of it."""
    requests = [_request(("image_transform", 0, 6, TID)), _request(("image_transform", 6, 10, TID))]
    stacks = _stacks()
    critical = critical_time(requests, _samples((TID, 0, 0, 6), (TID, 2, 6, 4)), stacks)
    resize, main = hot_functions(critical, stacks, 10)
    assert (resize.function, resize.self_ns, resize.total_ns, resize.share) == ("resize", 3, 3, 0.6)
    assert (main.function, main.self_ns, main.total_ns, main.share) == ("main", 2, 5, 0.4)


def test_a_function_is_placed_at_its_hottest_line() -> None:
    """resize: 3 ns at line 4, 7 ns at line 9."""
    stacks = _stacks()
    samples = _samples((TID, 0, 0, 3), (TID, 1, 3, 7))
    [resize] = hot_functions(critical_time([_request(("h2d", 0, 10, TID))], samples, stacks), stacks, 10)
    assert resize.line == 9
    assert [(line.line, line.self_ns) for line in resize.lines] == [(9, 7), (4, 3)]


def test_a_recursive_function_counts_once() -> None:
    """fib three deep for 8 ns has 8 ns of total, not 24."""
    stacks = _stacks()
    samples = _samples((TID, 3, 0, 8))
    [fib] = hot_functions(critical_time([_request(("h2d", 0, 8, TID))], samples, stacks), stacks, 10)
    assert (fib.self_ns, fib.total_ns) == (8, 8)


def test_two_requests_of_one_batch_each_waited() -> None:
    """Both wait for [0, 10) of the same thread: 20 ns of waiting, 10 ns a request."""
    request = _request(("prefill", 0, 10, TID))
    stacks = _stacks()
    critical = critical_time([request, request], _samples((TID, 0, 0, 10)), stacks)
    assert critical.sampled_ns == 20
    assert hot_functions(critical, stacks, 1)[0].self_ns == 10


def test_samples_out_of_order_and_slightly_overlapping_lose_nothing() -> None:
    """[5, 11) before [0, 6): within [0, 10) 5 ns and 6 ns."""
    samples = _samples((TID, 0, 5, 6), (TID, 2, 0, 6))
    stacks = _stacks()
    critical = critical_time([_request(("h2d", 0, 10, TID))], samples, stacks)
    assert {f.function: f.self_ns for f in hot_functions(critical, stacks, 9)} == {"main": 6, "resize": 5}


def test_one_stage_alone() -> None:
    """resize has 4 ns inside mm_hash, of a TTFT of 10."""
    request = _request(("image_transform", 0, 6, TID), ("mm_hash", 6, 10, TID))
    stacks = _stacks()
    critical = critical_time([request], _samples((TID, 0, 0, 10)), stacks)
    [resize] = hot_functions(critical.inside_stage("mm_hash"), stacks, 5)
    assert (resize.self_ns, resize.share) == (4, 0.4)


@pytest.mark.parametrize("requests", [[], [_request(("h2d", 0, 8, TID))]])
def test_a_run_without_samples_has_no_hot_functions(requests: list[RequestBreakdown]) -> None:
    """No samples, with and without requests."""
    stacks = _stacks()
    critical = critical_time(requests, _samples(), stacks)
    assert critical.sampled_ns == 0
    assert hot_functions(critical, stacks, 10) == []


def test_without_spans_what_threads_did_while_requests_waited_is_hot() -> None:
    """Requests [0, 10) and [20, 30): 4 + 4 ns of resize inside them, 6 ns of main; the rest lies outside."""
    requests = [_request(("unattributed", 0, 10, 0)), _request(("unattributed", 20, 30, 0))]
    samples = _samples((TID, 0, 6, 8), (TID, 1, 26, 9), (TID, 2, 20, 6), (TID, 2, 12, 5))
    hot = hot_functions(window_time(requests, samples, _stacks()), _stacks(), 9)
    assert {function.function: function.self_ns * 2 for function in hot} == {"resize": 8, "main": 6}


def test_requests_that_overlap_share_their_time() -> None:
    """[0, 10) and [5, 20): a sample of [0, 20) is 20 ns, not 25; one of another function shows that it moves."""
    requests = [_request(("unattributed", 0, 10, 0)), _request(("unattributed", 5, 20, 0))]
    samples = _samples((TID, 0, 0, 18), (TID, 2, 18, 2))
    assert window_time(requests, samples, _stacks()).sampled_ns == 20


def test_a_thread_that_stays_in_one_function_waits() -> None:
    """It calls native code that no stack shows; beside it a thread that moves."""
    requests = [_request(("unattributed", 0, 100, 0))]
    samples = _samples((TID, 3, 0, 50), (TID, 3, 50, 50), (OTHER_TID, 0, 0, 50), (OTHER_TID, 2, 50, 50))
    assert set(window_time(requests, samples, _stacks()).tid.tolist()) == {OTHER_TID}


def test_without_requests_or_samples_nothing_is_hot() -> None:
    """No profiled request, and a sampler that saw nothing."""
    assert window_time([], _samples((TID, 0, 0, 5)), _stacks()).sampled_ns == 0
    assert window_time([_request(("unattributed", 0, 10, 0))], _samples(), _stacks()).sampled_ns == 0
