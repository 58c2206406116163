"""A small Python program with threads and a child process, for the samplers to watch."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

_PROGRAM = r"""
import os, subprocess, sys, threading, time

def busy_function():
    end = time.monotonic() + 0.004
    while time.monotonic() < end:
        pass

def work():
    while True:
        busy_function()
        time.sleep(0.006)

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
child = subprocess.Popen([sys.executable, *sys.argv[1:]]) if len(sys.argv) > 2 else None
# In one write, and so in one piece beside the other process's, whatever PYTHONUNBUFFERED says.
os.write(1, f"{os.getpid()} {child.pid if child else 0}\n".encode())
work()
"""


@dataclass(frozen=True, slots=True)
class SampledProgram:
    """The running program: its root, its child, and the root as a Popen."""

    pid: int
    child_pid: int
    process: subprocess.Popen[str]

    def runs(self) -> bool:
        """Both processes are alive and none of their threads is stopped."""
        states = {state for pid in (self.pid, self.child_pid) for state in thread_states(pid)}
        return self.process.poll() is None and not states & {"T", "t", "Z", ""}


@contextmanager
def sampled_program() -> Iterator[SampledProgram]:
    """Run it in a process group of its own, and leave nothing of it behind."""
    arguments = ["-c", _PROGRAM]
    process = subprocess.Popen(
        [sys.executable, *arguments, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        # Each says when its interpreter is up: its pid, and its child's or 0.
        said = [tuple(map(int, process.stdout.readline().split())) for _ in range(2)]
        pid, child_pid = next(pair for pair in said if pair[1])
        yield SampledProgram(pid, child_pid, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def thread_states(pid: int) -> set[str]:
    """The kernel's state letter of every thread; a process that is gone has the empty one."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return {""}
    return {_state(f"/proc/{pid}/task/{thread}/stat") for thread in threads}


def group_members(process_group: int) -> list[int]:
    """The processes of a group that still run; those that have ended and await collection do not count."""
    return [
        process.pid
        for process in psutil.process_iter(["status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and _group_of(process.pid) == process_group
    ]


def eventually(condition: Callable[[], object], timeout_s: float = 120) -> bool:
    """Whether a condition comes true in time, which is long: a busy machine is no failure."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def _state(stat: str) -> str:
    try:
        with open(stat, encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "S"


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1
