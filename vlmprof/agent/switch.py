"""The live switch: one byte of shared memory that every served process reads before it records a span.

The file is `switch` in the agent's folder; the profiler writes it, the served processes map it. Reading costs
about 30 ns, so that one server can serve blocks with and without spans.

A server that was started for later profilers has a standing switch, off until one of them comes. That one holds
a lock on the file for as long as it records: the kernel drops the lock of a profiler that was killed, and the
server's processes turn the switch off themselves.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Callable
from contextlib import suppress

SPANS_ON = 0
"""Offset of the byte that switches span recording."""
SIZE_BYTES = 64

# Bytes 8 to 15 are the recipes' mask.
_PROFILER_PID = struct.Struct("<I")
_PROFILER_OFFSET = 4


def create_switch(folder: str) -> mmap.mmap:
    """Make the switch with spans on, and map it for writing."""
    path = switch_path(folder)
    with open(path, "wb") as file:
        file.write(b"\x01" + bytes(SIZE_BYTES - 1))
    return open_switch(folder, writable=True)


def create_standing_switch(folder: str) -> mmap.mmap:
    """Map the folder's switch for writing, made with spans off where there is none; many processes may at once."""
    os.makedirs(folder, exist_ok=True)
    path = switch_path(folder)
    own = f"{path}.{os.getpid()}"
    with open(own, "wb") as file:
        file.write(bytes(SIZE_BYTES))
    try:
        # A link appears with all of its content, where a file that is being written could be mapped too early.
        with suppress(FileExistsError):
            os.link(own, path)
    finally:
        os.unlink(own)
    return open_switch(folder, writable=True)


def open_switch(folder: str, *, writable: bool = False) -> mmap.mmap:
    """Map an existing switch; a mapping is shared with every process that maps the same file."""
    with open(switch_path(folder), "r+b" if writable else "rb") as file:
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        return mmap.mmap(file.fileno(), SIZE_BYTES, access=access)


def switch_path(folder: str) -> str:
    return os.path.join(folder, "switch")


def profiler_pid(switch: mmap.mmap) -> int:
    """Who records; 0 where nobody has yet."""
    pid: int = _PROFILER_PID.unpack_from(switch, _PROFILER_OFFSET)[0]
    return pid


def set_profiler_pid(switch: mmap.mmap, pid: int) -> None:
    """Say who records, before the switch is turned on."""
    _PROFILER_PID.pack_into(switch, _PROFILER_OFFSET, pid)


def is_held(folder: str) -> bool:
    """Whether a living profiler holds the folder's switch."""
    try:
        with open(switch_path(folder), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


class Standby:
    """A served process's part in a standing switch: asked a few times a second whether somebody records."""

    def __init__(self, folder: str, switch: mmap.mmap, begin: Callable[[int], None]) -> None:
        """begin: called with the profiler's pid when one has begun to record."""
        self._folder = folder
        self._switch = switch
        self._begin = begin
        # True at first, so that the process says once that it is there.
        self._was_on = True
        self._served_pid = 0

    def wants_flush(self) -> bool:
        """Whether there may be something to write: while somebody records, and once after that."""
        on = self.is_on()
        if on and profiler_pid(self._switch) != self._served_pid:
            self._served_pid = profiler_pid(self._switch)
            self._begin(self._served_pid)
        wanted = on or self._was_on
        self._was_on = on
        if not on:
            self._served_pid = 0
        return wanted

    def is_on(self) -> bool:
        """Whether spans are to be recorded; turns the switch off where its profiler was killed."""
        if not self._switch[SPANS_ON]:
            return False
        if is_held(self._folder):
            return True
        self._switch[SPANS_ON] = 0
        return False

    def is_recording_for(self, pid: int) -> bool:
        """Whether this profiler still records."""
        return bool(self._switch[SPANS_ON]) and profiler_pid(self._switch) == pid
