"""A load generator of the user's own, run as a child."""

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from vlmprof.errors import ToolMissing, UsageError

_POLL_S = 0.2
_GRACE_S = 5.0
_TAIL_LINES = 20
_TAIL_BYTES = 64_000


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """The server that the load is for: base URL without a trailing slash, and the model's served name."""

    url: str
    model: str
    port: int


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """How a load command ended, on the session clock.

    Attributes:
        exit_code: negative for the signal that killed it.
        tail: the last lines of its output.
    """

    command: tuple[str, ...]
    exit_code: int
    start_ns: int
    end_ns: int
    tail: str


def run_load_command(
    command: str, target: LoadTarget, log: Path, *, on_wait: Callable[[], None] = lambda: None
) -> LoadOutcome:
    """Run a load generator until it ends, and end whatever it leaves behind.

    `{url}`, `{model}` and `{port}` in the command are replaced; other braces stay as they are. The child
    also finds `VLMPROF_URL` (the base URL), `OPENAI_BASE_URL` (with `/v1`) and `OPENAI_API_KEY=EMPTY` in its
    environment. It is no shell: pipes and variables need `bash -c '...'`. A non-zero exit is returned, not
    raised: the requests that it made are worth reading.

    Args:
        log: receives its output, both streams, as it comes.
        on_wait: called five times a second; what it raises, as Ctrl-C does, ends the child's whole group.

    Raises:
        UsageError: the command is empty or its quoting is broken.
        ToolMissing: there is no such program.
    """
    words = load_words(command, target)
    start_ns = time.perf_counter_ns()
    with log.open("wb") as output:
        child = _start(words, target, output.fileno())
        try:
            while child.poll() is None:
                on_wait()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(_POLL_S)
        finally:
            _end_group(child)
    return LoadOutcome(words, child.returncode, start_ns, time.perf_counter_ns(), _tail(log))


def check_load_command(command: str) -> None:
    """Refuse, before a server is started for it, a command that cannot be run.

    Raises:
        UsageError: the command is empty or its quoting is broken.
        ToolMissing: there is no such program.
    """
    program = load_words(command, LoadTarget("", "", 0))[0]
    if shutil.which(program) is None:
        raise _not_startable(program, "no such program")


def load_words(command: str, target: LoadTarget) -> tuple[str, ...]:
    """The command's words, with the target's values in them."""
    values = {"{url}": target.url, "{model}": target.model, "{port}": str(target.port)}
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--load-cmd {command!r}: {error}", hint="close the quotes") from error
    if not words:
        raise UsageError("--load-cmd is empty", hint="as --load-cmd 'vllm bench serve --base-url {url} ...'")
    for placeholder, value in values.items():
        words = [word.replace(placeholder, value) for word in words]
    return tuple(words)


def _start(words: tuple[str, ...], target: LoadTarget, output: int) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "VLMPROF_URL": target.url,
        "OPENAI_BASE_URL": f"{target.url}/v1",
        "OPENAI_API_KEY": "EMPTY",
    }
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise _not_startable(words[0], str(error)) from error


def _not_startable(program: str, reason: str) -> ToolMissing:
    return ToolMissing(
        f"--load-cmd: {program} cannot be started: {reason}", hint="give its full path, or put it on PATH"
    )


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Terminate, then kill, what is left of the child's process group, the child included."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if not _has_living(child):
            break
        with suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        deadline_s = time.monotonic() + _GRACE_S
        while _has_living(child) and time.monotonic() < deadline_s:
            time.sleep(_POLL_S / 4)
    child.wait()


def _has_living(child: subprocess.Popen[bytes]) -> bool:
    """Whether the child's group has a living process; the dead whom nobody has waited for do not count."""
    child.poll()
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == child.pid and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:])
