"""Ctrl-C, SIGTERM and SIGKILL in every phase: nothing is left running, and what was captured can be read."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import ENGINE_ARGS, Start
from tests.e2e.vlmprof_process import Outcome, assert_refused
from vlmprof.collect.permission import probe_permission
from vlmprof.model.run_folder import RunFolder
from vlmprof.session.journal import read_requests

pytestmark = pytest.mark.e2e

Run = Callable[..., Outcome]
INTERRUPTED = 130
ENDS_WITHIN_S = 120.0


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def arguments(fake_model: Path, fake_python: Path, out: Path) -> list[object]:
    """A long run of the fake engine, sampled as far as that is permitted; the engine's arguments come last."""
    load = ["--requests", 200, "--warmup", 4]
    return ["run", fake_model, "--python", fake_python, "--out", out, *load, "--", "--first-token-s", 0.1]


def assert_partial(run_cli: Run, folder: Path) -> None:
    """run.json says that it was interrupted; the captures can be analysed and shown."""
    info = RunFolder(folder).read_info()
    assert (info.status, info.error) == ("partial", "interrupted")
    outcome = run_cli("report", folder, "--rebuild")
    assert outcome.exit_code == 0, outcome.stderr
    assert "the run is partial" in outcome.stdout
    assert (folder / "report.html").is_file()


def test_ctrl_c_while_checking_leaves_nothing(start: Start, arguments: list[object], out: Path) -> None:
    """Before there is a folder, a server or a sampler."""
    process = start(*arguments, environment={"FAKE_ENGINE_ANSWER_S": "60"})
    process.wait_for_step("Checking")
    process.wait_until(lambda: len(process.running()) > 1, "question about the engine's versions")
    process.press_ctrl_c()
    outcome = process.finish()
    assert outcome.exit_code == INTERRUPTED
    assert outcome.stderr.endswith("vlmprof: interrupted\n")
    assert process.left_behind() == []
    assert not out.exists()


def test_ctrl_c_while_the_server_starts(
    start: Start, run_cli: Run, arguments: list[object], out: Path
) -> None:
    """The server would have taken a minute."""
    process = start(*arguments, "--start-s", 60)
    process.wait_until((out / "raw" / "server.log").exists, "server")
    process.press_ctrl_c()
    assert_refused(process.finish(), INTERRUPTED, "interrupted; 0 requests are kept", "--rebuild")
    assert process.left_behind() == []
    assert_partial(run_cli, out)


@pytest.mark.parametrize("step", ["Warm-up", "(control)", "(profiled)"])
def test_ctrl_c_while_requests_are_served(
    step: str, start: Start, run_cli: Run, arguments: list[object], out: Path
) -> None:
    """In the warm-up, beside a paused sampler, and beside a running one."""
    process = start(*arguments)
    process.wait_for_step(step)
    before = len(read_requests(RunFolder(out)))
    process.wait_until(lambda: len(read_requests(RunFolder(out))) > before, "request")
    process.press_ctrl_c()
    assert_refused(process.finish(), INTERRUPTED, "requests are kept", "--rebuild")
    assert process.left_behind() == []
    *whole, last = read_requests(RunFolder(out))
    assert not any(request.error for request in whole)
    assert last.error in ("", "interrupted")
    assert_partial(run_cli, out)


def test_ctrl_c_while_analysing(start: Start, run_cli: Run, arguments: list[object], out: Path) -> None:
    """All requests were served; only their analysis is missing, and can be had.

    A pipe that nobody writes into, in the place of a capture, holds the analysis for as long as it takes.
    """
    arguments[arguments.index("--requests") + 1] = 4
    process = start(*arguments)
    process.wait_for_step("Warm-up")
    held = out / "raw" / "held.pt.trace.json"
    os.mkfifo(held)
    process.wait_for_step("Analysing")
    process.press_ctrl_c()
    outcome = process.finish()
    held.unlink()
    assert_refused(outcome, INTERRUPTED, "8 requests are kept", "--rebuild")
    assert process.left_behind() == []
    assert_partial(run_cli, out)
    assert len(json.loads((out / "results" / "breakdown.json").read_bytes())["requests"]) == 4


def test_a_second_ctrl_c_does_not_cut_the_ending_short(
    start: Start, run_cli: Run, arguments: list[object], out: Path
) -> None:
    """A server that ignores SIGTERM, with a child in a session of its own, takes 20 s to be killed.

    An impatient user presses again meanwhile: neither of the two is left.
    """
    process = start(*arguments, "--stubborn")
    process.wait_for_step("Warm-up")
    process.press_ctrl_c()
    process.wait_for_step("Stopping the server")
    process.press_ctrl_c()
    assert process.finish().exit_code == INTERRUPTED
    assert process.left_behind() == []
    assert_partial(run_cli, out)


def test_being_terminated_is_as_ctrl_c(
    start: Start, run_cli: Run, arguments: list[object], out: Path
) -> None:
    """SIGTERM for vlmprof alone, as a service manager or a scheduler sends it."""
    process = start(*arguments)
    process.wait_for_step("(profiled)")
    process.signal(signal.SIGTERM)
    assert_refused(process.finish(), INTERRUPTED, "requests are kept")
    assert process.left_behind() == []
    assert_partial(run_cli, out)


@pytest.mark.parametrize("step", ["(control)", "(profiled)"])
def test_nothing_outlives_a_killed_vlmprof(
    step: str, start: Start, run_cli: Run, arguments: list[object], out: Path
) -> None:
    """Killed outright beside a paused and a running sampler: server and sampler end by themselves."""
    process = start(*arguments)
    process.wait_for_step(step)
    process.signal(signal.SIGKILL)
    assert process.finish().exit_code == -signal.SIGKILL
    assert process.left_behind(ENDS_WITHIN_S) == []
    assert RunFolder(out).read_info().status == "running"
    assert run_cli("report", out, "--rebuild").exit_code == 0


def test_ctrl_c_while_vllm_serves_keeps_what_it_served(
    start: Start, run_cli: Run, checkpoint: Path, out: Path
) -> None:
    """The real server of three processes under the real austin; the requests before it have all their stages."""
    process = start("run", checkpoint, "--out", out, "--requests", 200, "--warmup", 2, *ENGINE_ARGS)
    process.wait_for_step("(profiled)")
    process.wait_until(lambda: len(read_requests(RunFolder(out))) >= 12, "twelfth request")
    process.press_ctrl_c()
    assert_refused(process.finish(), INTERRUPTED, "requests are kept", "--rebuild")
    assert process.left_behind() == []
    assert_partial(run_cli, out)
    breakdown = json.loads((out / "results" / "breakdown.json").read_bytes())["requests"]
    assert len(breakdown) >= 10
    assert all(request["stages"]["prefill"] > 0 for request in breakdown)


def test_vllm_does_not_outlive_a_killed_vlmprof(
    start: Start, run_cli: Run, checkpoint: Path, out: Path
) -> None:
    """API server, engine core, worker and austin end within seconds; the folder can be read."""
    process = start("run", checkpoint, "--out", out, "--requests", 200, "--warmup", 2, *ENGINE_ARGS)
    process.wait_until(lambda: len(read_requests(RunFolder(out))) >= 4, "fourth request")
    process.signal(signal.SIGKILL)
    process.finish()
    assert process.left_behind(ENDS_WITHIN_S) == []
    outcome = run_cli("report", out, "--rebuild", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    if probe_permission().read_memory:
        assert (out / "raw" / "austin.mojo").stat().st_size > 0
