"""Requests to a server that answers, counts, or dies in the middle of one."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vlmprof.errors import EngineFailed
from vlmprof.session import verify_server
from vlmprof.session.verify_server import Answer, Conversation, hits_between, logprob_difference

_REPLY = {
    "choices": [{"message": {"content": "a"}, "logprobs": {"content": [{"token": "a", "logprob": -0.5}]}}]
}


class _Engine(ThreadingHTTPServer):
    """Answers every request, and counts one cache hit for each; `dies` cuts the connection in its place."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dies = False
        self.counts = True
        self.hits = 0


class _Handler(BaseHTTPRequestHandler):
    server: _Engine

    def do_GET(self) -> None:
        self._say(
            f'vllm:mm_cache_hits_total{{engine="0"}} {self.server.hits}.0\n' if self.server.counts else ""
        )

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.dies:
            self.close_connection = True
            return
        self.server.hits += 1
        self._say(json.dumps(_REPLY))

    def _say(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class _Server:
    """As far as a conversation sees of the served engine."""

    def __init__(self, engine: _Engine, log: Path) -> None:
        self.url, self.log = f"http://127.0.0.1:{engine.server_address[1]}", log
        self.found_alive: int | None = None
        """How often it is found alive yet; None for ever."""

    def check_alive(self, when: str) -> None:
        if self.found_alive == 0:
            raise EngineFailed(f"the engine ended with exit code 139 {when}")
        if self.found_alive is not None:
            self.found_alive -= 1


@pytest.fixture
def engine() -> Iterator[_Engine]:
    engine = _Engine()
    thread = threading.Thread(target=engine.serve_forever)
    thread.start()
    yield engine
    engine.shutdown()
    thread.join()
    engine.server_close()


@pytest.fixture
def server(engine: _Engine, tmp_path: Path) -> _Server:
    log = tmp_path / "server.log"
    log.write_text("RuntimeError: out of patience\n")
    return _Server(engine, log)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    return path


def _conversation(server: Any, tmp_path: Path) -> Conversation:
    return Conversation(server, "model", tmp_path, "float32")


def test_a_server_that_dies_in_mid_request_is_a_failed_engine(
    engine: _Engine, server: _Server, image: Path, tmp_path: Path
) -> None:
    """Its exit code comes a moment after the connection was cut."""
    engine.dies, server.found_alive = True, 1
    with pytest.raises(EngineFailed, match="exit code 139 while recipes were verified"):
        _conversation(server, tmp_path).ask((), [image], 0)


def test_a_connection_that_is_cut_by_a_living_server_is_a_failed_engine_with_the_log_s_cause(
    engine: _Engine, server: _Server, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_server, "_DEATH_WAIT_S", 0.1)
    engine.dies = True
    with pytest.raises(
        EngineFailed, match=r"RemoteProtocolError: .*: RuntimeError: out of patience"
    ) as raised:
        _conversation(server, tmp_path).ask((), [image], 0)
    assert str(server.log) in raised.value.hint


def test_hits_of_a_repeated_request_are_counted(
    engine: _Engine, server: _Server, image: Path, tmp_path: Path
) -> None:
    """This engine counts a hit for every request: the first one is of another set's."""
    check = _conversation(server, tmp_path).check((1,), [image], 0, Answer(text="a"))
    assert (check.hits, check.foreign_hits, check.text_equal) == (1, 1, True)


def test_an_engine_that_counts_no_hits_is_told_from_one_that_has_none(
    engine: _Engine, server: _Server, image: Path, tmp_path: Path
) -> None:
    engine.counts = False
    check = _conversation(server, tmp_path).check((1,), [image], 0, Answer(text="a"))
    assert (check.hits, check.foreign_hits) == (None, None)
    assert hits_between({"mm_cache_hits": 2.0}, {"mm_cache_hits": 2.0}) == 0
    assert hits_between({}, {"mm_cache_hits": 2.0}) is None, "a count that began unread"


def test_log_probabilities_are_compared_until_the_texts_part() -> None:
    """`a`, then `b` against `c`: what follows is of different texts."""
    one = Answer(tokens=("a", "b", "d"), logprobs=(-1.0, -2.0, -3.0))
    other = Answer(tokens=("a", "c", "d"), logprobs=(-1.25, -9.0, -9.0))
    assert logprob_difference(one, other) == 0.25
    assert logprob_difference(one, Answer(refused="no")) is None
