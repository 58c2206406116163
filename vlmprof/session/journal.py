"""Writes a run folder while the run goes on, so that a kill at any moment leaves one that can be read."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from vlmprof.errors import FileUnreadable
from vlmprof.model.request import Request
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import CollectorInfo, RunInfo, StepInfo

REQUESTS_FILE = "requests.jsonl"
_RESERVE_BYTES = 1 << 18


class Journal:
    """The one writer of run.json and of `raw/requests.jsonl` during a run."""

    def __init__(self, folder: RunFolder, info: RunInfo) -> None:
        self.folder = folder
        self.info = info
        self.finished_requests = 0
        # Given up in close() alone: while the server runs, its log would take the room at once.
        self._reserve = folder.raw / ".reserve"
        with disk_errors(folder.path):
            self._reserve.write_bytes(os.urandom(_RESERVE_BYTES))
            self._requests = (folder.raw / REQUESTS_FILE).open("ab", buffering=0)
            self.folder.write_info(self.info)

    def update(self, **changes: Any) -> None:
        """Change fields of run.json and write it."""
        self.info = msgspec.structs.replace(self.info, **changes)
        self.folder.write_info(self.info)

    def warn(self, text: str) -> None:
        """Add a warning that every view of the run will show."""
        if text not in self.info.warnings:
            self.update(warnings=[*self.info.warnings, text])

    def add_request(self, request: Request) -> None:
        """Append one request as it ends."""
        with disk_errors(self.folder.path):
            self._append(msgspec.json.encode(request) + b"\n")
        if not request.error:
            self.finished_requests += 1

    def _append(self, line: bytes) -> None:
        """Write a whole line or none: a torn one before another would make the file unreadable."""
        end_bytes = self._requests.tell()
        try:
            while line:
                line = line[self._requests.write(line) :]
        except OSError:
            self._requests.truncate(end_bytes)
            raise

    def set_collector(self, info: CollectorInfo) -> None:
        """Replace a collector's entry, or add it."""
        others = [known for known in self.info.collectors if known.kind != info.kind]
        self.update(collectors=[*others, info])

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note when a step of the run begins and ends; one that fails stays open."""
        started = StepInfo(name=name, start_ns=time.perf_counter_ns())
        with disk_errors(self.folder.path):
            self.update(steps=[*self.info.steps, started])
        yield
        ended = msgspec.structs.replace(started, end_ns=time.perf_counter_ns())
        with disk_errors(self.folder.path):
            self.update(steps=[*self.info.steps[:-1], ended])

    def close(self, status: str, error: str = "") -> None:
        """Write the last word; what a full disk refuses is lost, and the status stays `running`."""
        self._reserve.unlink(missing_ok=True)
        self._requests.close()
        with disk_errors(self.folder.path):
            self.update(status=status, error=error)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a write that the disk refuses into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise FileUnreadable(
            f"cannot write {path}: {error.strerror}",
            hint="make room or name another folder with --out; what was captured until then is kept",
        ) from error


def read_requests(folder: RunFolder) -> list[Request]:
    """The requests that a run recorded; a line that a kill cut off is left out."""
    path = folder.raw / REQUESTS_FILE
    if not path.exists():
        return []
    requests = []
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            requests.append(msgspec.json.decode(line, type=Request))
        except msgspec.DecodeError as error:
            if number < len(lines):
                raise FileUnreadable(
                    f"{path}: line {number} is damaged: {error}", hint="restore it from a copy"
                ) from error
    return requests
