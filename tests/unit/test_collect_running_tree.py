"""Who the processes of a server are that somebody else started."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vlmprof.collect import running_tree
from vlmprof.model.process import Role

# Each level starts the next and says so; the last waits. The first listens, as an API server does.
_TREE = """
import os, socket, subprocess, sys
level = int(sys.argv[1])
{title}
listener = socket.create_server(("127.0.0.1", 0)) if level == 0 else None
below = [sys.executable, __file__, str(level + 1)]
child = subprocess.Popen(below, stdout=subprocess.PIPE, text=True) if level < 2 else None
below = child.stdout.readline() if child else "\\n"
print(os.getpid(), listener.getsockname()[1] if listener else 0, below, end="" if child else "", flush=True)
sys.stdin.read() if level == 0 else child.wait() if child else __import__("time").sleep(600)
"""


class _Tree:
    def __init__(self, program: Path, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        numbers = [int(word) for word in self.process.stdout.readline().split()]
        self.pids, self.port = numbers[::2], numbers[1]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Callable[..., _Tree]]:
    """Starts three levels of Python processes, titled by the code that is given."""
    started: list[_Tree] = []

    def start(title: str = "", launcher: str = "") -> _Tree:
        program = tmp_path / (launcher or "server.py")
        program.write_text(_TREE.format(title=title))
        started.append(_Tree(program, [sys.executable, str(program), "0"]))
        return started[-1]

    yield start
    for each in started:
        os.killpg(each.process.pid, 9)
        each.process.communicate()


def test_the_listening_process_is_found_by_the_port(tree: Callable[..., _Tree]) -> None:
    """By the name and by the address of this machine; nothing listens on the port of the socket that was closed."""
    served = tree()
    assert running_tree.listening_pid("127.0.0.1", served.port) == served.pids[0]
    assert running_tree.listening_pid("localhost", served.port) == served.pids[0]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert running_tree.listening_pid("127.0.0.1", port) is None


def test_another_machines_port_is_not_looked_for_here(tree: Callable[..., _Tree]) -> None:
    """192.0.2.1 is an address for documentation: nobody's, and with it nothing of this machine may be sampled."""
    assert running_tree.listening_pid("192.0.2.1", tree().port) is None
    assert "another machine" in running_tree.why_unknown("192.0.2.1", 8000)
    assert "--pid" in running_tree.why_unknown("127.0.0.1", 8000)


def test_without_titles_the_tree_tells_the_roles(tree: Callable[..., _Tree]) -> None:
    """API server, below it the engine core, below that the worker."""
    served = tree()
    processes = running_tree.served_processes(served.pids[0])
    assert [process.pid for process in processes] == served.pids
    assert [process.label for process in processes] == ["api_server", "engine_core", "worker 0"]
    assert processes[1].parent_pid == served.pids[0]
    assert all(process.threads for process in processes)


def test_vllms_titles_tell_the_roles(tree: Callable[..., _Tree]) -> None:
    """Here two API servers below one another and the engine core last, which the tree alone would get wrong."""
    pytest.importorskip("setproctitle")
    titles = ["VLLM::APIServer_0", "VLLM::APIServer_1", "VLLM::EngineCore"]
    served = tree(f"import setproctitle; setproctitle.setproctitle({titles}[level])")
    roles = [process.role for process in running_tree.served_processes(served.pids[0])]
    assert roles == [Role.API_SERVER, Role.API_SERVER, Role.ENGINE_CORE]
    assert running_tree.find_root(served.pids[2]) == served.pids[0]


def test_a_child_leads_to_the_root_of_its_server(tree: Callable[..., _Tree]) -> None:
    """`python .../vllm serve`: the script's name says that it is vLLM; the test that started it is not."""
    served = tree(launcher="vllm")
    assert running_tree.find_root(served.pids[2]) == served.pids[0]


def test_a_process_that_is_gone_has_no_root(tree: Callable[..., _Tree]) -> None:
    """Its number was some process's a moment ago."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert running_tree.find_root(ended.pid) is None
    assert running_tree.served_processes(ended.pid) == []
    assert running_tree.setting_of(ended.pid, "PATH") == ""
    assert running_tree.started_s(ended.pid) == 0.0


def test_another_users_process_names_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """This very process, looked at by user 4242; by root it may be looked at whoever's it is."""
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert running_tree.other_owner(os.getpid()) != ""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert running_tree.other_owner(os.getpid()) == ""


def test_secrets_of_a_command_line_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several keys after one option, a key behind =, and a token; the rest as it is."""
    words = [
        "vllm",
        "serve",
        "--api-key",
        "one",
        "two",
        "--port",
        "8000",
        "--ssl-key-password=p",
        "--hf-token",
        "t",
    ]
    monkeypatch.setattr(running_tree, "_command", lambda _pid: words)
    assert running_tree.command_of(1) == [
        *("vllm", "serve", "--api-key", "***", "***", "--port", "8000"),
        *("--ssl-key-password=***", "--hf-token", "***"),
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["--profiler-config", json.dumps({"profiler": "torch", "torch_profiler_dir": "/traces"})],
        ["--profiler_config=" + json.dumps({"torch_profiler_dir": "/traces"})],
        ["--profiler-config.torch_profiler_dir", "/traces"],
        ["--profiler-config.profiler=torch", "--profiler-config.torch_profiler_dir=/traces"],
    ],
)
def test_the_folder_of_traces_is_on_the_command_line(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every form in which vLLM takes its configuration there."""
    monkeypatch.setattr(running_tree, "_command", lambda _pid: ["vllm", "serve", *words, "--port", "8000"])
    assert running_tree.trace_folder(1) == Path("/traces")


def test_without_a_profiler_there_is_no_folder_of_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that is cut off or names none is none."""
    for words in (["--port", "8000"], ["--profiler-config", "{"], ["--profiler-config"]):
        monkeypatch.setattr(running_tree, "_command", lambda _pid, words=words: words)
        monkeypatch.setattr(running_tree, "setting_of", lambda _pid, _name: "")
        assert running_tree.trace_folder(1) is None


def test_versions_come_from_where_the_process_loaded_its_code() -> None:
    """Of this process, which has loaded numpy's libraries."""
    import numpy as np

    found = running_tree.packages_of(os.getpid(), ("numpy", "no-such-package"))
    assert found == {"numpy": np.__version__}
    assert running_tree.python_of(os.getpid())[1] == f"3.{sys.version_info[1]}"
