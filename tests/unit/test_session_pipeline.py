"""From raw captures to results: span files written by the agent's own recorder, requests by the journal."""

import os
import threading
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from vlmprof.agent import recorder as recorder_module
from vlmprof.agent.recorder import Recorder, Requests
from vlmprof.errors import ExitCode, FileUnreadable
from vlmprof.model.request import Phase, Request
from vlmprof.model.results import BreakdownResult, RequestBreakdown, read_breakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import SCHEMA_VERSION, HostInfo, ModelInfo, RunInfo, StepInfo
from vlmprof.model.table_io import read_table
from vlmprof.read.spans import read_spans
from vlmprof.session.journal import Journal
from vlmprof.session.pipeline import _not_steady, rebuild
from vlmprof.session.served_requests import requests_from_spans

US = 1_000
MS = 1_000_000
API, CORE, WORKER = 4101, 4188, 4243
_ROLES = {API: "api_server", CORE: "engine_core", WORKER: "worker"}
_TTFT_NS = 100 * MS


class _Step(NamedTuple):
    """A span of every request: process, name, and when, in ms after the request was sent."""

    pid: int
    name: str
    start_ms: int
    end_ms: int


# What each request does; its first token comes after 100 ms.
_STEPS = (
    _Step(API, "http.receive", 1, 2),
    _Step(API, "http.handle", 2, 110),
    _Step(API, "mm.transform", 10, 40),
    _Step(API, "ipc.encode", 40, 41),
    _Step(CORE, "ipc.decode", 45, 46),
    _Step(CORE, "core.schedule", 46, 47),
    _Step(WORKER, "worker.encoder", 50, 80),
    _Step(CORE, "core.update", 85, 86),
    _Step(CORE, "ipc.encode", 86, 87),
    _Step(API, "ipc.decode", 90, 91),
    _Step(API, "out.process", 91, 92),
    _Step(API, "http.send", 98, 99),
)
# By hand: until 1, from 99; 1-2; 2-10 and 92-98; 10-40; both encodes; both decodes; 41-45, 47-50, 80-85, 87-90.
_STAGES_MS = {
    "network": 1 + 1,
    "http_parse": 1,
    "api_other": 8 + 6,
    "image_transform": 30,
    "ipc_serialize": 1 + 1,
    "ipc_deserialize": 1 + 1,
    "ipc_transfer": 4 + 3 + 5 + 3,
    "schedule": 1,
    "vision_encoder": 30,
    "core_other": 1,
    "response": 1 + 1,
}


def _write_process(raw: Path, pid: int, spans: list[tuple[str, int, int, Requests]]) -> None:
    """One process's span files, by a recorder that believes to be that process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid)
        patch.setattr(threading, "get_native_id", lambda: pid)
        patch.setattr(recorder_module, "process_role", lambda: (_ROLES[pid], 0 if pid == WORKER else None))
        recorder = Recorder(str(raw))
        for name, start_ns, end_ns, requests in spans:
            recorder.add(recorder.name_id(name), start_ns, end_ns, requests)
        recorder.flush()


def _write_spans(raw: Path, sent_ns: dict[str, int]) -> None:
    for pid in _ROLES:
        _write_process(
            raw,
            pid,
            [
                (step.name, at_ns + step.start_ms * MS, at_ns + step.end_ms * MS, request_id)
                for request_id, at_ns in sent_ns.items()
                for step in _STEPS
                if step.pid == pid
            ],
        )


def _request(number: int, phase: Phase, block: int, error: str = "") -> Request:
    sent_ns = number * 200 * MS
    return Request(
        id=f"r-{number}",
        phase=phase,
        block=block,
        sent_ns=sent_ns,
        first_token_ns=None if error else sent_ns + _TTFT_NS,
        done_ns=sent_ns + 120 * MS,
        prompt_tokens=90,
        image_tokens=64,
        output_tokens=4,
        images=(),
        error=error,
    )


def _info() -> RunInfo:
    return RunInfo(
        schema_version=SCHEMA_VERSION,
        vlmprof_version="0.1.0",
        name="run",
        status="running",
        created_unix_ns=1,
        command=["vlmprof", "run"],
        model=ModelInfo(name="m"),
        host=HostInfo(cpu="c", cores=2, memory_bytes=1, kernel="k", os="o"),
    )


_REQUESTS = [
    _request(1, Phase.WARM_UP, -1),
    _request(2, Phase.CONTROL, 0),
    _request(3, Phase.PROFILED, 1),
    _request(4, Phase.PROFILED, 2),
    _request(5, Phase.CONTROL, 3, "HTTP 500"),
    _request(6, Phase.CONTROL, 3),
]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A measured run that has not been analysed: one warm-up, two control, two profiled, one failed."""
    folder = RunFolder.create(tmp_path / "run")
    journal = Journal(folder, _info())
    for request in _REQUESTS:
        journal.add_request(request)
    journal.close("complete")
    _write_spans(folder.raw, {request.id: request.sent_ns for request in _REQUESTS})
    return folder


