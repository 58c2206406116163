"""Attribution of the time to first token; times are small integers, so that sums can be followed by eye."""

import itertools
from dataclasses import dataclass

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmprof.analysis.request_spans import SpanIndex
from vlmprof.analysis.stage_rules import RULES
from vlmprof.analysis.ttft import attribute
from vlmprof.model.breakdown import TtftBreakdown
from vlmprof.model.process import Role
from vlmprof.model.stages import STAGE_BY_ID
from vlmprof.model.tables import SPANS

API, CORE, WORKER, SECOND_WORKER = 10, 20, 30, 31
POOL = 11
ROLES = {
    API: Role.API_SERVER,
    CORE: Role.ENGINE_CORE,
    WORKER: Role.WORKER,
    SECOND_WORKER: Role.WORKER,
}


@dataclass(frozen=True)
class Row:
    """One row of the spans table; tid is the pid where a process has one thread."""

    name: str
    pid: int
    start_ns: int
    end_ns: int
    requests: tuple[str, ...] = ("a",)
    tid: int = 0


def _index(rows: list[Row]) -> SpanIndex:
    records = [
        {
            "pid": row.pid,
            "tid": row.tid or row.pid,
            "name": row.name,
            "request_ids": list(row.requests),
            "start_ns": row.start_ns,
            "end_ns": row.end_ns,
            "depth": 0,
        }
        for row in sorted(rows, key=lambda row: row.start_ns)
    ]
    plain = pa.schema([(field.name, _plain(field.type)) for field in SPANS])
    return SpanIndex(pa.Table.from_pylist(records, schema=plain).cast(SPANS), ROLES)


