"""What a running server says of itself, asked of one that answers as it is told."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from vlmprof.engines.asking import ask_server, base_url, is_answering, key_headers, offers_profiling, port_of
from vlmprof.engines.running import RunningServer
from vlmprof.errors import EngineFailed, UsageError

_MODELS = [{"id": "adapter", "root": "/adapter", "parent": "base"}, {"id": "base", "root": "/models/base"}]


class _Server:
    """Answers GET with a status and a body by path, 404 for the rest; `asked` has the headers of each."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {
            "/health": (200, None),
            "/version": (200, {"version": "0.32.0"}),
            "/v1/models": (200, {"data": _MODELS}),
        }
        self.keys: list[str | None] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.keys.append(self.headers["Authorization"])
                status, content = owner.answers.get(self.path, (404, None))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

            def log_message(self, *_: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[_Server]:
    answering = _Server()
    threading.Thread(target=answering.http.serve_forever, daemon=True).start()
    yield answering
    answering.http.shutdown()
    answering.http.server_close()


@pytest.mark.parametrize(
    ("text", "url", "port"),
    [
        ("http://host:8000/", "http://host:8000", 8000),
        ("http://host:8000/v1/", "http://host:8000", 8000),
        ("localhost:8000", "http://localhost:8000", 8000),
        ("https://host/behind/a/proxy/v1", "https://host/behind/a/proxy", 443),
        ("http://[::1]", "http://[::1]", 80),
    ],
)
def test_a_url_is_taken_as_people_write_it(text: str, url: str, port: int) -> None:
    assert base_url(text) == url
    assert port_of(url) == port


def test_a_server_names_its_model_and_version(server: _Server) -> None:
    """The first that is no adapter, or the one that is asked for; the key goes with every question."""
    served = ask_server(server.url, key_headers("sk"))
    assert (served.name, served.root, served.version) == ("base", "/models/base", "0.32.0")
    assert set(server.keys) == {"Bearer sk"}
    assert ask_server(server.url, {}, "adapter").name == "adapter"
    with pytest.raises(UsageError, match="no model 'third'"):
        ask_server(server.url, {}, "third")


@pytest.mark.parametrize(
    ("path", "answer", "says"),
    [
        ("/health", (503, None), "not ready"),
        ("/health", (404, None), "not as vLLM does"),
        ("/version", (404, None), "not as vLLM does"),
        ("/version", (200, b"<html>"), "not as vLLM does"),
        ("/version", (200, ["0.32.0"]), "not as vLLM does"),
        ("/v1/models", (401, None), "API key"),
        ("/v1/models", (200, {"data": []}), "lists no model"),
        ("/v1/models", (200, {"data": [{"id": 3}, "x"]}), "lists no model"),
        ("/v1/models", (500, None), "lists no model"),
    ],
)
def test_a_server_that_cannot_be_measured_says_why(
    path: str, answer: tuple[int, Any], says: str, server: _Server
) -> None:
    server.answers[path] = answer
    with pytest.raises(EngineFailed, match=says) as refused:
        ask_server(server.url, {})
    assert refused.value.hint


def test_the_profilers_route_is_looked_for_without_starting_it(server: _Server) -> None:
    """A route for POST answers a GET with 405."""
    assert not offers_profiling(server.url)
    server.answers["/start_profile"] = (405, None)
    assert offers_profiling(server.url)


def test_a_server_on_another_machine_lives_as_long_as_it_answers(server: _Server) -> None:
    """Of one here, its process tells."""
    far = RunningServer(server.url)
    far.check_alive("in mid-run")
    server.http.shutdown()
    server.http.server_close()
    assert not is_answering(server.url)
    with pytest.raises(EngineFailed, match="no longer answers, in mid-run"):
        far.check_alive("in mid-run")
    RunningServer(server.url, 4711, lambda: True).check_alive("in mid-run")
    with pytest.raises(EngineFailed, match="process 4711 ended in mid-run"):
        RunningServer(server.url, 4711, lambda: False).check_alive("in mid-run")
    assert not offers_profiling(server.url)
