"""A server's process tree, with small programs in the engine's place."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.unit.sampled_program import eventually
from vlmprof.engines import server as server_module
from vlmprof.engines.server import Server, start_server
from vlmprof.errors import EngineFailed

_SERVING = """
import http.server, sys
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
    def log_message(self, *_): pass
print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""
_FAMILY = """
import os, signal, subprocess, sys
wait = "import signal, sys; %s; print(flush=True); signal.pause()"
def child(how, **options):
    program = [sys.executable, "-c", wait % how]
    started = subprocess.Popen(program, stdout=subprocess.PIPE, **options)
    started.stdout.readline()
    return started.pid
polite = child("pass")
stubborn = child("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
elsewhere = child("signal.signal(signal.SIGTERM, signal.SIG_IGN)", start_new_session=True)
with open(sys.argv[1] + ".partial", "w") as file:
    print(polite, stubborn, elsewhere, file=file)
os.rename(sys.argv[1] + ".partial", sys.argv[1])
signal.pause()
"""
_WAITING = "import signal; signal.pause()"


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_TERM_WAIT_S", 1.0)
    monkeypatch.setattr(server_module, "_POLL_S", 0.05)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def started(tmp_path: Path, port: int) -> Iterator["_Starter"]:
    starter = _Starter(tmp_path / "server.log", port)
    yield starter
    for server in starter.servers:
        server.stop()


class _Starter:
    """Starts programs as servers; the fixture stops them."""

    def __init__(self, log: Path, port: int) -> None:
        self.log, self.port = log, port
        self.servers: list[Server] = []

    def __call__(self, program: str, *arguments: str, **environment: str) -> Server:
        command = [sys.executable, "-c", program, *arguments]
        server = start_server(command, environment, f"http://127.0.0.1:{self.port}", self.log)
        self.servers.append(server)
        return server


def _ignore(_text: str) -> None:
    """A progress display that nobody watches."""


def _is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_server_is_ready_when_health_answers(started: _Starter, port: int) -> None:
    """Until then the progress display gets the last line of its log."""
    server = started(_SERVING, str(port))
    server.wait_until_ready(60, _ignore)
    assert server.exit_code is None
    assert server.port == port
    assert server.log.read_text() == "serving\n"


def test_the_server_gets_our_environment_and_its_own(
    started: _Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's variables are kept, the run's are added over them."""
    monkeypatch.setenv("VLMPROF_TEST_KEPT", "kept")
    monkeypatch.setenv("VLMPROF_TEST_SET", "old")
    program = "import os; print(os.environ['VLMPROF_TEST_KEPT'], os.environ['VLMPROF_TEST_SET'])"
    server = started(program, VLMPROF_TEST_SET="new")
    assert eventually(lambda: server.exit_code is not None)
    assert server.log.read_text() == "kept new\n"


def test_a_server_that_dies_while_starting_says_why(started: _Starter) -> None:
    """The last line of its traceback, the exit code and the log's place; not a time-out."""
    server = started("raise ValueError('no such checkpoint')")
    with pytest.raises(EngineFailed) as failed:
        server.wait_until_ready(60, _ignore)
    assert failed.value.message == (
        "the engine ended with exit code 1 while starting: ValueError: no such checkpoint"
    )
    assert str(server.log) in failed.value.hint


def test_a_server_that_is_never_ready_times_out(started: _Starter) -> None:
    """The message has the last thing that it said."""
    server = started("print('loading weights', flush=True); " + _WAITING)
    assert eventually(lambda: server.log.read_text() != "")
    with pytest.raises(EngineFailed, match="not ready after 0 s: loading weights"):
        server.wait_until_ready(0.3, _ignore)


def test_a_program_that_does_not_exist_is_an_error_at_once(tmp_path: Path) -> None:
    """It is named, with what to do."""
    with pytest.raises(EngineFailed, match="no-such-engine") as failed:
        start_server(["/no-such-engine"], {}, "http://127.0.0.1:1", tmp_path / "log")
    assert "--python" in failed.value.hint


def test_stopping_ends_the_whole_tree(started: _Starter, tmp_path: Path) -> None:
    """A polite child, one that ignores SIGTERM, and one that does so in a session of its own."""
    pids_file = tmp_path / "pids"
    server = started(_FAMILY, str(pids_file))
    assert eventually(pids_file.exists)
    pids = [int(pid) for pid in pids_file.read_text().split()]
    assert not any(_is_gone(pid) for pid in pids)
    server.stop()
    assert eventually(lambda: all(_is_gone(pid) for pid in [*pids, server.pid]))
    assert server.exit_code is not None


def test_a_child_that_outlives_its_parent_is_remembered(started: _Starter, tmp_path: Path) -> None:
    """The root is killed and its children are adopted: no longer found from it, they end all the same."""
    pids_file = tmp_path / "pids"
    server = started(_FAMILY, str(pids_file))
    assert eventually(pids_file.exists)
    server.remember_family()
    os.kill(server.pid, signal.SIGKILL)
    assert eventually(lambda: server.exit_code is not None)
    server.stop()
    assert eventually(lambda: all(_is_gone(int(pid)) for pid in pids_file.read_text().split()))


def test_a_child_in_another_session_is_asked_politely_too(
    started: _Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal to the group does not reach it: it gets its own SIGTERM and may complete its files."""
    monkeypatch.setattr(server_module, "_TERM_WAIT_S", 120.0)
    done = tmp_path / "done"
    child = (
        "import pathlib, signal, sys; "
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(done)!r}).touch(), sys.exit())); "
        f"pathlib.Path({str(tmp_path / 'up')!r}).touch(); signal.pause()"
    )
    server = started(
        "import signal, subprocess, sys; "
        f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True); signal.pause()"
    )
    assert eventually((tmp_path / "up").exists)
    server.stop()
    assert done.exists()


def test_stopping_twice_or_after_the_end_is_harmless(started: _Starter) -> None:
    """Ctrl-C during the end of a run comes here a second time."""
    server = started("pass")
    assert eventually(lambda: server.exit_code is not None)
    server.stop()
    server.stop()
    with pytest.raises(EngineFailed, match="in mid-run"):
        server.check_alive("in mid-run")


_PROFILER = """
import pathlib, signal, sys
from vlmprof.engines.server import start_server
server = start_server([sys.executable, "-c", "import signal; signal.pause()"], {}, "http://127.0.0.1:1",
                      pathlib.Path(sys.argv[1]))
print(server.pid, flush=True)
signal.pause()
"""


def test_the_server_ends_when_the_profiler_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves no time to clean up: the kernel sends the server its signal."""
    assert _ends_after_kill(tmp_path, lambda pid: psutil.Process(pid).cmdline()[1:] == ["-c", _WAITING])


def test_the_server_ends_when_the_profiler_is_killed_at_once(tmp_path: Path) -> None:
    """Before the server could ask for the signal: it finds that its parent is another."""
    assert _ends_after_kill(tmp_path, lambda pid: True)


def _ends_after_kill(tmp_path: Path, is_far_enough: Callable[[int], bool]) -> bool:
    """Whether the server ends after its parent was killed at that point."""
    command = [sys.executable, "-c", _PROFILER, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as profiler:
        assert profiler.stdout is not None
        pid = int(profiler.stdout.readline())
        assert eventually(lambda: is_far_enough(pid))
        profiler.kill()
    return eventually(lambda: _is_gone(pid))
