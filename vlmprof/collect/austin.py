"""austin: samples the Python stacks of every served process from outside, on the wall clock.

It reads with process_vm_readv and never stops the process that it reads: stopped itself, it costs nothing
and leaves the server as it is. That is how it is paused. A round that a pause interrupts carries the pause in
its duration, so the sum of durations stays the time since the start.

austin writes full blocks of stdio (4 kB with glibc, 1 kB with musl), each at the moment at which it takes the
sample that fills it: the arrival of a block dates its last sample. `-P` would date every sample, at the
price of a write for each.
"""

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vlmprof.collect.attaching import Attaching
from vlmprof.collect.base import CollectorKind, Served, collector_state
from vlmprof.collect.permission import probe_target
from vlmprof.collect.process_tree import is_alive, python_root
from vlmprof.collect.stream_recorder import StreamRecorder
from vlmprof.collect.tools import Tool, find_tool
from vlmprof.lifetime import ending_with_us
from vlmprof.model.run_info import CollectorInfo
from vlmprof.units import NS_PER_MS

DEFAULT_INTERVAL_NS = 2 * NS_PER_MS

# The smaller of the two block sizes: the header and what austin says of itself are shorter.
_FIRST_BLOCK_BYTES = 1024
_FIRST_SAMPLES_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 30
_NICENESS = -5
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def find_austin(named: Path | None = None) -> Tool:
    """austin 3.7 or 4, next to the interpreter or on PATH, or where the user says.

    Raises:
        ToolMissing: there is none that runs.
    """
    return find_tool("austin", named=named, hint="pip install 'austin-dist>=3.7,<5', or pass --austin PATH")


class AustinCollector(Attaching):
    """Samples a running server and all its children into `raw/austin.mojo`.

    `raw/austin.arrivals.bin` says when each part of it came (`stream_recorder.ARRIVAL`), `raw/austin.log` is
    what austin printed.
    """

    name = "austin"
    kind: CollectorKind = "cpu"

    def __init__(
        self, raw: Path, tool: Tool, *, interval_ns: int = DEFAULT_INTERVAL_NS, reason: str = ""
    ) -> None:
        self._mojo = raw / "austin.mojo"
        self._arrivals = raw / "austin.arrivals.bin"
        self._log = raw / "austin.log"
        self._tool = tool
        self._interval_ns = interval_ns
        self._reason = reason
        self._command: list[str] = []
        self._server_pid = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._recorder: StreamRecorder | None = None
        self._problem = ""
        self._samples = False
        self._stopping = False

    def attach(self, served: Served) -> None:
        self._server_pid = python_root(served.pid)
        permission = probe_target(self._server_pid)
        if not permission.read_memory:
            self._problem = f"{permission.reason}; fix: {permission.fix}"
            return
        try:
            self._start()
        except OSError as error:
            self._problem = f"austin did not start: {error}"
            return
        self._wait_for_samples()
        self.pause()

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)
        if self._process and self._process.returncode is None:
            # Without WNOWAIT this would collect an austin that has ended, and with it the exit code.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def stop(self) -> None:
        if self._process is None or self._recorder is None:
            return
        self._note_early_end()
        self._stopping = True
        # The interrupt is pending when austin continues: it flushes and ends without another round.
        self._signal(signal.SIGINT)
        self._signal(signal.SIGCONT)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._problem = self._problem or f"austin did not end within {_STOP_TIMEOUT_S} s and was killed"
        self._recorder.join(_STOP_TIMEOUT_S)

    @property
    def files(self) -> list[Path]:
        return [path for path in (self._mojo, self._arrivals, self._log) if path.exists()]

    @property
    def info(self) -> CollectorInfo:
        self._note_early_end()
        recorder = self._recorder
        problem = self._problem or (recorder.error if recorder else "")
        return CollectorInfo(
            name=self.name,
            kind=self.kind,
            version=self._tool.version,
            state=collector_state(self._samples, problem),
            reason=self._reason,
            detail=problem,
            command=self._command,
        )

    def _start(self) -> None:
        self._command = austin_command(self._tool, self._server_pid, self._interval_ns)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                # A stopped process answers no other signal.
                ending_with_us(self._command, signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # austin would log to the system's journal, or to the console of a container.
                env={**os.environ, "AUSTIN_NO_LOGGING": "1"},
                # Ctrl-C is for the session, which then stops austin in its turn.
                process_group=0,
            )
        self._prefer()
        assert self._process.stdout is not None
        self._recorder = StreamRecorder(self._process.stdout, self._mojo, self._arrivals)

    def _prefer(self) -> None:
        """Ask for a little priority: preempted between its clock and a stack, austin dates that stack too early.

        On busy cores that was up to 10 ms. Without the permission it stays as it is.
        """
        assert self._process is not None
        with suppress(PermissionError, ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICENESS)

    def _wait_for_samples(self) -> None:
        """Only samples fill a block: its arrival means that austin found the interpreter and reads it."""
        assert self._recorder is not None
        self._samples = self._recorder.wait_for(_FIRST_BLOCK_BYTES, _FIRST_SAMPLES_TIMEOUT_S)
        if not self._samples:
            self._note_early_end()
            self._problem = self._problem or f"austin took no sample within {_FIRST_SAMPLES_TIMEOUT_S} s"

    def _signal(self, number: signal.Signals) -> None:
        # poll() first: the pid of a process that was collected may be another's by now.
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    def _note_early_end(self) -> None:
        """austin ends by itself with the server, which is well; alone, something is wrong."""
        if self._problem or self._stopping or self._process is None or self._process.poll() is None:
            return
        if is_alive(self._server_pid):
            self._problem = f"austin ended by itself: {_last_lines(self._log) or 'it said nothing'}"


def austin_command(tool: Tool, pid: int, interval_ns: int) -> list[str]:
    """Sample pid and its children, idle threads included; 3.x writes MOJO only when asked, 4.x always."""
    binary = ["-b"] if tool.release < (4,) else []
    return [str(tool.path), *binary, "-i", f"{interval_ns // 1000}us", "-C", "-p", str(pid)]


def _last_lines(log: Path, count: int = 3) -> str:
    """The end of what austin printed, without its banner, colours and line breaks."""
    try:
        text = _ESCAPE.sub("", log.read_text(errors="replace"))
    except OSError:
        return ""
    lines: Sequence[str] = [line.strip() for line in text.splitlines() if re.search(r"\w{3}", line)]
    return " / ".join(lines[-count:])[:300]
