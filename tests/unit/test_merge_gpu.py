"""GPU work joined to its call, span, stage, phase and stack: by hand, by SQL, against a slow reference."""

import sqlite3
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.gpu_timeline import PID, Timeline
from tests.unit.shared_data import shared_file
from vlmprof.analysis.gpu_tables import GpuTables
from vlmprof.analysis.merge_gpu import merge_gpu
from vlmprof.analysis.merge_gpu_spans import EnclosingSpans
from vlmprof.model.tables import GPU_ATTRIBUTION, SAMPLES, SPANS
from vlmprof.read.kineto import read_kineto
from vlmprof.read.nsys_sqlite import read_gpu


def _merged(timeline: Timeline, **first_output_ns: int) -> list[dict[str, Any]]:
    made = merge_gpu(timeline.gpu(), timeline.span_table(), timeline.sample_table(), first_output_ns)
    assert made.schema == GPU_ATTRIBUTION
    rows: list[dict[str, Any]] = made.to_pylist()
    return rows


def test_a_kernel_gets_what_its_launching_thread_was_in() -> None:
    """Launched at 30 inside connector (20-40) in encoder (10-60), though it runs at 70: connector's, vision.

    Samples are taken at 28 and 38: the first is nearer to 30.
    """
    timeline = Timeline()
    timeline.span("worker.encoder", 10, 60, "a")
    timeline.span("worker.connector", 20, 40, "a")
    timeline.sample(18, 10, stack_id=5)
    timeline.sample(28, 10, stack_id=6)
    timeline.launch(30, 32, 9)
    timeline.kernel(70, 90, 9)
    (row,) = _merged(timeline)
    assert (row["table"], row["row"], row["call_row"], row["tid"], row["span_row"]) == (
        "gpu_kernels",
        0,
        0,
        PID,
        1,
    )
    assert (row["stage"], row["phase"], row["stack_id"]) == ("connector", "vision", 5)


def test_a_span_without_a_stage_leaves_that_of_the_one_around_it() -> None:
    """A library's own range lies between the call and worker.forward: the span is its, the stage prefill."""
    timeline = Timeline()
    timeline.span("worker.forward", 0, 100, "a")
    timeline.span("flash_attn", 10, 20)
    timeline.launch(12, 13, 1)
    timeline.kernel(30, 40, 1)
    (row,) = _merged(timeline, a=500)
    assert (row["span_row"], row["stage"], row["phase"]) == (1, "prefill", "prefill")


def test_all_nodes_of_a_graph_belong_to_its_launch() -> None:
    """Three kernels with the id of one cudaGraphLaunch."""
    timeline = Timeline()
    timeline.span("worker.forward", 0, 10, "a")
    timeline.launch(1, 2, 4, name="cudaGraphLaunch")
    for node in range(3):
        timeline.kernel(10 + node, 11 + node, 4, graph_node_id=node)
    rows = _merged(timeline)
    assert [(row["call_row"], row["stage"]) for row in rows] == [(0, "prefill")] * 3


def test_an_id_is_its_processs_own_and_0_is_none() -> None:
    """Two processes use id 3; work with id 0 and work whose launch was not recorded have no call."""
    timeline = Timeline()
    timeline.launch(1, 2, 3)
    timeline.launch(2, 3, 3, pid=31, tid=77)
    timeline.launch(3, 4, 0)
    timeline.kernel(10, 11, 3, pid=31)
    timeline.kernel(11, 12, 3)
    timeline.kernel(12, 13, 0)
    timeline.kernel(13, 14, 8)
    rows = _merged(timeline)
    assert [(row["call_row"], row["tid"]) for row in rows] == [(1, 77), (0, PID), (None, None), (None, None)]


def test_of_two_calls_with_one_id_the_last_before_the_work_counts() -> None:
    """Two recordings of one process: launches at 10 and 1000, kernels at 20, 1010 and, unlaunched, at 5."""
    timeline = Timeline()
    timeline.launch(10, 11, 6)
    timeline.launch(1000, 1001, 6)
    for start_ns in (5, 20, 1010):
        timeline.kernel(start_ns, start_ns + 1, 6)
    assert [row["call_row"] for row in _merged(timeline)] == [0, 0, 1]


