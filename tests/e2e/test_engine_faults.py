"""An engine that fails: exit code 7 with the cause, everything ended, what was captured kept."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ENGINE_ARGS, Start
from tests.e2e.vlmprof_process import Outcome, assert_refused
from vlmprof.model.run_folder import RunFolder
from vlmprof.session.journal import REQUESTS_FILE, read_requests

pytestmark = pytest.mark.e2e

Run = Callable[..., Outcome]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def arguments(fake_model: Path, fake_python: Path, out: Path) -> list[object]:
    """A run of the fake engine that would work; the engine's arguments come last."""
    load = ["--requests", 20, "--warmup", 0, "--cpu-profiler", "none"]
    return ["run", fake_model, "--python", fake_python, "--out", out, *load, "--"]


def assert_readable(run_cli: Run, folder: Path, status: str) -> None:
    """run.json says how it ended, and the captures can be analysed."""
    assert RunFolder(folder).read_info().status == status
    outcome = run_cli("report", folder, "--rebuild")
    assert outcome.exit_code == 0, outcome.stderr
    assert f"the run is {status}" in outcome.stdout


def test_vllm_that_dies_while_loading_is_quoted(run_cli: Run, checkpoint: Path, out: Path) -> None:
    """A context longer than the model's: vLLM's own sentence about it, not a time-out; its log is kept."""
    outcome = run_cli("run", checkpoint, "--out", out, "--", "--max-model-len", "99999999")
    assert_refused(outcome, 7, "while starting", "max_model_len (99999999)", "server.log")
    assert RunFolder(out).read_info().status == "failed"
    assert "99999999" in (out / "raw" / "server.log").read_text()
    assert_readable(run_cli, out, "failed")


def test_a_worker_of_vllm_killed_in_mid_run_ends_it(
    start: Start, run_cli: Run, checkpoint: Path, out: Path
) -> None:
    """SIGKILL, as the kernel's out-of-memory killer sends it: the requests before it stay, with their stages.

    The worker takes its last quarter of a second of spans with it: it has written those of seven requests.
    """
    process = start("run", checkpoint, "--out", out, "--requests", 200, "--warmup", 2, *ENGINE_ARGS)
    process.wait_until(lambda: _finished(out) >= 7, "seventh request")
    seventh_ns = time.perf_counter_ns()
    process.wait_until(lambda: _worker(out)["flushed_ns"] > seventh_ns + 100_000_000, "spans of the worker")
    os.kill(_worker(out)["pid"], signal.SIGKILL)
    assert_refused(process.finish(), 7, "the engine", "server.log")
    assert process.left_behind() == []
    finished = [request for request in read_requests(RunFolder(out)) if not request.error]
    assert len(finished) >= 7
    assert_readable(run_cli, out, "partial")
    breakdown = json.loads((out / "results" / "breakdown.json").read_bytes())["requests"]
    assert len(breakdown) == sum(request.block >= 0 for request in finished)
    assert all(request["stages"]["vision_encoder"] > 0 for request in breakdown[:5])


def _finished(folder: Path) -> int:
    path = folder / "raw" / REQUESTS_FILE
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _worker(folder: Path) -> dict[str, Any]:
    """What the worker last said of itself."""
    sidecars = [json.loads(path.read_bytes()) for path in (folder / "raw").glob("spans.*.json")]
    (worker,) = [sidecar for sidecar in sidecars if sidecar["role"] == "worker"]
    return dict(worker)


def test_an_engine_killed_in_mid_run_keeps_what_was_measured(
    run_cli: Run, arguments: list[object], out: Path
) -> None:
    """The 8th of 20 requests kills it: 7 are whole, the rest of its block is recorded as failed."""
    outcome = run_cli(*arguments, "--die-at", 8)
    assert_refused(outcome, 7, "exit code -9", "in mid-run", "kept")
    requests = read_requests(RunFolder(out))
    assert [bool(request.error) for request in requests] == [False] * 7 + [True] * 3
    assert "exit code -9" in RunFolder(out).read_info().error
    assert_readable(run_cli, out, "partial")


def test_an_engine_killed_by_its_first_request_leaves_a_failed_run(
    run_cli: Run, arguments: list[object], out: Path
) -> None:
    """Not one request was answered."""
    assert_refused(run_cli(*arguments, "--die-at", 1), 7, "exit code -9", "in mid-run")
    assert_readable(run_cli, out, "failed")


def test_the_last_error_of_the_log_is_the_cause(run_cli: Run, arguments: list[object], out: Path) -> None:
    """Not the exit code alone, and not a time-out."""
    outcome = run_cli(*arguments, "--fail-loading", "RuntimeError: no kernel image is available")
    assert_refused(outcome, 7, "exit code 1 while starting: RuntimeError: no kernel image is available")
    assert_readable(run_cli, out, "failed")


def test_an_engine_that_never_gets_ready_is_given_up(
    run_cli: Run, arguments: list[object], out: Path
) -> None:
    """One second to start, of which it takes 60: exit code 7, and the option that waits longer."""
    arguments.insert(-1, "--ready-timeout=1")
    assert_refused(run_cli(*arguments, "--start-s", 60), 7, "not ready after 1 s", "--ready-timeout")
    assert_readable(run_cli, out, "failed")


def test_an_engine_that_refuses_everything_ends_the_run(
    run_cli: Run, arguments: list[object], out: Path
) -> None:
    """From the first of 20 on it answers 400: nothing will come of the other 15."""
    assert_refused(run_cli(*arguments, "--refuse-from", 1), 7, "all 5 requests of block 0", "no image wanted")
    requests = read_requests(RunFolder(out))
    assert [request.http_status for request in requests] == [400] * 5
    assert_readable(run_cli, out, "failed")


def test_requests_that_the_engine_refuses_are_recorded(
    run_cli: Run, arguments: list[object], out: Path
) -> None:
    """From the 4th of 20 on it answers 400: block 0 holds 3 that worked, the others none, which is a warning."""
    outcome = run_cli(*arguments, "--refuse-from", 4)
    assert outcome.exit_code == 0, outcome.stderr
    assert "the engine refused every request of a block: no image wanted" in outcome.stdout
    assert "17 requests failed" in outcome.stdout
    requests = read_requests(RunFolder(out))
    assert [request.http_status for request in requests] == [200] * 3 + [400] * 17
    assert {request.error for request in requests} == {"", "no image wanted"}
    assert RunFolder(out).read_info().status == "complete"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB; only root can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounting.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted: {mounting.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_ends_the_run_and_keeps_what_fitted(
    run_cli: Run, arguments: list[object], small_disk: Path
) -> None:
    """2 MB hold about 8 requests of a server that logs 200 kB with each; run.json still says what happened."""
    folder = small_disk / "run"
    arguments[arguments.index("--out") + 1] = folder
    assert_refused(run_cli(*arguments, "--log-bytes", 200_000), 5, "No space left on device", "--out")
    info = RunFolder(folder).read_info()
    assert info.status == "partial"
    assert "No space left" in info.error
    assert len(read_requests(RunFolder(folder))) >= 5
