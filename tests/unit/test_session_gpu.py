"""A run with a trace of its GPU: from the files in `raw/` to tables, stages and results."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.test_session_pipeline import MS, WORKER, run
from vlmprof.cli.main import app
from vlmprof.model.gpu_result import read_gpu_result
from vlmprof.model.results import read_breakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import read_table
from vlmprof.read.spans import read_spans
from vlmprof.session.pipeline import rebuild

__all__ = ["run"]


def _event(category: str, name: str, start_ns: int, end_ns: int, number: int) -> dict[str, Any]:
    on_gpu = category in ("kernel", "gpu_memcpy")
    return {
        "ph": "X",
        "cat": category,
        "name": name,
        "pid": 0 if on_gpu else WORKER,
        "tid": 7 if on_gpu else WORKER,
        "ts": start_ns / 1000,
        "dur": (end_ns - start_ns) / 1000,
        "args": {"correlation": number, "device": 0, "stream": 7, "bytes": 1_000_000},
    }


def _write_trace(folder: RunFolder, request_id: str) -> None:
    """In worker.encoder, 50-80 ms after the request was sent: a copy, launched 51-52, runs 52-54; a kernel,
    launched 55-57, runs 60-78 while the host waits from 58 on."""
    sent_ns = next(each.sent_ns for each in read_breakdown(folder).requests if each.id == request_id)
    # The offset that the analysis takes, so that no jitter of the clocks is left.
    offsets_ns = sorted(read_spans(folder.raw).unix_minus_session_ns.values())
    unix_ns = offsets_ns[len(offsets_ns) // 2]

    def event(category: str, name: str, start_ms: int, end_ms: int, number: int) -> dict[str, Any]:
        return _event(category, name, sent_ns + start_ms * MS, sent_ns + end_ms * MS, number)

    events = [
        event("cuda_runtime", "cudaMemcpyAsync", 51, 52, 1),
        event("gpu_memcpy", "Memcpy HtoD (Pinned -> Device)", 52, 54, 1),
        event("cuda_runtime", "cudaLaunchKernel", 55, 57, 2),
        event("kernel", "gemm", 60, 78, 2),
        event("cuda_runtime", "cudaStreamSynchronize", 58, 80, 3),
    ]
    trace = {"schemaVersion": 1, "baseTimeNanoseconds": unix_ns, "traceEvents": events}
    (folder.raw / "worker.pt.trace.json").write_text(json.dumps(trace))


@pytest.fixture
def recorded(run: RunFolder) -> tuple[RunFolder, str, dict[str, dict[str, int]]]:
    """The run analysed without a trace, then with one of its last profiled request; its stages before."""
    rebuild(run)
    before = {each.id: each.stages for each in read_breakdown(run).requests}
    request_id = [each.id for each in read_breakdown(run).requests if each.phase == "profiled"][-1]
    _write_trace(run, request_id)
    rebuild(run)
    return run, request_id, before


def test_the_encoders_time_is_divided_by_what_the_gpu_did(
    recorded: tuple[RunFolder, str, dict[str, dict[str, int]]],
) -> None:
    """Of 30 ms: copy 2, kernel 18, launching 50-52 and 54-57 = 5, idle 57-60 and 78-80 = 5."""
    run, request_id, before = recorded
    after = next(each for each in read_breakdown(run).requests if each.id == request_id)
    found = {name: after.stages[name] / MS for name in ("h2d", "vision_encoder", "launch", "gpu_idle")}
    assert found == pytest.approx({"h2d": 2, "vision_encoder": 18, "launch": 5, "gpu_idle": 5}, abs=0.001)
    elsewhere = {name: ns for name, ns in after.stages.items() if name not in found}
    assert elsewhere == {name: ns for name, ns in before[request_id].items() if name != "vision_encoder"}
    assert sum(after.stages.values()) + after.unattributed_ns == after.ttft_ns


def test_other_requests_keep_their_stages(
    recorded: tuple[RunFolder, str, dict[str, dict[str, int]]],
) -> None:
    """The trace holds no work of theirs."""
    run, request_id, before = recorded
    for each in read_breakdown(run).requests:
        assert (each.id == request_id) != (each.stages == before[each.id])


def test_tables_and_results_say_what_the_gpu_did(
    recorded: tuple[RunFolder, str, dict[str, dict[str, int]]],
) -> None:
    """One kernel and one copy, both the encoder's."""
    run, request_id, _ = recorded
    rows = read_table(run, "gpu_attribution").to_pylist()
    assert [(row["table"], row["stage"], row["phase"]) for row in rows] == [
        ("gpu_kernels", "vision_encoder", "vision"),
        ("gpu_copies", "vision_encoder", "vision"),
    ]
    spans = read_table(run, "spans").to_pylist()
    assert all(request_id in spans[row["span_row"]]["request_ids"] for row in rows)
    result = read_gpu_result(run)
    assert (result.attributed.work, result.attributed.with_stage) == (2, 2)
    medians = {each.stage: each.median_ns for each in result.stages}
    # Two requests were profiled, one of them without a trace: medians are the halves.
    assert medians["h2d"] == pytest.approx(1 * MS, abs=1000)
    shown = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["gpu", str(run.path)])
    assert "Stages, by the GPU's own times" in shown.stdout
    (device,) = result.devices
    assert device.busy_ns == pytest.approx(18 * MS, abs=1000)
    assert device.idle_h2d_ns == pytest.approx(2 * MS, abs=1000)


def test_a_run_without_gpu_times_has_no_such_results(run: RunFolder, tmp_path: Path) -> None:
    """Empty tables, as before, and no results/gpu.json."""
    rebuild(run)
    assert read_table(run, "gpu_attribution").num_rows == 0
    assert not (run.results / "gpu.json").exists()
