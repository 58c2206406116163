"""The live switch: one byte of shared memory that every served process reads before it records a span.

The file is `switch` in the agent's folder; the profiler writes it, the served processes map it. Reading costs
about 30 ns, so that one server can serve blocks with and without spans.
"""

import mmap
import os

SPANS_ON = 0
"""Offset of the byte that switches span recording."""
SIZE_BYTES = 64


def create_switch(folder: str) -> mmap.mmap:
    """Make the switch with spans on, and map it for writing."""
    path = os.path.join(folder, "switch")
    with open(path, "wb") as file:
        file.write(b"\x01" + bytes(SIZE_BYTES - 1))
    return open_switch(folder, writable=True)


def open_switch(folder: str, *, writable: bool = False) -> mmap.mmap:
    """Map an existing switch; a mapping is shared with every process that maps the same file."""
    with open(os.path.join(folder, "switch"), "r+b" if writable else "rb") as file:
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        return mmap.mmap(file.fileno(), SIZE_BYTES, access=access)