def _in_ms(request: RequestBreakdown) -> dict[str, float]:
    return {stage: time_ns / MS for stage, time_ns in request.stages.items()}


def test_each_requests_stages_are_those_worked_out_by_hand(run: RunFolder) -> None:
    """100 ms of 11 stages, nothing unattributed; the warm-up and the failed request are left out."""
    rebuild(run)
    requests = read_breakdown(run).requests
    assert [request.id for request in requests] == ["r-2", "r-3", "r-4", "r-6"]
    assert sum(_STAGES_MS.values()) == 100
    for request in requests:
        assert _in_ms(request) == _STAGES_MS
        assert (request.ttft_ns, request.unattributed_ns) == (_TTFT_NS, 0)


def test_the_summary_speaks_for_the_control_requests(run: RunFolder) -> None:
    """Two of them at 100 ms; image transform is 30 ms of each, 30%; one request failed."""
    summary = rebuild(run)
    assert summary.headline == Phase.CONTROL
    assert summary.ttft is not None
    assert (summary.ttft.requests, summary.ttft.mean_ns) == (2, _TTFT_NS)
    transform = next(stage for stage in summary.stages if stage.stage == "image_transform")
    assert transform.median_ns == 30 * MS
    assert transform.share == pytest.approx(0.3)
    assert summary.failed_requests == 1
    assert any("1 requests failed" in warning for warning in run.read_info().all_warnings)


def test_tables_and_run_json_tell_of_all_that_was_captured(run: RunFolder) -> None:
    """Six requests of 12 spans each; three processes, each with its agent; spans are on the session clock."""
    rebuild(run)
    assert read_table(run, "requests").num_rows == 6
    assert read_table(run, "spans").num_rows == 6 * 12
    processes = read_table(run, "processes").to_pylist()
    assert {row["pid"]: row["role"] for row in processes} == _ROLES
    info = run.read_info()
    assert {agent.pid for agent in info.agents} == set(_ROLES)
    assert [(clock.source, clock.uncertainty_ns) for clock in info.clocks] == [("spans", 0)]
    assert info.status == "complete"


def _results(folder: RunFolder) -> dict[str, bytes]:
    paths = [folder.info_path, *folder.results.iterdir(), *folder.tables.iterdir()]
    return {path.name: path.read_bytes() for path in paths}


def test_analysing_again_gives_the_same_bytes(run: RunFolder) -> None:
    """Everything in tables, results and run.json comes from raw alone; warnings are not repeated."""
    rebuild(run)
    first = _results(run)
    rebuild(run)
    assert _results(run) == first


def test_a_run_that_was_killed_is_analysed_as_far_as_it_went(run: RunFolder) -> None:
    """The worker's files are gone and the last request's line is torn: three requests, exact as ever."""
    for path in run.raw.glob(f"spans.{WORKER}.*"):
        path.unlink()
    requests = run.raw / "requests.jsonl"
    requests.write_bytes(requests.read_bytes()[:-20])
    rebuild(run)
    found = read_breakdown(run).requests
    assert [request.id for request in found] == ["r-2", "r-3", "r-4"]
    for request in found:
        assert "vision_encoder" not in request.stages
        assert sum(request.stages.values()) + request.unattributed_ns == _TTFT_NS


def test_a_run_without_spans_is_unattributed_and_says_so(run: RunFolder) -> None:
    """The agent did not load: 100 ms of each request have no name, and that is a warning."""
    for path in run.raw.glob("spans.*"):
        path.unlink()
    rebuild(run)
    assert {request.unattributed_ns for request in read_breakdown(run).requests} == {_TTFT_NS}
    assert "100.0% of the worst request's TTFT is unattributed" in run.read_info().all_warnings


