"""A request's time in the workers, by the GPU's own times; small integers, so that sums can be followed by eye."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.gpu_timeline import PID, Timeline
from vlmprof.analysis.gpu_ttft import GpuTimes, charged
from vlmprof.analysis.merge_gpu import merge_gpu
from vlmprof.analysis.request_spans import SpanIndex
from vlmprof.analysis.ttft import attribute, breakdown_of
from vlmprof.model.breakdown import TtftBreakdown
from vlmprof.model.process import Role


def _breakdown(timeline: Timeline, request: str = "a") -> TtftBreakdown:
    """The request was sent at 0 and had its token at 100; nothing is on a machine but its worker."""
    spans, gpu = timeline.span_table(), timeline.gpu()
    index = SpanIndex(spans, {PID: Role.WORKER})
    host = attribute(request, 0, 100, index)
    attribution = merge_gpu(gpu, spans, timeline.sample_table(), {})
    segments = charged(host.segments, index.rows_of(request), GpuTimes(gpu, attribution))
    return breakdown_of(request, 0, 100, segments)


def _step(timeline: Timeline, *, forward: tuple[int, int] = (0, 40)) -> None:
    """worker.execute_model over the whole window, with the model's launches in worker.forward."""
    timeline.span("worker.execute_model", 0, 100, "a")
    timeline.span("worker.forward", *forward, "a")


def test_launching_into_an_idle_gpu_is_launch_and_the_rest_is_the_kernels() -> None:
    """Launched 5-10 in forward 0-40, runs 15-70: launch 0-10, idle with work queued 10-15, prefill 15-70.

    After 70 the host works on alone: worker_other 30.
    """
    timeline = Timeline()
    _step(timeline)
    timeline.launch(5, 10, 1)
    timeline.kernel(15, 70, 1)
    assert _breakdown(timeline).stages == {"launch": 10, "gpu_idle": 5, "prefill": 55, "worker_other": 30}


def test_in_a_synchronization_the_stage_whose_kernels_run_is_charged() -> None:
    """The host launches vision at 2 and waits in sample from 50 to 95; vision 10-60, nothing 60-70, prefill 70-90.

    launch 0-4, queued 4-10, vision 10-60, idle 60-70 and 90-95, prefill 70-90; sample's own 5 at the end.
    """
    timeline = Timeline()
    timeline.span("worker.sample_tokens", 50, 100, "a")
    timeline.span("worker.encoder", 0, 20, "a")
    timeline.span("worker.forward", 20, 50, "a")
    timeline.launch(2, 4, 1)
    timeline.kernel(10, 60, 1)
    timeline.launch(60, 61, 2, tid=99)
    timeline.launch(30, 69, 3)
    timeline.kernel(70, 90, 3)
    timeline.launch(50, 95, 4, name="cudaStreamSynchronize")
    assert _breakdown(timeline).stages == {
        "launch": 4,
        "gpu_idle": 21,
        "vision_encoder": 50,
        "prefill": 20,
        "sample": 5,
    }


def test_a_copy_hidden_behind_the_cpus_own_work_is_not_charged() -> None:
    """The copy runs 10-30 while the host prepares inputs until 50, then launches: a kernel 60-100 follows.

    input_prep 50, launch 50-55, queued 55-60, prefill 40.
    """
    timeline = Timeline()
    timeline.span("worker.prepare_inputs", 0, 50, "a")
    timeline.span("worker.forward", 50, 100, "a")
    timeline.launch(8, 9, 1, name="cudaMemcpyAsync")
    timeline.copy(10, 30, 1)
    timeline.launch(52, 55, 2)
    timeline.kernel(60, 100, 2)
    assert _breakdown(timeline).stages == {"input_prep": 50, "launch": 5, "gpu_idle": 5, "prefill": 40}


def test_a_copy_from_pageable_memory_holds_the_host() -> None:
    """cudaMemcpyAsync returns at 40 though its name says otherwise; the copy itself runs 15-35.

    input_prep 0-10 and 40-100, idle 10-15 and 35-40, h2d 20.
    """
    timeline = Timeline()
    timeline.span("worker.prepare_inputs", 0, 100, "a")
    timeline.launch(10, 40, 1, name="cudaMemcpyAsync")
    timeline.copy(15, 35, 1, source_memory="pageable")
    assert _breakdown(timeline).stages == {"input_prep": 70, "gpu_idle": 10, "h2d": 20}


