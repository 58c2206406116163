"""The command line as a user starts it, and whatever it leaves behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_MARK = "VLMPROF_TEST_MARK"
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


class VlmprofProcess:
    """One `vlmprof` in a process group of its own, as a shell starts it in a terminal.

    A variable with a value of its own marks every process that descends from it, whatever group or session
    that one went into and whoever is its parent by now.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        output: Path,
        *,
        under: Sequence[object] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._mark = uuid.uuid4().hex
        self._stdout, self._stderr = output / f"{self._mark}.stdout", output / f"{self._mark}.stderr"
        # As installed: after an interrupt in a string that it executes (a dataclass being made), Python ends what
        # was started with -m by SIGINT, whatever exit code was asked for.
        command = [*under, Path(sys.executable).with_name("vlmprof"), *arguments]
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, **(environment or {}), _MARK: self._mark},
                process_group=0,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def finish(self, timeout_s: float = 1200) -> Outcome:
        """Wait for its end."""
        exit_code = self._process.wait(timeout_s)
        return Outcome(exit_code, self._stdout.read_text(), self._stderr.read_text())

    def wait_for_step(self, title: str, timeout_s: float = 900) -> None:
        """Wait until it says that a step has begun."""
        self.wait_until(lambda: title in self._stderr.read_text(), f"step {title!r}", timeout_s)

    def wait_until(self, happens: Callable[[], bool], what: str, timeout_s: float = 900) -> None:
        """Wait for something that happens before the process ends."""
        deadline_s = time.monotonic() + timeout_s
        while not happens():
            ended = self._process.poll()
            assert ended is None, f"ended with exit code {ended} before {what}:\n{self._stderr.read_text()}"
            assert time.monotonic() < deadline_s, f"no {what}:\n{self._stderr.read_text()}"
            time.sleep(_POLL_S)

    def press_ctrl_c(self) -> None:
        """What a terminal does: an interrupt for the whole foreground process group."""
        os.killpg(self.pid, signal.SIGINT)

    def signal(self, number: signal.Signals) -> None:
        """A signal for this one process."""
        self._process.send_signal(number)

    def running(self) -> list[str]:
        """It and its descendants that run now, as `"4711 austin -b ..."`."""
        return self.left_behind(grace_s=0)

    def left_behind(self, grace_s: float = 5.0) -> list[str]:
        """Processes that still run when the grace is over; some moments are needed to end by oneself."""
        deadline_s = time.monotonic() + grace_s
        while (left := self._descendants()) and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        return [f"{pid} {command}" for pid, command in left.items()]

    def kill_all(self) -> None:
        """End it and all that is left of it, for good."""
        for pid in self._descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def _descendants(self) -> dict[int, str]:
        mark = f"{_MARK}={self._mark}".encode()
        marked = {}
        for folder in Path("/proc").glob("[0-9]*"):
            # A process may end while it is looked at; one that has ended has no environment.
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    marked[int(folder.name)] = command.strip()
        return marked


@contextlib.contextmanager
def ended_well(arguments: Sequence[object], output: Path) -> Iterator[tuple[VlmprofProcess, Outcome]]:
    """A command that has run to its end with exit code 0; what is left of it is ended with the block."""
    process = VlmprofProcess(arguments, output)
    try:
        outcome = process.finish()
        assert outcome.exit_code == 0, outcome.stderr
        yield process, outcome
    finally:
        process.kill_all()


def assert_refused(outcome: Outcome, exit_code: int, *says: str) -> None:
    """The documented exit code, a message that says all of it and what to do next, and no traceback."""
    assert outcome.exit_code == exit_code, outcome.stderr
    for text in says:
        assert text in outcome.stderr
    message = outcome.stderr[outcome.stderr.rindex("vlmprof: ") :]
    assert "\n  -> " in message
    assert "Traceback" not in outcome.stderr
