"""Finding the interpreter in a tree of processes."""

import os
import signal
import subprocess
import sys

from tests.unit.sampled_program import eventually
from vlmprof.collect.process_tree import handles_signal, is_alive, is_python, python_root


def test_the_interpreter_below_a_shell_is_the_root() -> None:
    """sh -c 'python; true' keeps the shell above: `; true` forbids it to replace itself."""
    wait = f"{sys.executable} -c 'input()'; true"
    with subprocess.Popen(["sh", "-c", wait], stdin=subprocess.PIPE) as shell:
        assert not is_python(shell.pid)
        assert eventually(lambda: python_root(shell.pid) != shell.pid)
        assert is_python(python_root(shell.pid))
        shell.communicate(b"\n")


def test_a_tree_without_an_interpreter_stays_what_it_is() -> None:
    """The caller then learns from the sampler that there is no Python."""
    with subprocess.Popen(["sleep", "60"]) as process:
        assert python_root(process.pid) == process.pid
        process.kill()


def test_a_process_that_awaits_collection_is_not_alive() -> None:
    """A zombie has a pid and no life."""
    process = subprocess.Popen(["true"])
    assert eventually(lambda: not is_alive(process.pid))
    process.wait()
    assert not is_alive(process.pid)


def test_a_handler_of_its_own_is_told_from_the_default() -> None:
    """This process handles SIGUSR1 while it has a handler for it; `sleep` has none, nor has a pid that is gone."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    assert handles_signal(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)
    assert not handles_signal(os.getpid(), signal.SIGUSR1)
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not handles_signal(process.pid, signal.SIGUSR1)
        process.kill()
    assert not handles_signal(process.pid, signal.SIGUSR1)
