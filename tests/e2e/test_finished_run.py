"""One run of the real vLLM under the real austin, as `vlmprof run CHECKPOINT` leaves it."""

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from tests.e2e.conftest import FinishedRun
from tests.e2e.vlmprof_process import Outcome
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import RunInfo
from vlmprof.model.table_io import read_table

pytestmark = pytest.mark.e2e

SERVED_ROLES = {"api_server", "engine_core", "worker"}
STAGES_OF_EVERY_REQUEST = {
    "network",
    "http_parse",
    "image_decode",
    "image_transform",
    "mm_hash",
    "chat_template",
    "tokenize",
    "ipc_serialize",
    "ipc_transfer",
    "ipc_deserialize",
    "schedule",
    "input_prep",
    "vision_encoder",
    "prefill",
    "sample",
    "detokenize",
    "response",
}


@pytest.fixture
def folder(finished_run: FinishedRun) -> RunFolder:
    return RunFolder(finished_run.folder)


@pytest.fixture
def info(folder: RunFolder) -> RunInfo:
    return folder.read_info()


@pytest.fixture
def breakdown(folder: RunFolder) -> list[dict[str, Any]]:
    """The requests of results/breakdown.json as another program reads them."""
    requests: list[dict[str, Any]] = json.loads((folder.results / "breakdown.json").read_bytes())["requests"]
    return requests


def _by_pid(folder: RunFolder, table: str) -> dict[int, int]:
    """How many rows each process has in a table."""
    counts = read_table(folder, table)["pid"].value_counts().to_pylist()
    return {row["values"]: row["counts"] for row in counts}


def _served(folder: RunFolder) -> dict[int, str]:
    processes = read_table(folder, "processes").to_pylist()
    return {row["pid"]: row["role"] for row in processes if row["role"] in SERVED_ROLES}


def test_stages_of_every_request_add_up_to_its_ttft_exactly(breakdown: list[dict[str, Any]]) -> None:
    """16 requests, 8 control and 8 profiled; the 2 of the warm-up are left out; integers, no tolerance."""
    assert [request["phase"] for request in breakdown].count("control") == 8
    assert [request["phase"] for request in breakdown].count("profiled") == 8
    for request in breakdown:
        assert sum(request["stages"].values()) + request["unattributed_ns"] == request["ttft_ns"]


def test_segments_of_every_request_tile_its_window(breakdown: list[dict[str, Any]]) -> None:
    """Each begins where the one before it ended, from the sending to the first token."""
    for request in breakdown:
        ends = [request["sent_ns"], *(segment["end_ns"] for segment in request["segments"])]
        assert [segment["start_ns"] for segment in request["segments"]] == ends[:-1]
        assert ends[-1] == request["sent_ns"] + request["ttft_ns"]


def test_ttft_is_what_the_client_timed(folder: RunFolder, breakdown: list[dict[str, Any]]) -> None:
    """ttft_ns is first_token_ns - sent_ns of the same request in requests.parquet."""
    timed = {
        row["id"]: row["first_token_ns"] - row["sent_ns"]
        for row in read_table(folder, "requests").to_pylist()
        if row["phase"] != "warm-up"
    }
    assert {request["id"]: request["ttft_ns"] for request in breakdown} == timed


def test_hardly_anything_is_unattributed(breakdown: list[dict[str, Any]]) -> None:
    """At most 1% of the TTFT in the median request, 3% in the worst."""
    shares = [request["unattributed_ns"] / request["ttft_ns"] for request in breakdown]
    assert statistics.median(shares) <= 0.01
    assert max(shares) <= 0.03


def test_every_request_went_through_the_stages_that_none_can_skip(breakdown: list[dict[str, Any]]) -> None:
    """One image, one prompt, one sampled token each: these have time of their own in all 16."""
    for request in breakdown:
        taken = {stage for stage, time_ns in request["stages"].items() if time_ns > 0}
        assert taken >= STAGES_OF_EVERY_REQUEST


def test_requests_carry_what_the_server_counted(folder: RunFolder) -> None:
    """A 640x480 image is 17 tiles of 64 tokens for SmolVLM-256M with its 4x3 splits: over 800 image tokens."""
    rows = read_table(folder, "requests").to_pylist()
    assert len(rows) == 18
    assert len({name for row in rows for name in row["image_names"]}) == 18
    for row in rows:
        assert row["error"] == ""
        assert row["http_status"] == 200
        assert row["output_tokens"] == 16
        assert row["prompt_tokens"] > row["image_tokens"] > 800
        assert (row["image_widths"], row["image_heights"]) == ([640], [480])


def test_every_part_of_the_server_is_known_and_recorded(folder: RunFolder) -> None:
    """API server, engine core and worker 0, each with spans."""
    served = _served(folder)
    assert sorted(served.values()) == sorted(SERVED_ROLES)
    spans = _by_pid(folder, "spans")
    assert all(spans.get(pid, 0) > 100 for pid in served)


