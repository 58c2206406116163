"""`vlmprof attach` on a server that behaves as told: each fault has its message, and the server lives on."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.conftest import Start
from tests.e2e.vlmprof_process import Outcome, assert_refused
from tests.unit.native_program import compile_native
from vlmprof.agent.switch import create_standing_switch
from vlmprof.collect.permission import probe_permission
from vlmprof.errors import ToolMissing
from vlmprof.model.results import read_summary
from vlmprof.model.run_folder import RunFolder
from vlmprof.session import attach_prepare
from vlmprof.session.attach import attach
from vlmprof.session.attach_prepare import AttachOptions
from vlmprof.session.journal import read_requests
from vlmprof.session.options import RunOptions, Silent

pytestmark = pytest.mark.e2e

Run = Callable[..., Outcome]
_ENGINE = Path(__file__).with_name("fake_engine.py")
_KEY = "sk-not-for-anybodys-eyes-81aa"
_READY_S = 60


@dataclass(frozen=True, slots=True)
class FakeServer:
    """A running fake engine, which no vlmprof started."""

    process: subprocess.Popen[bytes]
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def answers(self) -> bool:
        """It serves, and no thread of it is stopped."""
        states = psutil.Process(self.process.pid).status()
        return httpx.get(f"{self.url}/health").status_code == 200 and states != psutil.STATUS_STOPPED


@pytest.fixture
def serve(fake_model: Path) -> Iterator[Callable[..., FakeServer]]:
    """Starts a fake engine with some options and waits until it serves."""
    started: list[FakeServer] = []

    def start(*options: object, environment: Mapping[str, str] | None = None) -> FakeServer:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, _ENGINE, "--model", fake_model, "--host", "127.0.0.1", "--port", port]
        words = [str(word) for word in [*command, *options]]
        process = subprocess.Popen(words, env={**os.environ, **(environment or {})})
        started.append(FakeServer(process, f"http://127.0.0.1:{port}"))
        deadline_s = time.monotonic() + _READY_S
        while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


def _attach(server: FakeServer, out: Path, *more: object) -> list[object]:
    load = ["--requests", 8, "--warmup", 1]
    return ["attach", "--url", server.url, "--out", out, *load, *more]


def _samplers_of(server: FakeServer) -> list[str]:
    """Programs that name the server's process in their command, as austin does."""
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if "austin" in " ".join(process.info["cmdline"] or [])
        and str(server.process.pid) in (process.info["cmdline"] or [])
    ]


