"""A served engine's process tree: started in a group of its own, watched, and ended without leaving anything."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import httpx
import psutil

from vlmprof.engines.log import failure_cause, last_activity, remedy
from vlmprof.errors import EngineFailed
from vlmprof.lifetime import ending_with_us

_NAME_INTERPRETER = "name the engine's interpreter with --python"
_POLL_S = 0.25
_END_POLL_S = 0.05
_TERM_WAIT_S = 20.0
_KILL_WAIT_S = 30.0

Progress = Callable[[str], None]


class ServedEngine(Protocol):
    """What measuring needs of a server, whoever started it."""

    @property
    def url(self) -> str:
        """Without a trailing slash."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Sent with every request."""

    @property
    def log(self) -> Path | str:
        """Where its log is, for a message."""

    def check_alive(self, when: str) -> None:
        """Raise EngineFailed if it has ended."""

    def remember_family(self) -> None:
        """Note its processes, where somebody has to end them."""


class Server:
    """One running server; `pid` is the root of its process tree, `url` has no trailing slash."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self._process = process
        self.url = url
        self.headers: Mapping[str, str] = {}
        self.log = log
        self._family: dict[int, psutil.Process] = {}

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def wait_until_ready(self, timeout_s: float, progress: Progress) -> None:
        """Return when `/health` answers.

        Raises:
            EngineFailed: the server ended, with the cause from its log, or did not answer in time.
        """
        deadline_s = time.monotonic() + timeout_s
        with httpx.Client(trust_env=False, timeout=2.0) as client:
            while not self._is_healthy(client):
                self.check_alive("while starting")
                if time.monotonic() > deadline_s:
                    raise EngineFailed(
                        f"the engine was not ready after {timeout_s:.0f} s: {last_activity(self.log)}",
                        hint=f"see {self.log}, or wait longer with --ready-timeout",
                    )
                progress(last_activity(self.log))
                self.remember_family()
                time.sleep(_POLL_S)
        self.remember_family()

    def _is_healthy(self, client: httpx.Client) -> bool:
        try:
            return client.get(f"{self.url}/health").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def check_alive(self, when: str) -> None:
        """Raise EngineFailed, with the cause from the log, if the server has ended."""
        if self.exit_code is not None:
            cause = failure_cause(self.log)
            kept = f"its whole log is {self.log}; what was captured until then is kept"
            raise EngineFailed(
                f"the engine ended with exit code {self.exit_code} {when}: {cause}",
                hint="; ".join(filter(None, [remedy(cause), kept])),
            )

    def remember_family(self) -> None:
        """Note the tree's processes: one that outlives its parent can no longer be found from the root."""
        for process in _tree(self.pid):
            self._family.setdefault(process.pid, process)

    def stop(self) -> None:
        """End every process of the tree: politely first, then for good. Safe to call twice."""
        self.remember_family()
        self._signal_group(signal.SIGTERM)
        self._terminate_outside_group()
        _wait_for_end(self._family.values(), _TERM_WAIT_S)
        self._signal_group(signal.SIGKILL)
        left = [process for process in self._family.values() if _lives(process)]
        for process in left:
            _kill(process)
        _wait_for_end(left, _KILL_WAIT_S)
        self._process.wait(timeout=_KILL_WAIT_S)

    def _terminate_outside_group(self) -> None:
        """A signal to the group does not reach a child that made a session of its own."""
        for process in self._family.values():
            try:
                if os.getpgid(process.pid) != self.pid:
                    process.terminate()
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return


def start_server(command: Sequence[str], environment: Mapping[str, str], url: str, log: Path) -> Server:
    """Start a command in a process group of its own, its output in `log`; it ends when this process ends.

    Raises:
        EngineFailed: the program cannot be executed.
    """
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                ending_with_us(command, signal.SIGTERM),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                process_group=0,
            )
        except OSError as error:
            raise EngineFailed(
                f"cannot start {command[0]}: {error.strerror}", hint=_NAME_INTERPRETER
            ) from error
    return Server(process, url, log)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _lives(process: psutil.Process) -> bool:
    """Whether it still runs; one that ended and that nobody collects, as in many containers, does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _wait_for_end(processes: Collection[psutil.Process], timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s and any(_lives(process) for process in processes):
        time.sleep(_END_POLL_S)


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
