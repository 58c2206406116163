"""Hooks on the real modules: uvicorn over loopback, thread pools, and stand-ins for what only vLLM has."""

import asyncio
import contextlib
import http.client
import importlib
import pickle
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as thread_pools
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.unit.agent_spans import SWITCHED_OFF, instrument_in, names_and_requests, read_back
from tests.unit.sampled_program import eventually
from vlmprof.agent import engine_hooks
from vlmprof.agent.context import Batch, current_request
from vlmprof.agent.wrap import Instrument


@pytest.fixture
def instrument(tmp_path: Path) -> Instrument:
    """Its switch can be turned by the test."""
    return instrument_in(tmp_path, bytearray(b"\x01"))


@pytest.fixture
def hooked_pools(monkeypatch: pytest.MonkeyPatch, instrument: Instrument) -> Instrument:
    """ThreadPoolExecutor as the agent leaves it, put back after the test."""
    monkeypatch.setattr(ThreadPoolExecutor, "submit", ThreadPoolExecutor.submit)
    engine_hooks.hook_thread_pools(thread_pools, instrument)
    return instrument


@contextmanager
def _serving(request_id: str | None) -> Iterator[None]:
    token = current_request.set(request_id)
    try:
        yield
    finally:
        current_request.reset(token)


def test_a_pool_thread_works_for_the_request_that_asked_it(tmp_path: Path, hooked_pools: Instrument) -> None:
    """One thread, two requests: each call sees its own id, and the thread keeps none afterwards."""
    with ThreadPoolExecutor(1) as pool:
        seen = []
        for request_id in ("r-1", "r-2"):
            with _serving(request_id):
                seen.append(pool.submit(current_request.get).result())
        with _serving(None):
            seen.append(pool.submit(current_request.get).result())
    assert seen == ["r-1", "r-2", None]
    assert sorted(names_and_requests(tmp_path, hooked_pools.recorder)) == [
        ("pool.run", ("r-1",)),
        ("pool.run", ("r-2",)),
        ("pool.wait", ("r-1",)),
        ("pool.wait", ("r-2",)),
    ]


def test_the_wait_for_a_busy_thread_ends_where_its_work_begins(
    tmp_path: Path, hooked_pools: Instrument
) -> None:
    """The one thread is held until the second call waits: that wait reaches past the end of the first work."""
    release = threading.Event()
    with ThreadPoolExecutor(1) as pool, _serving("r-1"):
        first = pool.submit(release.wait)
        with _serving("r-2"):
            second = pool.submit(lambda: None)
        release.set()
        first.result()
        second.result()
    spans = {(span.name, *span.requests): span for span in read_back(tmp_path, hooked_pools.recorder)}
    assert spans["pool.wait", "r-2"].start_ns < spans["pool.run", "r-1"].end_ns
    assert spans["pool.wait", "r-2"].end_ns >= spans["pool.run", "r-1"].end_ns
    assert spans["pool.wait", "r-2"].end_ns == spans["pool.run", "r-2"].start_ns


def test_an_event_loops_executor_carries_the_request(tmp_path: Path, hooked_pools: Instrument) -> None:
    """run_in_executor drops context variables; arguments and exceptions pass as before."""

    def work(number: int) -> str:
        if number:
            raise ValueError("bad image")
        return current_request.get() or ""

    async def serve() -> str:
        current_request.set("r-1")
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="bad image"):
            await loop.run_in_executor(None, work, 1)
        return await loop.run_in_executor(None, work, 0)

    assert asyncio.run(serve()) == "r-1"
    assert len(read_back(tmp_path, hooked_pools.recorder)) == 4


def test_a_pool_without_a_request_is_left_alone(tmp_path: Path, hooked_pools: Instrument) -> None:
    """The engine core's and the workers' own pools."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(int, "12", base=8).result() == 10
    assert read_back(tmp_path, hooked_pools.recorder) == []


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    """A tiny application: answers with the request id that it was given."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    given = dict(scope["headers"]).get(b"x-request-id", b"none")
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(given))]}
    )
    await send({"type": "http.response.body", "body": given})