def test_a_step_is_a_decode_once_all_its_requests_have_their_first_token() -> None:
    """a has its token at 100, b at 300: steps at 50 and 150 are prefills, that at 350 a decode.

    A step of no request, as a warm-up's, has no phase; vLLM's annotation says it by itself.
    """
    timeline = Timeline()
    for start_ns, requests in ((50, ("a",)), (150, ("a", "b")), (350, ("a", "b")), (450, ())):
        timeline.span("worker.forward", start_ns, start_ns + 10, *requests)
    timeline.span("execute_context_0(0)_generation_2(2)", 500, 510)
    timeline.span("execute_8192_context_9(sq8155sk8430)_generation_37(sq37)", 600, 610)
    for number, start_ns in enumerate((50, 150, 350, 450, 500, 600), 1):
        timeline.launch(start_ns + 1, start_ns + 2, number)
        timeline.kernel(start_ns + 5, start_ns + 6, number)
    phases = [row["phase"] for row in _merged(timeline, a=100, b=300)]
    assert phases == ["prefill", "prefill", "decode", None, "decode", "prefill"]


def test_a_sample_from_before_the_sampler_paused_says_nothing() -> None:
    """A sample of 10 ns taken at 20 speaks for calls from 10 to 30, not for one at 31."""
    timeline = Timeline()
    timeline.sample(10, 10, stack_id=1)
    for number, start_ns in enumerate((9, 10, 30, 31), 1):
        timeline.launch(start_ns, start_ns + 1, number)
        timeline.kernel(40 + number, 41 + number, number)
    assert [row["stack_id"] for row in _merged(timeline)] == [None, 1, 1, None]


def test_copies_follow_kernels_and_count_their_own_rows() -> None:
    """One kernel, two copies: rows 0, 0 and 1."""
    timeline = Timeline()
    timeline.kernel(1, 2, 0)
    timeline.copy(3, 4, 0)
    timeline.copy(5, 6, 0)
    rows = _merged(timeline)
    assert [(row["table"], row["row"]) for row in rows] == [
        ("gpu_kernels", 0),
        ("gpu_copies", 0),
        ("gpu_copies", 1),
    ]


_SPAN = st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 12))


@given(st.lists(_SPAN, max_size=12))
def test_the_innermost_span_is_the_open_one_that_began_last(spans: list[tuple[int, int, int]]) -> None:
    """On three threads, nested or not, against a search through all; spans with equal times either way."""
    columns = np.array(spans, np.int64).reshape(-1, 3)
    tid, start_ns, end_ns = columns[:, 0], columns[:, 1], columns[:, 1] + columns[:, 2]
    pid = np.full(len(tid), PID)
    lookup = EnclosingSpans(pid, tid, start_ns, end_ns, np.arange(len(tid)))
    for thread in range(3):
        at_ns = np.arange(45)
        found = lookup.at(np.full(45, PID), np.full(45, thread), at_ns)
        for instant, row in zip(at_ns.tolist(), found.tolist(), strict=True):
            is_open = (tid == thread) & (start_ns <= instant) & (instant < end_ns)
            if row < 0:
                assert not is_open.any()
            else:
                assert is_open[row]
                assert start_ns[row] == start_ns[is_open].max()
                assert end_ns[row] == end_ns[is_open & (start_ns == start_ns[row])].min()


def test_real_kernels_have_the_call_that_sql_finds() -> None:
    """Two processes of which 78 ids collide: the rows that a join by process and id gives."""
    path = shared_file("nsys", "c8f71ebb")
    trace = read_gpu(path)
    gpu = GpuTables(trace.kernels, trace.copies, trace.calls, trace.syncs)
    made = merge_gpu(gpu, SPANS.empty_table(), SAMPLES.empty_table(), {})
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        (expected,) = database.execute(
            """SELECT count(*) FROM CUPTI_ACTIVITY_KIND_KERNEL k JOIN CUPTI_ACTIVITY_KIND_RUNTIME r
            ON r.correlationId = k.correlationId AND r.globalTid >> 24 = k.globalPid >> 24"""
        ).fetchone()
    of_kernels = made.slice(0, trace.kernels.num_rows)
    assert trace.kernels.num_rows - of_kernels["call_row"].null_count == expected


@pytest.mark.parametrize(("fragment", "work"), [("2bd22c87", 423), ("e443f32f", 929)])
def test_every_kernel_of_a_real_trace_finds_its_launch(fragment: str, work: int) -> None:
    """gpt-oss under vLLM, with HIP graphs and without: graph nodes too, all inside the annotated prefill step."""
    trace = read_kineto(shared_file("kineto", fragment)).gpu
    gpu = GpuTables(trace.kernels, trace.copies, trace.calls, trace.syncs)
    made = merge_gpu(gpu, SPANS.empty_table(), SAMPLES.empty_table(), {})
    assert (made.num_rows, made["call_row"].null_count) == (work, 0)
