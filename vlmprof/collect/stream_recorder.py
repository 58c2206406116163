"""Copies a program's output into a file and notes when each part of it arrived."""

import contextlib
import fcntl
import os
import struct
import threading
import time
from pathlib import Path
from typing import IO

ARRIVAL = struct.Struct("<QQ")
"""One read: session clock ns right after it, and the bytes that the file then holds."""

_READ_BYTES = _PIPE_BYTES = 1 << 20


class StreamRecorder:
    """Drains a pipe from a thread until its other end closes, whatever happens to the disk.

    A full disk ends the recording but not the draining: the program at the other end must never block.

    Attributes:
        received_bytes: what has come out of the pipe.
        error: why the recording is incomplete; empty while it is whole.
    """

    def __init__(self, pipe: IO[bytes], content: Path, arrivals: Path) -> None:
        self.received_bytes = 0
        self.error = ""
        self._pipe = pipe
        # Room for a moment in which this process does not get to read; the kernel may refuse so much.
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._paths = content, arrivals
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._drain, name="vlmprof-recorder", daemon=True)
        self._thread.start()

    def wait_for(self, received_bytes: int, timeout_s: float) -> bool:
        """Wait until so much has arrived; False when the time is over or the pipe has closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self.received_bytes >= received_bytes, timeout_s)
            return self.received_bytes >= received_bytes

    def join(self, timeout_s: float) -> None:
        """Wait until the pipe has closed and all of it is on disk."""
        self._thread.join(timeout_s)

    def _drain(self) -> None:
        recording = _Recording(*self._paths)
        descriptor = self._pipe.fileno()
        while part := os.read(descriptor, _READ_BYTES):
            recording.add(part, time.perf_counter_ns())
            with self._changed:
                self.received_bytes += len(part)
                self.error = recording.error
                self._changed.notify_all()
        recording.close()
        with self._changed:
            self.error = recording.error
            self._ended = True
            self._changed.notify_all()


class _Recording:
    """The two files; after the first failure nothing more is written, so that they stay consistent."""

    def __init__(self, content: Path, arrivals: Path) -> None:
        self.error = ""
        self._written_bytes = 0
        self._files: list[IO[bytes]] = []
        try:
            self._files = [path.open("wb", buffering=0) for path in (content, arrivals)]
        except OSError as error:
            self._fail(error)

    def add(self, part: bytes, arrived_ns: int) -> None:
        if self.error:
            return
        try:
            _write_all(self._files[0], part)
            self._written_bytes += len(part)
            _write_all(self._files[1], ARRIVAL.pack(arrived_ns, self._written_bytes))
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _fail(self, error: OSError) -> None:
        self.error = f"recording stopped after {self._written_bytes} bytes: {error.strerror}"


def _write_all(file: IO[bytes], part: bytes) -> None:
    """Write all of it; a disk that takes a part of it now refuses the rest with an error."""
    rest = memoryview(part)
    while rest:
        rest = rest[file.write(rest) :]