@pytest.fixture(params=["httptools", "h11"])
def server_port(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, instrument: Instrument
) -> Iterator[int]:
    """A real uvicorn on loopback, hooked, with either of its HTTP parsers."""
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn comes with vLLM")
    pytest.importorskip(request.param, reason=f"{request.param} is an optional parser of uvicorn's")
    module = importlib.import_module(f"uvicorn.protocols.http.{request.param}_impl")
    protocol = module.HttpToolsProtocol if request.param == "httptools" else module.H11Protocol
    monkeypatch.setattr(protocol, "data_received", protocol.data_received)
    for name in ("run_asgi", "send"):
        monkeypatch.setattr(module.RequestResponseCycle, name, getattr(module.RequestResponseCycle, name))
    engine_hooks.hook_uvicorn(module, instrument)
    config = uvicorn.Config(
        _answer, host="127.0.0.1", port=0, http=request.param, lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert eventually(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def _post(connection: http.client.HTTPConnection, request_id: str | None) -> str:
    headers = {} if request_id is None else {"X-Request-Id": request_id}
    connection.request("POST", "/v1/chat/completions", body=b"x" * 200_000, headers=headers)
    return connection.getresponse().read().decode()


def test_http_spans_carry_the_clients_request_id(
    server_port: int, tmp_path: Path, instrument: Instrument
) -> None:
    """Two requests on one connection; 200 000 bytes arrive in several reads, the answer leaves in two sends."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server_port)) as connection:
        assert [_post(connection, "r-1"), _post(connection, "r-2")] == ["r-1", "r-2"]
    for request_id in ("r-1", "r-2"):
        names = [
            name
            for name, requests in names_and_requests(tmp_path, instrument.recorder)
            if requests == (request_id,)
        ]
        assert set(names) == {"http.receive", "http.handle", "http.send"}
        assert (names.count("http.handle"), names.count("http.send")) == (1, 2)


def test_a_request_without_an_id_gets_one(server_port: int, tmp_path: Path, instrument: Instrument) -> None:
    """The application sees the same made-up id as the spans: vLLM will build its own around it."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server_port)) as connection:
        given = _post(connection, None)
    assert given.startswith("vp-")
    spans = names_and_requests(tmp_path, instrument.recorder)
    assert {name for name, requests in spans if requests == (given,)} == {
        "http.receive",
        "http.handle",
        "http.send",
    }


def test_headers_that_arrive_in_two_pieces_keep_the_clients_id(
    server_port: int, tmp_path: Path, instrument: Instrument
) -> None:
    """The first piece ends before X-Request-Id: no id may be made up for it."""
    with socket.create_connection(("127.0.0.1", server_port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n")
        assert eventually(lambda: bool(read_back(tmp_path, instrument.recorder)))
        client.sendall(b"X-Request-Id: r-9\r\nConnection: close\r\n\r\n")
        answer = b""
        while received := client.recv(4096):
            answer += received
    assert answer.endswith(b"\r\n\r\nr-9")
    requests = {requests for _, requests in names_and_requests(tmp_path, instrument.recorder)}
    assert requests == {(), ("r-9",)}


def test_a_request_is_named_while_the_switch_is_off(
    server_port: int, tmp_path: Path, instrument: Instrument
) -> None:
    """A block may begin in mid-request; nothing is recorded, or a server that stands by would fill its memory."""
    instrument.switch[0] = 0
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server_port)) as connection:
        assert _post(connection, "r-1") == "r-1"
        assert _post(connection, None).startswith("vp-")
    assert names_and_requests(tmp_path, instrument.recorder) == []


class _TimingContext:
    """As vLLM's: a context manager per stage."""

    @contextmanager
    def record(self, stage: str) -> Iterator[None]:
        yield


def test_the_multimodal_processors_own_marks_become_spans(tmp_path: Path, instrument: Instrument) -> None:
    """Known stages are recorded under our names, also where they fail; an unknown one is not."""
    timing = type("TimingContext", (_TimingContext,), {"record": _TimingContext.record})
    module = SimpleNamespace(TimingContext=timing)
    engine_hooks.hook_mm_timing(module, instrument)  # type: ignore[arg-type]
    with _serving("r-1"):
        for stage in ("get_mm_hashes", "of_the_future"):
            with timing().record(stage):
                pass
        with pytest.raises(ValueError, match="bad image"), timing().record("apply_hf_processor"):
            raise ValueError("bad image")
    assert names_and_requests(tmp_path, instrument.recorder) == [
        ("mm.hash", ("r-1",)),
        ("mm.transform", ("r-1",)),
    ]


def test_unpickling_is_timed_in_the_message_queues_module_alone(
    tmp_path: Path, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module's name `pickle` is replaced, not the standard library's module; the batch names the span."""
    monkeypatch.setattr(Batch, "latest", None)
    module = ModuleType("shm_broadcast")
    module.pickle = pickle  # type: ignore[attr-defined]
    for _ in range(2):
        engine_hooks.hook_message_queue(module, instrument)
    batch = SimpleNamespace(num_scheduled_tokens={"chatcmpl-r-1-0123abcd": 5})
    message: Any = ("execute_model", (batch,), {}, None)
    assert module.pickle.loads(pickle.dumps(message)) == message
    assert module.pickle.dumps is pickle.dumps
    assert not hasattr(pickle, "__vlmprof_original__")
    assert names_and_requests(tmp_path, instrument.recorder) == [("ipc.loads", ("r-1",))]


def test_internvls_projector_is_timed_where_it_is_made(
    tmp_path: Path, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An nn.Sequential without a class of its own: the object's forward is what is timed."""
    monkeypatch.setattr(Batch, "latest", ("r-1",))

    class Model:
        def _init_mlp1(self, config: int) -> SimpleNamespace:
            return SimpleNamespace(forward=lambda pixels: pixels * config)

    engine_hooks.hook_internvl_projector(SimpleNamespace(InternVLChatModel=Model), instrument)  # type: ignore[arg-type]
    assert Model()._init_mlp1(3).forward(4) == 12
    assert names_and_requests(tmp_path, instrument.recorder) == [("worker.connector", ("r-1",))]


class _Runner:
    """As vLLM's second model runner: it makes a model and calls it itself."""

    model: SimpleNamespace

    def load_model(self, **attributes: object) -> None:
        self.model = SimpleNamespace(forward=lambda tokens: tokens + 1, **attributes)


def test_the_second_model_runners_model_is_timed_once_it_is_loaded(
    tmp_path: Path, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forward of the object: its class may be that of another model."""
    monkeypatch.setattr(Batch, "latest", ("r-1",))
    runner_class = type("GPUModelRunner", (_Runner,), {})
    engine_hooks.hook_loaded_model(SimpleNamespace(GPUModelRunner=runner_class), instrument)  # type: ignore[arg-type]
    runner = runner_class()
    runner.load_model(do_not_compile=True, _compiled_call_impl=None)
    assert runner.model.forward(4) == 5
    assert names_and_requests(tmp_path, instrument.recorder) == [("worker.forward", ("r-1",))]


@pytest.mark.parametrize("compiled", [{"do_not_compile": False}, {"_compiled_call_impl": len}], ids=str)
def test_a_model_that_is_compiled_whole_stays_as_it_is(
    tmp_path: Path, instrument: Instrument, compiled: dict[str, object]
) -> None:
    """Its compiler would trace the clock readings."""
    runner_class = type("GPUModelRunner", (_Runner,), {})
    engine_hooks.hook_loaded_model(SimpleNamespace(GPUModelRunner=runner_class), instrument)  # type: ignore[arg-type]
    runner = runner_class()
    runner.load_model(**compiled)
    assert runner.model.forward(4) == 5
    assert read_back(tmp_path, instrument.recorder) == []


def test_with_the_switch_off_hooks_record_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools, marks and unpickling, each called once."""
    instrument = instrument_in(tmp_path, SWITCHED_OFF)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", ThreadPoolExecutor.submit)
    engine_hooks.hook_thread_pools(thread_pools, instrument)
    timing = type("TimingContext", (_TimingContext,), {"record": _TimingContext.record})
    engine_hooks.hook_mm_timing(SimpleNamespace(TimingContext=timing), instrument)  # type: ignore[arg-type]
    module = ModuleType("shm_broadcast")
    module.pickle = pickle  # type: ignore[attr-defined]
    engine_hooks.hook_message_queue(module, instrument)
    with _serving("r-1"), ThreadPoolExecutor(1) as pool, timing().record("get_mm_hashes"):
        assert pool.submit(module.pickle.loads, pickle.dumps(1)).result() == 1
    assert read_back(tmp_path, instrument.recorder) == []