def test_while_the_host_waits_the_work_of_others_is_charged_too() -> None:
    """b's decode runs 40-60 while a's host waits 30-70 for its own kernel 60-70.

    launch 0-30 less the queue's 10 (20-30), 20; idle 10 + 10 (30-40), prefill 20 + 10, forward launches on 70-100.
    """
    timeline = Timeline()
    timeline.span("worker.forward", 0, 100, "a")
    timeline.span("worker.forward", 0, 50, "b", tid=31)
    timeline.launch(2, 3, 1, tid=31)
    timeline.kernel(40, 60, 1)
    timeline.launch(15, 20, 2)
    timeline.kernel(60, 70, 2)
    timeline.launch(30, 70, 3, name="cudaEventSynchronize")
    assert _breakdown(timeline).stages == {"launch": 50, "gpu_idle": 20, "prefill": 30}


def test_a_wait_that_only_the_synchronization_record_knows_counts() -> None:
    """The call's name says nothing; its id is that of a stream's synchronization."""
    timeline = Timeline()
    timeline.span("worker.bookkeeping", 0, 100, "a")
    timeline.launch(1, 2, 1)
    timeline.kernel(10, 90, 1)
    timeline.launch(5, 95, 7, name="someWait")
    timeline.syncs.append(timeline.calls[-1] | {"kind": "stream", "device": 0, "stream": 7})
    # The kernel is bookkeeping's own, so its stage is sample; around it the GPU idles: 5-10 and 90-95.
    assert _breakdown(timeline).stages == {"sample": 90, "gpu_idle": 10}


def test_a_request_whose_work_was_not_recorded_keeps_its_spans_stages() -> None:
    """The recorder was paused: only b's kernels are known, and a's forward stays prefill."""
    timeline = Timeline()
    timeline.span("worker.forward", 0, 100, "a")
    timeline.span("worker.forward", 0, 50, "b", tid=31)
    timeline.launch(2, 3, 1, tid=31)
    timeline.kernel(40, 60, 1)
    assert _breakdown(timeline).stages == {"prefill": 100}


_WORK = st.tuples(
    st.sampled_from(["kernel", "copy", "pageable"]),
    st.integers(0, 90),
    st.integers(0, 20),
    st.integers(0, 20),
)
_SPANS = ("worker.forward", "worker.encoder", "worker.h2d", "worker.prepare_inputs", "worker.sample")


@given(
    st.lists(_WORK, max_size=10),
    st.lists(st.tuples(st.sampled_from(_SPANS), st.integers(0, 90), st.integers(1, 40)), max_size=5),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 30)), max_size=3),
)
def test_stages_always_add_up_to_the_ttft(
    work: list[tuple[str, int, int, int]], spans: list[tuple[str, int, int]], waits: list[tuple[int, int]]
) -> None:
    """Whatever runs when: breakdown_of checks the sum and the tiling, here the pieces' order again."""
    timeline = Timeline()
    timeline.span("worker.rpc", 5, 95, "a")
    for name, start_ns, length_ns in spans:
        timeline.span(name, start_ns, min(100, start_ns + length_ns), "a")
    for number, (kind, call_ns, wait_ns, length_ns) in enumerate(work, 1):
        timeline.launch(call_ns, call_ns + 3, number)
        start_ns = call_ns + wait_ns
        if kind == "kernel":
            timeline.kernel(start_ns, start_ns + length_ns, number)
        else:
            memory = "pageable" if kind == "pageable" else "pinned"
            timeline.copy(start_ns, start_ns + length_ns, number, source_memory=memory)
    for start_ns, length_ns in waits:
        timeline.launch(start_ns, start_ns + length_ns, 0, name="cudaDeviceSynchronize")
    breakdown = _breakdown(timeline)
    assert sum(breakdown.stages.values()) + breakdown.unattributed_ns == 100
    assert all(one.end_ns == two.start_ns for one, two in itertools.pairwise(breakdown.segments))
