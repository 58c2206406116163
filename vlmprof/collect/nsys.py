"""Nsight Systems: NVTX ranges of our spans, CUDA, and the OS runtime, in one recording per profiled block.

The server is launched under nsys, which loads its libraries into it; a recording starts and stops as often
as wanted. CPU sampling and context switches stay off: austin samples, and the two would cost twice.

What nsys records holds the server's whole environment, tokens included, several times over, and cannot be
kept from it: its libraries read it inside each process. So recordings lie in a folder for their owner's
eyes only until their redacted database moves into `raw/`; the report itself is kept only on demand.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import psutil

from vlmprof.collect.base import CollectorKind, Served, collector_state
from vlmprof.collect.nsys_report import export_report, make_report, redact
from vlmprof.collect.process_tree import is_alive, python_root
from vlmprof.collect.tools import Tool
from vlmprof.errors import VlmprofError
from vlmprof.model.run_info import CollectorInfo

_LAUNCH = str(Path(__file__).with_name("nsys_launch.sh"))
_COMMAND_TIMEOUT_S = 180
_DAEMON_TIMEOUT_S = 3


class NsysCollector:
    """Records each profiled block into `raw/nsys.<block>.sqlite`.

    Databases are finished in `stop`, not between blocks: the control blocks stay undisturbed. `stop` also ends
    `nsys launch`, the process that the engine's own start command became; the server below it, which nsys
    put into a session of its own, goes on.
    """

    name = "nsys"
    kind: CollectorKind = "gpu"

    def __init__(
        self, raw: Path, tool: Tool, *, gpu: bool, keep_reports: bool = False, reason: str = ""
    ) -> None:
        self._raw = raw
        self._private = raw / "nsys.private"
        self._log = raw / "nsys.log"
        self._mark = raw.absolute() / "nsys.started"
        self._tool = tool
        self._gpu = gpu
        self._keep_reports = keep_reports
        self._reason = reason
        self._session = f"vlmprof-{uuid.uuid4().hex[:12]}"
        self._command: list[str] = []
        self._server_pid = 0
        self._blocks = 0
        self._recordings: list[Path] = []
        self._recording = False
        self._files: list[Path] = []
        self._problems: list[str] = []

    def wrap_command(self, command: list[str]) -> list[str]:
        self._command = launch_command(self._tool, self._session, gpu=self._gpu)
        launched, run = (["/bin/sh", _LAUNCH, action, str(self._mark)] for action in ("launch", "run"))
        return [*launched, *self._command, *run, *command]

    def environment(self) -> dict[str, str]:
        # nsys's libraries do not survive a fork: a process that was forked comes out empty.
        return {"VLMPROF_NVTX": "1", "VLLM_WORKER_MULTIPROC_METHOD": "spawn"}

    def engine_args(self) -> list[str]:
        return []

    def attach(self, served: Served) -> None:
        self._server_pid = python_root(served.pid)

    def resume(self) -> None:
        if not self._server_pid or self._recording:
            return
        self._private.mkdir(mode=0o700, exist_ok=True)
        stem = self._private / f"nsys.{self._blocks}"
        self._blocks += 1
        options = ["--sample=none", "--cpuctxsw=none", "--force-overwrite=true", f"--output={stem}"]
        if self._nsys("start", *options):
            self._recordings.append(stem)
            self._recording = True

    def pause(self) -> None:
        if self._recording:
            self._recording = False
            self._nsys("stop")

    def stop(self) -> None:
        self.pause()
        self._end_session()
        while self._recordings:
            self._finish(self._recordings.pop(0))
        shutil.rmtree(self._private, ignore_errors=True)
        if self._server_pid and not is_alive(self._server_pid):
            Path(tempfile.gettempdir(), f"nsys_termination_status_{self._server_pid}").unlink(missing_ok=True)

    @property
    def files(self) -> list[Path]:
        return [path for path in (*self._files, self._log) if path.exists()]

    @property
    def info(self) -> CollectorInfo:
        problem = "; ".join(self._problems)
        return CollectorInfo(
            name=self.name,
            kind=self.kind,
            version=self._tool.version,
            state=collector_state(bool(self._files or self._recordings), problem),
            reason=self._reason,
            detail=problem,
            command=self._command,
        )

    def _nsys(self, action: str, *options: str) -> bool:
        """Run one nsys command on the session; a failure is noted, never raised."""
        command = [str(self._tool.path), action, f"--session={self._session}", *options]
        try:
            with self._log.open("ab") as log:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=_COMMAND_TIMEOUT_S,
                    check=False,
                    process_group=0,
                )
        except (OSError, subprocess.TimeoutExpired) as error:
            self._problems.append(f"nsys {action}: {error}")
            return False
        if done.returncode != 0:
            ended = "" if is_alive(self._server_pid) else " (the server has ended)"
            self._problems.append(f"nsys {action} failed with exit code {done.returncode}{ended}")
        return done.returncode == 0

    def _end_session(self) -> None:
        """Let go of the server without harm.

        nsys's daemon may stay as long as the server does; told to end, it leaves the server alone.
        """
        if not (daemons := _daemons(self._session)):
            return
        if is_alive(self._server_pid):
            self._nsys("shutdown", "--kill=none")
        for end in (psutil.Process.terminate, psutil.Process.kill):
            _, daemons = psutil.wait_procs(daemons, timeout=_DAEMON_TIMEOUT_S)
            for daemon in daemons:
                with contextlib.suppress(psutil.NoSuchProcess):
                    end(daemon)

    def _finish(self, stem: Path) -> None:
        """Make one recording's redacted database."""
        try:
            report = make_report(self._tool, stem)
            database = export_report(self._tool, report)
            redact(database, os.environ)
            kept = [database, *([report] if self._keep_reports else [])]
            self._files += [path.replace(self._raw / path.name) for path in kept]
        except (VlmprofError, OSError) as error:
            self._problems.append(str(error))


def launch_command(tool: Tool, session: str, *, gpu: bool) -> list[str]:
    """Start a program under nsys, recording nothing yet."""
    options = [f"--session-new={session}", "--wait=primary", f"--trace={'cuda,' if gpu else ''}nvtx,osrt"]
    if gpu:
        # Node-wise, because whole graphs hide the kernels inside them; forks, because workers may be forked.
        options += ["--cuda-graph-trace=node", "--trace-fork-before-exec=true"]
    return [str(tool.path), "launch", *options]


def _daemons(session: str) -> list[psutil.Process]:
    """The processes that nsys keeps for a session, outside the server's own tree."""
    mark = f"--session-name={session}"
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if mark in (process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]
