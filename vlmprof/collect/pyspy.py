"""py-spy: the fallback where austin cannot be used; a tenth of austin's rate at twice its cost.

One py-spy watches one process. With `--subprocesses` its trace keys threads by their pthread address alone,
and forked processes share those: their stacks would be mixed up. `--idle` keeps a thread that waits from
looking busy until its next sample; `--threads` adds the kernel's thread id as each stack's outermost frame.
"""

import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vlmprof.collect.attaching import Attaching
from vlmprof.collect.base import CollectorKind, Served, collector_state
from vlmprof.collect.permission import probe_target
from vlmprof.collect.process_tree import handles_signal, is_alive, python_pids, python_root
from vlmprof.collect.tools import Tool, find_tool
from vlmprof.model.run_info import CollectorInfo
from vlmprof.read.pyspy_index import PySpyFile

DEFAULT_RATE_HZ = 100

_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 30
_POLL_S = 0.005


@dataclass(slots=True)
class _Recorder:
    pid: int
    file: Path
    started_ns: int
    process: subprocess.Popen[bytes]


def find_pyspy(named: Path | None = None) -> Tool:
    """py-spy, next to the interpreter or on PATH, or where the user says.

    Raises:
        ToolMissing: there is none that runs.
    """
    return find_tool("py-spy", named=named, hint="pip install py-spy")


class PySpyCollector(Attaching):
    """Samples every Python process of the server into one `raw/pyspy.<block>.<pid>.json` a block."""

    name = "py-spy"
    kind: CollectorKind = "cpu"

    def __init__(
        self,
        raw: Path,
        tool: Tool,
        *,
        rate_hz: int = DEFAULT_RATE_HZ,
        nonblocking: bool = True,
        reason: str = "",
    ) -> None:
        """Nonblocking reads a running process and drops torn stacks; blocking stops it for each sample."""
        self._raw = raw
        self._tool = tool
        self._rate_hz = rate_hz
        self._nonblocking = nonblocking
        self._reason = reason
        self._log = raw / "pyspy.log"
        self._server_pid = 0
        self._block = -1
        self._recorders: list[_Recorder] = []
        self._written: list[PySpyFile] = []
        self._command: list[str] = []
        self._problem = ""

    def attach(self, served: Served) -> None:
        self._server_pid = python_root(served.pid)
        permission = probe_target(self._server_pid)
        if not permission.read_memory:
            self._problem = f"{permission.reason}; fix: {permission.fix}"
            self._server_pid = 0

    def resume(self) -> None:
        if not self._server_pid:
            return
        self._block += 1
        try:
            self._recorders = [self._start(pid) for pid in python_pids(self._server_pid)]
        except OSError as error:
            self._problem = f"py-spy did not start: {error}"
        for recorder in self._recorders:
            self._wait_until_sampling(recorder)

    def pause(self) -> None:
        ended_ns = time.perf_counter_ns()
        for recorder in self._recorders:
            if recorder.process.poll() is None:
                recorder.process.send_signal(signal.SIGINT)
        for recorder in self._recorders:
            self._collect(recorder, ended_ns)
        self._recorders = []
        self._write_index()

    def stop(self) -> None:
        if self._recorders:
            self.pause()

    @property
    def files(self) -> list[Path]:
        written = [self._raw / entry.file for entry in self._written]
        return [path for path in (*written, self._index, self._log) if path.exists()]

    @property
    def info(self) -> CollectorInfo:
        return CollectorInfo(
            name=self.name,
            kind=self.kind,
            version=self._tool.version,
            state=collector_state(bool(self._written or self._recorders), self._problem),
            reason=self._reason,
            detail=self._problem,
            command=self._command,
        )

    @property
    def _index(self) -> Path:
        return self._raw / "pyspy.index.json"

    def _start(self, pid: int) -> _Recorder:
        file = self._raw / f"pyspy.{self._block}.{pid}.json"
        self._command = pyspy_command(
            self._tool, pid, file, rate_hz=self._rate_hz, nonblocking=self._nonblocking
        )
        started_ns = time.perf_counter_ns()
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                process_group=0,
            )
        return _Recorder(pid, file, started_ns, process)

    def _wait_until_sampling(self, recorder: _Recorder) -> None:
        """py-spy handles an interrupt from when it samples; one that came earlier would end it without a file."""
        end = time.monotonic() + _START_TIMEOUT_S
        while recorder.process.poll() is None and time.monotonic() < end:
            if handles_signal(recorder.process.pid, signal.SIGINT):
                return
            time.sleep(_POLL_S)
        if is_alive(recorder.pid):
            self._problem = f"py-spy did not sample pid {recorder.pid}: {_last_line(self._log)}"

    def _collect(self, recorder: _Recorder, ended_ns: int) -> None:
        """Wait for one py-spy to write its file."""
        try:
            recorder.process.communicate(timeout=_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            recorder.process.kill()
            recorder.process.communicate()
            self._problem = f"py-spy of pid {recorder.pid} did not end within {_STOP_TIMEOUT_S} s"
        if recorder.file.exists() and recorder.file.stat().st_size:
            entry = PySpyFile(
                file=recorder.file.name,
                pid=recorder.pid,
                block=self._block,
                started_ns=recorder.started_ns,
                ended_ns=ended_ns,
            )
            self._written.append(entry)
        elif not self._problem:
            self._problem = f"py-spy wrote nothing for pid {recorder.pid}: {_last_line(self._log)}"

    def _write_index(self) -> None:
        try:
            self._index.write_bytes(msgspec.json.format(msgspec.json.encode(self._written), indent=1))
        except OSError as error:
            self._problem = f"cannot write {self._index.name}: {error.strerror}"


def pyspy_command(tool: Tool, pid: int, file: Path, *, rate_hz: int, nonblocking: bool) -> list[str]:
    """Record one process with times, idle threads included, threads by the kernel's ids."""
    options = ["--format", "chrometrace", "--idle", "--threads", "--rate", str(rate_hz)]
    options += ["--nonblocking"] if nonblocking else []
    return [str(tool.path), "record", *options, "-o", str(file), "-p", str(pid)]


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return "it said nothing"
    return lines[-1][:200] if lines else "it said nothing"