def _plain(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_dictionary(kind) else kind


def _attribute(*rows: Row, sent_ns: int = 0, first_token_ns: int = 100) -> TtftBreakdown:
    return attribute("a", sent_ns, first_token_ns, _index(list(rows)))


def test_without_spans_everything_is_unattributed() -> None:
    """100 ns of which nothing is known: one segment that no process owns."""
    breakdown = _attribute()
    assert breakdown.stages == {}
    assert breakdown.unattributed_ns == 100
    assert [(segment.start_ns, segment.end_ns, segment.pid) for segment in breakdown.segments] == [
        (0, 100, 0)
    ]


def test_another_requests_spans_say_nothing_of_this_one() -> None:
    """b's 60 ns in the worker are not a's."""
    assert _attribute(Row("worker.rpc", WORKER, 20, 80, ("b",))).unattributed_ns == 100


def test_the_network_is_what_lies_outside_the_server() -> None:
    """Sent at 0, first byte read at 10; written at 90, received at 100: network 10 + 10.

    Between the read, 10 to 20, and the write, 80 to 90, the server is inside the request: 60 ns of it unnamed.
    """
    breakdown = _attribute(
        Row("http.receive", API, 10, 20), Row("http.handle", API, 20, 90), Row("http.send", API, 80, 90)
    )
    assert breakdown.stages == {"network": 20, "http_parse": 10, "api_other": 60, "response": 10}
    assert breakdown.unattributed_ns == 0


def test_between_two_reads_of_the_body_the_request_is_on_the_wire() -> None:
    """Reads 0 to 10 and 70 to 80: 60 ns of waiting for bytes, then 20 of what follows the last span."""
    breakdown = _attribute(Row("http.receive", API, 0, 10), Row("http.receive", API, 70, 80))
    assert breakdown.stages == {"http_parse": 20, "network": 80}


def test_the_innermost_span_owns_the_instant() -> None:
    """mm.process 0-100 holds mm.hash 10-30 and mm.transform 30-90: 20 + 60, and 20 of its own."""
    breakdown = _attribute(
        Row("mm.process", API, 0, 100), Row("mm.hash", API, 10, 30), Row("mm.transform", API, 30, 90)
    )
    assert breakdown.stages == {"api_other": 20, "mm_hash": 20, "image_transform": 60}


def test_at_equal_rank_the_span_that_began_last_owns_the_instant() -> None:
    """text.template 0-100 and mm.hash 20-40 have one rank: 80 and 20."""
    assert RULES["text.template"].rank == RULES["mm.hash"].rank
    breakdown = _attribute(Row("text.template", API, 0, 100), Row("mm.hash", API, 20, 40))
    assert breakdown.stages == {"chat_template": 80, "mm_hash": 20}


def test_a_worker_goes_before_the_core_that_waits_for_it() -> None:
    """core.wait_worker 0-100 and worker.rpc 30-80: the core's 50 ns are the messages' way there and back."""
    breakdown = _attribute(Row("core.wait_worker", CORE, 0, 100), Row("worker.rpc", WORKER, 30, 80))
    assert breakdown.stages == {"ipc_transfer": 50, "worker_other": 50}


def test_a_frame_never_owns_time() -> None:
    """http.handle and api.create cover everything, and nothing else is known: no stage may be made of that."""
    breakdown = _attribute(Row("http.handle", API, 0, 100), Row("api.create", API, 5, 95))
    assert breakdown.unattributed_ns == 100


def test_a_name_of_a_newer_agent_is_left_out() -> None:
    """A span without a rule is as if it were not there."""
    assert "api.of_the_future" not in RULES
    assert _attribute(Row("api.of_the_future", API, 0, 100)).unattributed_ns == 100


def test_a_gap_of_the_event_loop_is_its_other_work() -> None:
    """Read until 10, written from 90: 80 ns in which no span of the server ran, and nobody else's either."""
    breakdown = _attribute(
        Row("http.receive", API, 0, 10), Row("http.handle", API, 10, 100), Row("http.send", API, 90, 100)
    )
    assert breakdown.stages == {"http_parse": 10, "api_other": 80, "response": 10}


def test_while_the_loop_works_for_another_the_gap_is_a_wait() -> None:
    """Of the gap 10-90 the loop spends 30-50 and 60-70 on b: 30 ns waited, 50 its own.

    b's ipc.encode 35-45 lies inside b's read and counts once.
    """
    breakdown = _attribute(
        Row("http.receive", API, 0, 10),
        Row("http.handle", API, 10, 100),
        Row("http.send", API, 90, 100),
        Row("http.receive", API, 30, 50, ("b",)),
        Row("ipc.encode", API, 35, 45, ("b",)),
        Row("http.json", API, 60, 70, ("b",)),
    )
    assert breakdown.stages == {"http_parse": 10, "api_other": 50, "event_loop_wait": 30, "response": 10}
    waits = [segment for segment in breakdown.segments if segment.stage == "event_loop_wait"]
    assert [(segment.start_ns, segment.end_ns) for segment in waits] == [(30, 50), (60, 70)]
    assert all("other requests" in segment.cause for segment in waits)


def test_a_pool_thread_working_for_another_is_no_wait_for_the_loop() -> None:
    """b is decoded in a pool thread at 30-50: the loop is free, so that a's gap 10-90 stays its own."""
    breakdown = _attribute(
        Row("http.receive", API, 0, 10),
        Row("http.handle", API, 10, 100),
        Row("http.send", API, 90, 100),
        Row("image.decode", API, 30, 50, ("b",), tid=POOL),
    )
    assert breakdown.stages["api_other"] == 80


def test_a_finished_pool_thread_waits_for_the_loop_to_see_it() -> None:
    """The pool is done at 50, the loop takes the result at 60: 10 ns of wait, none of work."""
    breakdown = _attribute(
        Row("http.handle", API, 0, 100),
        Row("mm.process", API, 0, 50, tid=POOL),
        Row("api.process_inputs", API, 60, 100),
    )
    assert breakdown.stages == {"api_other": 50, "event_loop_wait": 10, "input_process": 40}


def test_a_received_output_waits_for_the_loop() -> None:
    """Decoded until 20, looked at from 45: the output waited 25 ns for its task."""
    breakdown = _attribute(
        Row("http.handle", API, 0, 100), Row("ipc.decode", API, 0, 20), Row("out.process", API, 45, 100)
    )
    assert breakdown.stages == {"ipc_deserialize": 20, "event_loop_wait": 25, "response": 55}


def test_between_two_processes_the_request_is_transferred() -> None:
    """Encoded in the API server until 10, decoded in the core from 25: 15 ns that belong to neither."""
    breakdown = _attribute(Row("ipc.encode", API, 0, 10), Row("ipc.decode", CORE, 25, 100))
    assert breakdown.stages == {"ipc_serialize": 10, "ipc_transfer": 15, "ipc_deserialize": 75}
    transfer = breakdown.segments[1]
    assert (transfer.stage, transfer.pid, transfer.cause) == ("ipc_transfer", 0, "ipc.encode -> ipc.decode")


@pytest.mark.parametrize(
    ("before", "after", "stage"),
    [
        (Row("core.rpc", CORE, 0, 40), Row("worker.rpc", WORKER, 60, 100), "ipc_transfer"),
        (Row("worker.rpc", WORKER, 0, 40), Row("worker.rpc", SECOND_WORKER, 60, 100), "ipc_transfer"),
        (Row("core.add", CORE, 0, 40), Row("core.schedule", CORE, 60, 100), "queue"),
        (Row("core.schedule", CORE, 0, 40), Row("core.update", CORE, 60, 100), "core_other"),
        (Row("worker.execute", WORKER, 0, 40), Row("worker.execute", WORKER, 60, 100), "worker_other"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_gap_is_named_by_its_neighbours(before: Row, after: Row, stage: str) -> None:
    """The neighbours own 0-40 and 60-100; the 20 ns between them have a stage and a cause of their own."""
    (gap,) = [part for part in _attribute(before, after).segments if "->" in part.cause]
    assert (gap.stage, gap.start_ns, gap.end_ns) == (stage, 40, 60)
    assert gap.cause == f"{before.name} -> {after.name}"


def test_a_request_queues_while_the_core_runs_others() -> None:
    """Added until 10, scheduled from 60; what the core does for b meanwhile, 15-55, is what a waits for: 50 ns."""
    breakdown = _attribute(
        Row("core.add", CORE, 0, 10),
        Row("core.schedule", CORE, 15, 20, ("b",)),
        Row("core.wait_worker", CORE, 20, 55, ("b",)),
        Row("core.schedule", CORE, 60, 100),
    )
    assert breakdown.stages == {"core_other": 10, "queue": 50, "schedule": 40}


def test_the_next_decode_step_is_not_charged_to_the_first_token() -> None:
    """The first output leaves the core at 75 and the engine goes on with the second token, 80 to 200.

    To the first token: schedule 0-10, transfer 10-20, worker 20-60, transfer 60-65, update 65-70, encode 70-75,
    transfer 75-85, decode 85-90, out.process 90-95, send 95-100.
    """
    breakdown = _attribute(
        Row("http.handle", API, 0, 300),
        Row("core.schedule", CORE, 0, 10),
        Row("worker.rpc", WORKER, 20, 60),
        Row("core.update", CORE, 65, 70),
        Row("ipc.encode", CORE, 70, 75),
        Row("core.schedule", CORE, 75, 80),
        Row("worker.rpc", WORKER, 80, 200),
        Row("ipc.decode", API, 85, 90),
        Row("out.process", API, 90, 95),
        Row("http.send", API, 95, 100),
    )
    assert breakdown.stages == {
        "schedule": 10,
        "ipc_transfer": 10 + 5 + 10,
        "worker_other": 40,
        "core_other": 5,
        "ipc_serialize": 5,
        "ipc_deserialize": 5,
        "response": 10,
    }


def test_a_worker_that_ends_its_step_late_does_not_hide_the_way_out() -> None:
    """It wrote its result at 99, the core passed it on at 102, and only then it was given a core again."""
    rows = [
        Row("http.receive", API, 0, 9),
        Row("ipc.encode", API, 9, 10),
        Row("ipc.decode", CORE, 11, 12),
        Row("core.schedule", CORE, 12, 13),
        Row("worker.rpc", WORKER, 14, 110),
        Row("core.update", CORE, 100, 101),
        Row("ipc.encode", CORE, 101, 102, tid=21),
        Row("ipc.decode", API, 140, 142),
        Row("http.send", API, 142, 143),
    ]
    breakdown = attribute("a", 0, 144, _index(rows))
    assert breakdown.unattributed_ns == 0
    assert breakdown.stages["ipc_transfer"] == (11 - 10) + (14 - 13) + (140 - 102)


def test_an_unseen_engine_core_leaves_a_gap_without_a_name() -> None:
    """The API server hands over at 10, a worker begins at 40: the core between them was not seen, so no guess."""
    breakdown = _attribute(Row("ipc.encode", API, 0, 10), Row("worker.rpc", WORKER, 40, 100))
    assert breakdown.stages == {"ipc_serialize": 10, "worker_other": 60}
    assert breakdown.unattributed_ns == 30


def test_spans_outside_the_window_are_cut_at_its_ends() -> None:
    """Of http.receive 90-120 and http.send 180-230 the window 100-200 holds 20 and 20."""
    breakdown = _attribute(
        Row("http.receive", API, 90, 120),
        Row("http.handle", API, 90, 230),
        Row("http.send", API, 180, 230),
        sent_ns=100,
        first_token_ns=200,
    )
    assert breakdown.stages == {"http_parse": 20, "api_other": 60, "response": 20}


def test_neighbouring_stretches_of_one_owner_are_one_segment() -> None:
    """A frame that begins at 50 inside worker.rpc 0-100 changes nothing: one segment, not two."""
    breakdown = _attribute(Row("worker.rpc", WORKER, 0, 100), Row("core.step", CORE, 50, 60))
    assert len(breakdown.segments) == 1


_TIMES = st.tuples(st.integers(-50, 1050), st.integers(0, 400))
_ROWS = st.builds(
    lambda name, place, times, requests: Row(
        name, place[0], times[0], times[0] + times[1], tuple(sorted(requests)), place[1]
    ),
    st.sampled_from([*RULES, "beacon.a"]),
    st.sampled_from([(API, API), (API, POOL), (CORE, CORE), (WORKER, WORKER), (SECOND_WORKER, 31), (99, 99)]),
    _TIMES,
    st.sets(st.sampled_from(["a", "b"])),
)


@given(rows=st.lists(_ROWS, max_size=40), first_token_ns=st.integers(0, 1000))
def test_whatever_was_recorded_the_stages_add_up_to_the_ttft(rows: list[Row], first_token_ns: int) -> None:
    """Spans that overlap, nest, contradict one another or lie outside: each instant still has one owner."""
    breakdown = _attribute(*rows, first_token_ns=first_token_ns)
    breakdown.check()
    assert sum(breakdown.stages.values()) + breakdown.unattributed_ns == first_token_ns
    assert set(breakdown.stages) <= set(STAGE_BY_ID)
    edges = [(segment.start_ns, segment.end_ns) for segment in breakdown.segments]
    assert all(one[1] == other[0] for one, other in itertools.pairwise(edges))
    assert sum(end_ns - start_ns for start_ns, end_ns in edges) == first_token_ns
