"""vLLM's own torch profiler: GPU kernels and copies where Nsight Systems is not to be had.

Its HTTP routes exist only when the engine is started with a profiler configured. Each block ends with the
engine writing a file per worker, which can take as long as the block itself.
"""

import http.client
import json
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from vlmprof.collect.base import CollectorKind, Served, collector_state
from vlmprof.model.run_info import CollectorInfo

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 300
_ERROR_CHARS = 200
_NO_ANSWER = 0


class TorchProfilerCollector:
    """Records each profiled block into `raw/torch.<block>*.pt.trace.json.gz`, one file a worker."""

    name = "torch"
    kind: CollectorKind = "gpu"

    def __init__(self, raw: Path, *, version: str = "", reason: str = "") -> None:
        self._raw = raw.absolute()
        self._version = version
        self._reason = reason
        self._url = ""
        self._block = -1
        self._recording = False
        self._problem = ""

    def wrap_command(self, command: list[str]) -> list[str]:
        return command

    def environment(self) -> dict[str, str]:
        return {}

    def engine_args(self) -> list[str]:
        config = {
            "profiler": "torch",
            "torch_profiler_dir": str(self._raw),
            # Python stacks come from the CPU sampler, at a fraction of the cost.
            "torch_profiler_with_stack": False,
            # The API server launches no kernels.
            "ignore_frontend": True,
            "torch_profiler_dump_cuda_time_total": False,
        }
        return ["--profiler-config", json.dumps(config)]

    def attach(self, served: Served) -> None:
        self._url = served.url

    def resume(self) -> None:
        if not self._url or self._recording:
            return
        self._block += 1
        status = self._post("/start_profile", _START_TIMEOUT_S)
        self._recording = status == http.client.OK
        if status == _NO_ANSWER:
            # A start that was given up may still take effect; one that was refused may be somebody else's.
            self._post("/stop_profile", _STOP_TIMEOUT_S)

    def pause(self) -> None:
        if self._recording:
            self._recording = False
            self._post("/stop_profile", _STOP_TIMEOUT_S)

    def stop(self) -> None:
        self.pause()

    @property
    def files(self) -> list[Path]:
        return sorted(self._raw.glob("*.pt.trace.json*"))

    @property
    def info(self) -> CollectorInfo:
        recorded = bool(self.files or self._recording)
        problem = self._problem
        if self._block >= 0 and not recorded:
            problem = problem or "the engine wrote no trace"
        return CollectorInfo(
            name=self.name,
            kind=self.kind,
            version=self._version,
            state=collector_state(recorded, problem),
            reason=self._reason,
            detail=problem,
            command=self.engine_args(),
        )

    def _post(self, path: str, timeout_s: float) -> int:
        """Call one of the engine's routes, directly, whatever proxy the environment names; returns the status."""
        # Engines before 0.32 ignore the body and name the files by worker and time alone.
        body = json.dumps({"profile_prefix": f"torch.{self._block}"})
        server = urlsplit(self._url)
        kind = http.client.HTTPSConnection if server.scheme == "https" else http.client.HTTPConnection
        connection = kind(server.hostname or "", server.port, timeout=timeout_s)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")[:_ERROR_CHARS]
        except (OSError, http.client.HTTPException) as error:
            self._problem = self._problem or f"POST {path}: {error}"
            return _NO_ANSWER
        finally:
            connection.close()
        if answer.status != http.client.OK:
            self._problem = f"POST {path}: HTTP {answer.status} {text}".strip()
        return answer.status


class RunningTorchProfiler(TorchProfilerCollector):
    """The same of a server that was started with a profiler configured, whose folder of traces is its own.

    What each block leaves there is linked, or else copied, into `raw/`.
    """

    def __init__(self, raw: Path, folder: Path, *, reason: str = "") -> None:
        super().__init__(raw, reason=reason)
        self._folder = folder
        self._earlier = _traces(folder)

    def engine_args(self) -> list[str]:
        return []

    def pause(self) -> None:
        super().pause()
        for trace in sorted(_traces(self._folder) - self._earlier):
            self._earlier.add(trace)
            try:
                _bring(trace, self._raw / f"{self._block}.{trace.name}")
            except OSError as error:
                self._problem = f"cannot take {trace} over: {error.strerror}"


def _traces(folder: Path) -> set[Path]:
    return set(folder.glob("*.pt.trace.json*"))


def _bring(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or another user's file.
        shutil.copyfile(source, target)