def test_austin_sampled_every_served_process_in_the_profiled_blocks_only(
    folder: RunFolder, info: RunInfo
) -> None:
    """Its exit code says nothing, so its samples are counted.

    A paused round may reach over a block's end, and clocks are not exact: 0.1 s at either end may hold some.
    """
    _skip_without_austin(info)
    samples = _by_pid(folder, "samples")
    assert all(samples.get(pid, 0) > 100 for pid in _served(folder))
    table = read_table(folder, "samples")
    controls = [step for step in info.steps if "control" in step.name]
    for step in controls:
        begun = pc.greater(table["start_ns"], step.start_ns + 100_000_000)
        inside = pc.and_(begun, pc.less(table["start_ns"], (step.end_ns or 0) - 100_000_000))
        assert table.filter(inside).num_rows == 0


def test_clocks_come_with_an_uncertainty_and_a_witness(info: RunInfo) -> None:
    """Spans define the session clock; every sampled part of the server that runs spans has a witness."""
    by_source = {clock.source: clock for clock in info.clocks}
    assert by_source["spans"].uncertainty_ns == 0
    _skip_without_austin(info)
    witnessed = [clock for clock in info.clocks if clock.source.startswith("austin:") and clock.witness_count]
    assert len(witnessed) >= 2
    for clock in witnessed:
        assert clock.uncertainty_ns > 0
        assert clock.witness_p95_ns is not None


def test_the_agent_found_every_boundary(info: RunInfo) -> None:
    """Nothing is missing in this version of vLLM, no span was dropped."""
    agents = {agent.role: agent for agent in info.agents}
    assert set(agents) >= {"api_server", "engine_core", "worker 0"}
    for agent in info.agents:
        assert agent.missing == []
        assert agent.dropped == 0
        assert agent.patched > 0


def test_run_json_says_what_was_run_and_how_far_it_can_be_trusted(info: RunInfo) -> None:
    """Status, engine on loopback, the collectors with their reasons, overhead with its interval."""
    assert info.status == "complete"
    assert info.error == ""
    assert info.engine is not None
    assert "127.0.0.1" in info.engine.command
    assert "--enforce-eager" in info.engine.command
    assert info.engine.packages["python"]
    assert {collector.kind for collector in info.collectors} >= {"cpu", "gpu"}
    assert all(collector.reason for collector in info.collectors)
    assert info.overhead is not None
    assert info.overhead.low <= info.overhead.ratio <= info.overhead.high
    assert all(step.end_ns is not None for step in info.steps)


def test_no_cache_flattered_the_result(info: RunInfo) -> None:
    """18 images asked of the multimodal cache, none answered; the engine's own counters."""
    assert info.cache_policy is not None
    assert info.cache_policy.distinct_images
    assert info.cache_policy.counters["mm_cache_queries"] == 18
    assert info.cache_policy.counters["mm_cache_hits"] == 0


def test_hot_functions_name_file_and_line(folder: RunFolder, info: RunInfo) -> None:
    """The hottest have a source file and the line that took most time."""
    _skip_without_austin(info)
    summary = json.loads((folder.results / "summary.json").read_bytes())
    hot = summary["hot"]
    assert len(hot) >= 10
    assert all(function["file"] for function in hot[:10])
    assert any(function["file"].endswith(".py") and function["line"] > 0 for function in hot[:3])


def test_the_report_is_one_page_that_asks_nothing_of_the_network(finished_run: FinishedRun) -> None:
    """No src or href leads to another host."""
    page = (finished_run.folder / "report.html").read_text()
    assert len(page) > 100_000
    assert (
        re.findall(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)\s*=\s*["']?(?:https?:)?//""", page) == []
    )
    assert "@import" not in page


def test_the_terminal_shows_the_waterfall_and_where_the_report_is(finished_run: FinishedRun) -> None:
    """Results go to stdout; what the command was doing, with the profilers' reasons, to stderr."""
    outcome = finished_run.outcome
    for words in ("TTFT", "Where the time goes", "vision encoder", "unattributed", "report.html"):
        assert words in outcome.stdout
    for words in ("CPU profiler:", "GPU profiler:", "Starting vLLM", "Analysing"):
        assert words in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_no_process_is_left(finished_run: FinishedRun) -> None:
    """Neither a part of the server nor a sampler outlives the command."""
    assert finished_run.left_behind == []


def test_a_copied_folder_gives_the_same_results(
    finished_run: FinishedRun, run_copy: Path, run_cli: Callable[..., Outcome]
) -> None:
    """Analysed again elsewhere, from `raw/` alone: the same breakdown to the byte."""
    before = (finished_run.folder / "results" / "breakdown.json").read_bytes()
    for derived in ("results/breakdown.json", "results/summary.json", "report.html"):
        (run_copy / derived).unlink()
    outcome = run_cli("report", run_copy, "--rebuild", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert (run_copy / "results" / "breakdown.json").read_bytes() == before
    document = json.loads(outcome.stdout)
    assert document["summary"] == json.loads((finished_run.folder / "results" / "summary.json").read_bytes())
    assert Path(document["report"]).is_file()


def _skip_without_austin(info: RunInfo) -> None:
    cpu = next(collector for collector in info.collectors if collector.kind == "cpu")
    if cpu.name != "austin":
        pytest.skip(f"austin did not run: {cpu.reason}")
