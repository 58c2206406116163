"""The engine's own profiler, against a server that answers as vLLM does."""

import ast
import gzip
import importlib.util
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vlmprof.collect.base import Collector, Served
from vlmprof.collect.torch_profiler import RunningTorchProfiler, TorchProfilerCollector


@dataclass
class FakeEngine:
    """Writes a trace at `/stop_profile`; answers with `status`."""

    raw: Path
    url: str = ""
    status: int = 200
    silent_at_start: bool = False
    calls: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, path: str, body: bytes) -> None:
        prefix = json.loads(body)["profile_prefix"]
        self.calls.append((path, prefix))
        if path == "/stop_profile" and self.status == 200:
            trace = self.raw / f"{prefix}_rank0.1700000000.pt.trace.json.gz"
            trace.write_bytes(gzip.compress(b"{}"))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    fake = FakeEngine(tmp_path)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            fake.answer(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            if fake.silent_at_start and self.path == "/start_profile":
                self.close_connection = True
                return
            self.send_response(fake.status)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield fake
    server.shutdown()
    server.server_close()


def test_it_is_a_collector_that_configures_the_engine(tmp_path: Path) -> None:
    """The engine wants an absolute folder; Python stacks stay off, the CPU sampler has them."""
    collector: Collector = TorchProfilerCollector(tmp_path, version="2.13.0")
    option, value = collector.engine_args()
    assert option == "--profiler-config"
    config = json.loads(value)
    assert config["profiler"] == "torch"
    assert config["torch_profiler_dir"] == str(tmp_path.absolute())
    assert config["torch_profiler_with_stack"] is False
    assert collector.info.state == "off"


def test_the_configuration_has_only_fields_that_vllm_knows(tmp_path: Path) -> None:
    """vLLM rejects unknown ones. Its class is read, not imported: that would load torch."""
    vllm = importlib.util.find_spec("vllm")
    if vllm is None or not vllm.submodule_search_locations:
        pytest.skip("vLLM is not installed")
    source = Path(vllm.submodule_search_locations[0], "config", "profiler.py").read_text()
    config = next(node for node in ast.parse(source).body if getattr(node, "name", "") == "ProfilerConfig")
    fields = {ast.unparse(node.target) for node in ast.walk(config) if isinstance(node, ast.AnnAssign)}
    assert json.loads(TorchProfilerCollector(tmp_path).engine_args()[1]).keys() <= fields


def test_blocks_start_and_stop_by_the_engines_routes(engine: FakeEngine, tmp_path: Path) -> None:
    """Two blocks: start, stop, start, stop, each named by its number; a trace of each."""
    collector = TorchProfilerCollector(tmp_path)
    collector.attach(Served(1, engine.url))
    for _ in range(2):
        collector.resume()
        collector.pause()
    collector.stop()
    assert engine.calls == [
        ("/start_profile", "torch.0"),
        ("/stop_profile", "torch.0"),
        ("/start_profile", "torch.1"),
        ("/stop_profile", "torch.1"),
    ]
    assert [path.name.split("_")[0] for path in collector.files] == ["torch.0", "torch.1"]
    assert collector.info.state == "ok"


def test_stopping_in_mid_block_ends_the_block_once(engine: FakeEngine, tmp_path: Path) -> None:
    """The engine writes its trace at the first of two stops."""
    collector = TorchProfilerCollector(tmp_path)
    collector.attach(Served(1, engine.url))
    collector.resume()
    collector.stop()
    collector.stop()
    assert [path for path, _ in engine.calls] == ["/start_profile", "/stop_profile"]


def test_an_engine_without_the_routes_is_noted_with_its_answer(engine: FakeEngine, tmp_path: Path) -> None:
    """vLLM without --profiler-config answers 404."""
    engine.status = 404
    collector = TorchProfilerCollector(tmp_path)
    collector.attach(Served(1, engine.url))
    collector.resume()
    collector.pause()
    collector.stop()
    assert collector.info.state == "missing"
    assert collector.info.detail == "POST /start_profile: HTTP 404"
    assert len(engine.calls) == 1


def test_an_engine_that_dies_in_a_block_leaves_the_earlier_ones(engine: FakeEngine, tmp_path: Path) -> None:
    """Port 1 refuses: the first block's trace is kept, the state is partial."""
    collector = TorchProfilerCollector(tmp_path)
    collector.attach(Served(1, engine.url))
    collector.resume()
    collector.pause()
    collector.resume()
    collector.attach(Served(1, "http://127.0.0.1:1"))
    collector.pause()
    assert collector.info.state == "partial"
    assert "Connection refused" in collector.info.detail


def test_a_running_servers_traces_are_taken_over_from_its_own_folder(
    engine: FakeEngine, tmp_path: Path
) -> None:
    """One a block; a trace that was there before is somebody else's, and all stay where they are."""
    raw = tmp_path / "raw"
    raw.mkdir()
    (tmp_path / "earlier.pt.trace.json").write_text("{}")
    collector = RunningTorchProfiler(raw, tmp_path)
    assert collector.engine_args() == []
    collector.attach(Served(0, engine.url))
    for _ in range(2):
        collector.resume()
        collector.pause()
    collector.stop()
    assert len(collector.files) == 2
    assert collector.info.state == "ok"
    assert len(list(tmp_path.glob("*.pt.trace.json*"))) == 3


def test_a_running_servers_trace_that_cannot_be_read_is_named(engine: FakeEngine, tmp_path: Path) -> None:
    """The folder of captures is gone: the server's trace stays, and the result says what is missing."""
    collector = RunningTorchProfiler(tmp_path / "gone", tmp_path)
    collector.attach(Served(0, engine.url))
    collector.resume()
    collector.pause()
    assert collector.info.state == "missing"
    assert "cannot take" in collector.info.detail


def test_a_start_without_an_answer_is_stopped(engine: FakeEngine, tmp_path: Path) -> None:
    """It may have taken effect: a server must not go on profiling for nobody."""
    engine.silent_at_start = True
    collector = TorchProfilerCollector(tmp_path)
    collector.attach(Served(0, engine.url))
    collector.resume()
    collector.stop()
    assert [path for path, _ in engine.calls] == ["/start_profile", "/stop_profile"]
    assert "/start_profile" in collector.info.detail


def test_a_start_that_is_refused_stops_nobody_elses(engine: FakeEngine, tmp_path: Path) -> None:
    """Somebody profiles the server already."""
    engine.status = 500
    collector = RunningTorchProfiler(tmp_path, tmp_path)
    collector.attach(Served(0, engine.url))
    collector.resume()
    collector.pause()
    collector.stop()
    assert [path for path, _ in engine.calls] == ["/start_profile"]
    assert collector.info.state == "missing"