def test_a_server_without_an_agent_gets_times_stacks_and_the_way_to_stages(
    serve: Callable[..., FakeServer], run_cli: Run, out: Path
) -> None:
    """TTFT and its control; functions by process, no invented stage; what to do for stages; the server lives on."""
    server = serve("--first-token-s", 0.05)
    outcome = run_cli(*_attach(server, out), "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert server.answers()
    document = json.loads(outcome.stdout)
    summary = document["summary"]
    assert (summary["control"]["requests"], summary["profiled"]["requests"]) == (4, 4)
    assert [stage["stage"] for stage in summary["stages"]] == ["unattributed"]
    assert Path(document["report"]).is_file()
    info = RunFolder(out).read_info()
    assert (info.status, info.attached_to, info.model.name) == ("complete", server.url, "fake")
    assert info.model.model_type == "idefics3"
    assert info.engine is not None
    assert info.engine.version == "0.32.0+cpu"
    assert any("VLMPROF_SPANS=FOLDER" in warning for warning in info.all_warnings)
    if probe_permission().read_memory:
        hottest = {hot["function"] for hot in summary["hot_by_process"]["api_server"]}
        assert {"_encode_image", "_prefill"} <= hottest
        (sampled,) = [process for process in summary["processes"] if process["samples"]]
        assert sampled["pid"] == server.process.pid
    assert _samplers_of(server) == []


def test_a_process_that_is_named_is_the_one_that_is_sampled(
    serve: Callable[..., FakeServer], run_cli: Run, out: Path
) -> None:
    """`localhost/v1` with --pid, and images of the server's own last time are not sent again: the seed differs."""
    server = serve()
    url = f"http://localhost:{server.port}/v1"
    outcome = run_cli(*_attach(server, out, "--url", url, "--pid", server.process.pid))
    assert outcome.exit_code == 0, outcome.stderr
    again = run_cli(*_attach(server, out, "--overwrite", "--url", url, "--pid", server.process.pid))
    assert again.exit_code == 0, again.stderr
    info = RunFolder(out).read_info()
    assert info.workload is not None
    assert info.workload.seed != 0


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:8000", "http://", "http://127.0.0.1:port"])
def test_what_is_no_url_is_refused(url: str, run_cli: Run, out: Path) -> None:
    assert_refused(run_cli("attach", "--url", url, "--out", out), 2, "URL", "http://127.0.0.1:8000")
    assert not out.exists()


def test_no_url_is_refused(run_cli: Run) -> None:
    assert_refused(run_cli("attach"), 2, "no server to attach to", "--url")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_where_nothing_serves_it_says_so(scheme: str, run_cli: Run, out: Path) -> None:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"{scheme}://127.0.0.1:{port}"
    assert_refused(run_cli("attach", "--url", url, "--out", out), 7, f"no answer from {url}", "running")
    assert not out.exists()


def test_https_to_a_server_without_it_says_so(
    serve: Callable[..., FakeServer], run_cli: Run, out: Path
) -> None:
    server = serve()
    url = server.url.replace("http", "https")
    assert_refused(run_cli("attach", "--url", url, "--out", out), 7, f"no answer from {url}", "SSL")
    assert server.answers()


def test_another_kind_of_server_is_refused(run_cli: Run, out: Path) -> None:
    """It answers every question with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        assert_refused(run_cli("attach", "--url", url, "--out", out), 7, "not as vLLM does", "404")
    finally:
        server.shutdown()
        server.server_close()
    assert not out.exists()


def test_a_model_that_it_does_not_serve_is_refused(
    serve: Callable[..., FakeServer], run_cli: Run, out: Path
) -> None:
    assert_refused(run_cli(*_attach(serve(), out, "--model", "other")), 2, "no model 'other'", "fake")


def test_a_process_that_is_not_there_is_refused(
    serve: Callable[..., FakeServer], run_cli: Run, out: Path
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    outcome = run_cli(*_attach(serve(), out, "--pid", ended.pid))
    assert_refused(outcome, 2, f"there is no process {ended.pid}", "leave out --pid")


def test_a_process_without_python_is_refused(
    serve: Callable[..., FakeServer], run_cli: Run, out: Path
) -> None:
    sleeping = subprocess.Popen(["sleep", "600"])
    try:
        outcome = run_cli(*_attach(serve(), out, "--pid", sleeping.pid))
        assert_refused(outcome, 2, f"no Python runs in or below process {sleeping.pid}")
    finally:
        sleeping.kill()
        sleeping.wait()


def test_a_key_is_asked_for_sent_and_written_nowhere(
    serve: Callable[..., FakeServer], run_cli: Run, out: Path
) -> None:
    """Without it nothing begins; with it, neither the run's folder nor what is printed holds it."""
    server = serve("--api-key", _KEY)
    assert_refused(run_cli(*_attach(server, out)), 7, "asks for an API key", "VLMPROF_API_KEY")
    outcome = run_cli(*_attach(server, out), environment={"VLMPROF_API_KEY": _KEY})
    assert outcome.exit_code == 0, outcome.stderr
    assert not any(request.error for request in read_requests(RunFolder(out)))
    for path in out.rglob("*"):
        assert not (path.is_file() and _KEY.encode() in path.read_bytes()), path
    assert _KEY not in outcome.stdout + outcome.stderr


def test_where_reading_is_denied_the_clients_times_remain(
    serve: Callable[..., FakeServer], run_cli: Run, out: Path, tmp_path: Path
) -> None:
    """process_vm_readv is denied, as to another user: `auto` goes without stacks, austin by name is refused."""
    server, deny = serve(), compile_native("deny", tmp_path)
    refused = run_cli(*_attach(server, out, "--cpu-profiler", "austin"), under=[deny])
    assert_refused(refused, 3, "austin cannot read the server", "process_vm_readv is denied")
    assert not out.exists()
    outcome = run_cli(*_attach(server, out), under=[deny])
    assert outcome.exit_code == 0, outcome.stderr
    assert "process_vm_readv is denied" in outcome.stderr
    info = RunFolder(out).read_info()
    assert {collector.kind: collector.state for collector in info.collectors} == {"cpu": "off", "gpu": "off"}


@pytest.mark.parametrize(
    ("profiler", "says"),
    [("nsys", "nsys cannot attach to a running process"), ("torch", "the server offers no /start_profile")],
)
def test_a_gpu_profiler_that_cannot_be_had_is_refused(
    profiler: str, says: str, serve: Callable[..., FakeServer], run_cli: Run, out: Path
) -> None:
    outcome = run_cli(*_attach(serve(), out, "--gpu-profiler", profiler))
    assert_refused(outcome, 3, says, "--profiler-config")
    assert not out.exists()


def test_a_server_that_refuses_images_is_no_server_for_this(
    serve: Callable[..., FakeServer], run_cli: Run, out: Path
) -> None:
    """A model of text alone answers 400 to everything: its reason is given, and it lives on."""
    server = serve("--refuse-from", 1)
    assert_refused(run_cli(*_attach(server, out)), 7, "requests of warm-up failed", "no image wanted")
    assert RunFolder(out).read_info().status == "failed"
    assert server.answers()


def test_a_server_that_dies_leaves_what_was_captured(
    serve: Callable[..., FakeServer], run_cli: Run, out: Path
) -> None:
    """Killed by its seventh request, the warm-up's included."""
    server = serve("--die-at", 7)
    outcome = run_cli(*_attach(server, out))
    assert_refused(outcome, 7, f"the server's process {server.process.pid} ended in mid-run")
    info = RunFolder(out).read_info()
    assert info.status == "partial"
    assert len([request for request in read_requests(RunFolder(out)) if not request.error]) == 6
    report = run_cli("report", out, "--rebuild")
    assert report.exit_code == 0, report.stderr
    assert _samplers_of(server) == []


@pytest.mark.parametrize("step", ["Warm-up", "(control)", "(profiled)"])
def test_ctrl_c_ends_vlmprof_and_not_the_server(
    step: str, serve: Callable[..., FakeServer], start: Start, out: Path
) -> None:
    """The sampler is gone, the folder kept and marked, the server answers."""
    server = serve("--first-token-s", 0.2)
    process = start(*_attach(server, out, "--requests", 100))
    process.wait_for_step(step)
    process.press_ctrl_c()
    assert_refused(process.finish(), 130, "interrupted", "requests are kept", "--rebuild")
    assert process.left_behind() == []
    assert (RunFolder(out).read_info().status, RunFolder(out).read_info().error) == ("partial", "interrupted")
    assert server.answers()
    assert _samplers_of(server) == []


def test_a_killed_vlmprof_leaves_no_sampler_and_the_server_alone(
    serve: Callable[..., FakeServer], start: Start, out: Path
) -> None:
    server = serve("--first-token-s", 0.2)
    process = start(*_attach(server, out, "--requests", 100))
    process.wait_for_step("(profiled)")
    process.signal(signal.SIGKILL)
    process.finish()
    assert process.left_behind(60) == []
    assert server.answers()


def test_without_a_process_to_look_at_the_clients_times_are_all(
    serve: Callable[..., FakeServer], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a server on another machine: TTFT and nothing else, which the result says; austin is refused."""
    monkeypatch.setattr(attach_prepare, "listening_pid", lambda _host, _port: None)
    run = RunOptions(model="", out=out, command=[], requests=4, warm_up=1)
    options = AttachOptions(serve().url, run)
    with pytest.raises(ToolMissing, match="nothing to attach to"):
        attach(replace(options, run=replace(run, cpu_profiler="austin")), {}, Silent())
    assert not out.exists()
    folder = attach(options, {}, Silent())
    info = folder.read_info()
    assert info.status == "complete"
    assert any("the client's times alone" in warning for warning in info.all_warnings)
    assert {collector.state for collector in info.collectors} == {"off"}
    summary = read_summary(folder)
    assert (summary.stages_from, summary.processes, summary.hot_by_process) == ("none", [], {})
    assert summary.control is not None


def test_a_folder_of_spans_that_no_process_writes_into_is_named(
    serve: Callable[..., FakeServer], run_cli: Run, out: Path, tmp_path: Path
) -> None:
    """The variable is set, and nothing in the server knows it: vlmprof is not where its Python looks."""
    spans = tmp_path / "spans"
    create_standing_switch(str(spans))
    server = serve(environment={"VLMPROF_SPANS": str(spans)})
    assert run_cli(*_attach(server, out)).exit_code == 0
    warnings = RunFolder(out).read_info().all_warnings
    assert any(f"has written into its VLMPROF_SPANS={spans}" in warning for warning in warnings)


def test_a_run_that_is_there_is_kept(serve: Callable[..., FakeServer], run_cli: Run, out: Path) -> None:
    """Only --overwrite replaces it."""
    server = serve()
    assert run_cli(*_attach(server, out)).exit_code == 0
    assert_refused(run_cli(*_attach(server, out)), 5, "holds a run already", "--overwrite")


def test_what_to_start_a_server_with_is_printed_for_a_shell(run_cli: Run, tmp_path: Path) -> None:
    """A folder with a blank; PYTHONPATH goes before the user's own, and no colon is left at its end."""
    folder = tmp_path / "two words"
    lines = run_cli("attach", "--print-env", folder).stdout
    show = f'{lines}printf \'%s\\n%s\' "$VLMPROF_SPANS" "$PYTHONPATH"'
    for own, wanted in (("", ""), ("/own", ":/own")):
        environment = {**os.environ, "PYTHONPATH": own}
        said = subprocess.run(["sh", "-c", show], env=environment, capture_output=True, text=True, check=True)
        spans, path = said.stdout.split("\n")
        assert spans == str(folder)
        assert path.endswith("vlmprof/agent/bootstrap" + wanted)