@pytest.mark.parametrize(
    ("ttft_ms", "told"),
    [
        (range(420, 180, -20), "to 230 ms in the last: the server had not settled; let it serve more"),
        (
            range(200, 440, 20),
            "to 390 ms in the last: the server got slower while it served; is more sent than",
        ),
    ],
    ids=["settles", "slows down"],
)
def test_a_trend_is_told_with_advice_for_its_direction(ttft_ms: range, told: str) -> None:
    """More warm-up helps a server that settles; one that gets slower would only get slower still."""
    plain = RequestBreakdown(
        id="", phase=Phase.CONTROL, block=0, sent_ns=0, ttft_ns=0, stages={}, unattributed_ns=0, segments=[]
    )
    requests = [msgspec.structs.replace(plain, ttft_ns=each * MS) for each in ttft_ms]
    (warning,) = _not_steady(_info(), BreakdownResult(requests=requests))
    assert told in warning
    assert ("--warmup" in warning) == (ttft_ms.step < 0)


def test_a_run_of_a_newer_schema_is_refused(run: RunFolder) -> None:
    """Exit code 5, naming both versions; what is there is not touched."""
    newer = msgspec.structs.replace(_info(), schema_version=SCHEMA_VERSION + 1)
    run.write_info(newer)
    before = run.info_path.read_bytes()
    with pytest.raises(FileUnreadable, match=f"schema version {SCHEMA_VERSION + 1}") as refused:
        rebuild(run)
    assert refused.value.exit_code == ExitCode.FILE_UNREADABLE
    assert "upgrade" in refused.value.hint
    assert run.info_path.read_bytes() == before


def test_a_load_commands_requests_are_rebuilt_from_the_spans(run: RunFolder) -> None:
    """Two requests, at 1 s and 12 s: from the first byte read, 1 ms after sending, to the end of the send, 99 ms.

    Blocks: 0 is control, 0 to 10 s; 1 is profiled, from 10 s on. One that got no output is no request.
    """
    (run.raw / "requests.jsonl").unlink()
    for path in run.raw.glob("spans.*"):
        path.unlink()
    _write_spans(run.raw, {"x": 1_000 * MS, "y": 12_000 * MS})
    steps = [
        StepInfo(name="Start server", start_ns=-5_000 * MS, end_ns=0),
        StepInfo(name="Block 0 (control)", start_ns=0, end_ns=10_000 * MS),
        StepInfo(name="Block 1 (profiled)", start_ns=10_000 * MS),
    ]
    run.write_info(msgspec.structs.replace(_info(), steps=steps))
    rebuild(run)
    found = read_breakdown(run).requests
    assert [(one.id, one.phase, one.block) for one in found] == [
        ("x", Phase.CONTROL, 0),
        ("y", Phase.PROFILED, 1),
    ]
    assert [(one.sent_ns, one.ttft_ns) for one in found] == [(1_001 * MS, 98 * MS), (12_001 * MS, 98 * MS)]


@pytest.mark.parametrize(
    ("sends_ms", "first_token_ms"),
    [
        ([(5, 6), (50, 51), (60, 61), (70, 71)], 61),
        ([(50, 51), (60, 61)], 51),
        ([(60, 61)], 61),
        ([(5, 6)], None),
    ],
    ids=["stream", "not streamed", "one send", "cut off"],
)
def test_the_first_token_is_in_the_second_chunk_of_a_stream(
    sends_ms: list[tuple[int, int]], first_token_ms: int | None, tmp_path: Path
) -> None:
    """Output is processed until 40 ms. A stream's headers go before, then the role, then the token.

    An answer that is not streamed sends headers and body after its output, and its client has it with the last.
    """
    spans: list[tuple[str, int, int, Requests]] = [
        ("http.receive", 0, 1 * MS, "a"),
        ("out.process", 30 * MS, 40 * MS, "a"),
        *(("http.send", start_ms * MS, end_ms * MS, "a") for start_ms, end_ms in sends_ms),
    ]
    _write_process(tmp_path, API, spans)
    (request,) = requests_from_spans(read_spans(tmp_path), [])
    assert request.first_token_ns == (None if first_token_ms is None else first_token_ms * MS)
    assert (request.phase, request.block) == (Phase.WARM_UP, -1)
