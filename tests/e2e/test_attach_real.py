"""`vlmprof attach` on a real vLLM server that it did not start: asked for its stages, and then without them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.conftest import ENGINE_ARGS
from tests.e2e.vlmprof_process import Outcome
from vlmprof.agent.standing import standing_environment
from vlmprof.agent.switch import SPANS_ON, open_switch
from vlmprof.collect.permission import probe_permission
from vlmprof.engines.vllm import choose_port
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.stages import UNATTRIBUTED
from vlmprof.model.table_io import read_table

pytestmark = pytest.mark.e2e

Run = Callable[..., Outcome]
_READY_S = 900
_LOAD = ("--requests", 8, "--warmup", 1)


@dataclass(frozen=True, slots=True)
class VllmServer:
    """A server as an operator starts it: `spans` is its standing folder, `traces` its profiler's."""

    process: subprocess.Popen[bytes]
    url: str
    spans: Path
    traces: Path
    log: Path

    def processes(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def family(self) -> set[int]:
        return {process.pid for process in self.processes()}

    def replies(self) -> str:
        """A whole answer to a question without an image."""
        model = httpx.get(f"{self.url}/v1/models").json()["data"][0]["id"]
        message = {"role": "user", "content": "word"}
        body = {"model": model, "messages": [message], "max_tokens": 2}
        answer = httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=120)
        return str(answer.raise_for_status().json()["choices"][0]["finish_reason"])


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """One server for all tests here; where vlmprof is no plugin of the engine's environment, by PYTHONPATH."""
    root = tmp_path_factory.mktemp("server")
    spans, traces, log = root / "spans", root / "traces", root / "server.log"
    traces.mkdir()
    other = os.environ.get("VLMPROF_E2E_PYTHON")
    variables = {"VLLM_CPU_KVCACHE_SPACE": "2", **standing_environment(spans)}
    if not other:
        del variables["PYTHONPATH"]
    port = choose_port(None)
    profiler = {"profiler": "torch", "torch_profiler_dir": str(traces), "torch_profiler_with_stack": False}
    command = [other or sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", checkpoint]
    command += ["--host", "127.0.0.1", "--port", port, "--profiler-config", json.dumps(profiler)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in [*command, *ENGINE_ARGS[1:]]],
            env={**os.environ, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = VllmServer(process, f"http://127.0.0.1:{port}", spans, traces, log)
    try:
        _wait_until_ready(running)
        yield running
    finally:
        family = running.processes() if process.poll() is None else []
        process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(family, 60)
        for each in left:
            each.kill()
        process.wait()


def _wait_until_ready(server: VllmServer) -> None:
    deadline_s = time.monotonic() + _READY_S
    while True:
        assert server.process.poll() is None, server.log.read_text()[-4000:]
        assert time.monotonic() < deadline_s, server.log.read_text()[-4000:]
        try:
            if httpx.get(f"{server.url}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.25)


def test_a_server_whose_agent_stands_by_is_attributed_as_a_run_is(
    server: VllmServer, run_cli: Run, tmp_path: Path
) -> None:
    """Found by its port; every stage of every request, samples of every process; then nothing is recorded."""
    before, out = server.family(), tmp_path / "run"
    outcome = run_cli("attach", "--url", server.url, "--out", out, *_LOAD)
    assert outcome.exit_code == 0, outcome.stderr
    requests = json.loads((out / "results" / "breakdown.json").read_bytes())["requests"]
    assert len(requests) == 8
    for request in requests:
        assert sum(request["stages"].values()) + request["unattributed_ns"] == request["ttft_ns"]
        assert request["unattributed_ns"] <= 0.03 * request["ttft_ns"]
        for stage in ("image_decode", "image_transform", "ipc_transfer", "vision_encoder", "prefill"):
            assert request["stages"][stage] > 0
    info = RunFolder(out).read_info()
    assert (info.status, info.attached_to) == ("complete", server.url)
    assert {agent.role for agent in info.agents} == {"api_server", "engine_core", "worker 0"}
    assert info.model.model_type == "idefics3"
    if probe_permission().read_memory:
        sampled = set(read_table(RunFolder(out), "samples")["pid"].to_pylist())
        assert {agent.pid for agent in info.agents} <= sampled
        assert not any("took no sample" in warning for warning in info.all_warnings)
    assert open_switch(str(server.spans))[SPANS_ON] == 0
    assert server.family() == before
    assert server.replies() in ("stop", "length")


def test_a_server_without_an_agent_gives_coarse_stages_and_its_own_profilers_traces(
    server: VllmServer, run_cli: Run, tmp_path: Path
) -> None:
    """Its folder of spans is gone, as if it had none; the traces come from where its command line says.

    Encoder, image transform and prefill are long enough for samples, and most of the time that samples name is in
    them.
    """
    shutil.rmtree(server.spans)
    before, out = server.family(), tmp_path / "run"
    outcome = run_cli("attach", "--url", server.url, "--out", out, "--gpu-profiler", "torch", *_LOAD)
    assert outcome.exit_code == 0, outcome.stderr
    said = " ".join(outcome.stdout.split())
    assert "VLMPROF_SPANS=FOLDER" in said
    assert "cannot be used: No such file or directory" in said
    info = RunFolder(out).read_info()
    assert [collector.state for collector in info.collectors if collector.kind == "gpu"] == ["ok"]
    assert [clock.source for clock in info.clocks if clock.source.startswith("torch:")] != []
    assert list((out / "raw").glob("*.pt.trace.json.gz"))
    summary = json.loads((out / "results" / "summary.json").read_bytes())
    labels = [process["label"] for process in summary["processes"]]
    assert labels == ["api_server", "engine_core", "worker 0"]
    if probe_permission().read_memory:
        assert (summary["stages_from"], summary["headline"]) == ("samples", "profiled")
        shares = {stage["stage"]: stage["share"] for stage in summary["stages"]}
        named = sum(share for stage, share in shares.items() if stage != UNATTRIBUTED)
        long = sum(shares[stage] for stage in ("vision_encoder", "image_transform", "ipc_transfer"))
        assert long > 0.5 * named > 0
        assert shares["prefill"] > 0
        assert any("image_pixels_to_features" in hot["function"] for hot in summary["hot"])
        hottest = [hot["function"] for hot in summary["hot_by_process"]["worker 0"]]
        assert any("image_pixels_to_features" in function for function in hottest)
    assert server.family() == before
    assert server.replies() in ("stop", "length")
