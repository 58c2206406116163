"""Compiling with numba, and the small tables that compiled readers need."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

Compiled = TypeVar("Compiled", bound=Callable[..., Any])
Integers = npt.NDArray[np.int64]
Integer = Any
"""`int` or `np.int64`, between which compiled code makes no difference."""


def compiled(function: Compiled) -> Compiled:
    """Compile with numba for calls from Python, keeping the machine code on disk where a folder can be written."""
    configured = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = configured or str(_cache_folder())
    try:
        dispatcher: Compiled = numba.njit(cache=True)(function)
    except RuntimeError:  # numba found no folder for its cache
        dispatcher = numba.njit(function)
    finally:
        numba.config.CACHE_DIR = configured
    return dispatcher


def _cache_folder() -> Path:
    """A cache folder for this very state of the compiled code.

    numba compares only the file of the function that is called with what it compiled, and would keep machine
    code in which a function of another file is stale.
    """
    texts = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    sources = b"".join(text for text in texts if b"@compiled" in text)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches, "vlmprof", hashlib.sha256(sources).hexdigest()[:16])


def compiled_part(function: Compiled) -> Compiled:
    """Compile for calls from compiled code only: it lands in its caller's machine code, and compiles faster."""
    part: Compiled = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return part


@compiled_part
def new_table(capacity: Integer) -> Integers:
    """An open-addressing table for `capacity` entries: rows of (key, key, value), value -1 where free."""
    size = 16
    while size < 2 * capacity:
        size *= 2
    table = np.empty((size, 3), np.int64)
    for slot in range(size):
        table[slot, 2] = -1
    return table


@compiled_part
def slot_of(table: Integers, first: Integer, second: Integer) -> Integer:
    """Row of a table in which a key pair stands, or the free one where it belongs."""
    mask = table.shape[0] - 1
    mixed = (first ^ (second * np.int64(-7046029254386353131))) * np.int64(-4658895280553007687)
    slot = (mixed ^ (mixed >> 29)) & mask
    while table[slot, 2] >= 0 and (table[slot, 0] != first or table[slot, 1] != second):
        slot = (slot + 1) & mask
    return slot


@compiled_part
def put(table: Integers, slot: Integer, first: Integer, second: Integer, value: Integer) -> None:
    """Fill the slot that `slot_of` gave for this key pair."""
    table[slot, 0] = first
    table[slot, 1] = second
    table[slot, 2] = value


@compiled_part
def with_room(table: Integers, used: Integer) -> Integers:
    """The table itself while it is less than half full, else a larger copy."""
    if 2 * used < table.shape[0]:
        return table
    larger = new_table(table.shape[0])
    for row in range(table.shape[0]):
        if table[row, 2] >= 0:
            first, second = table[row, 0], table[row, 1]
            put(larger, slot_of(larger, first, second), first, second, table[row, 2])
    return larger


@compiled_part
def grown(array: Any, size: Integer) -> Any:
    """The array itself where it holds `size` entries, else a copy at least twice as long."""
    if size <= array.shape[0]:
        return array
    larger = np.empty(max(size, 2 * array.shape[0]), array.dtype)
    for entry in range(array.shape[0]):
        larger[entry] = array[entry]
    return larger
