"""What glibc's allocator does with the memory of large tensors, changed while the process runs.

By default a block of more than 32 MiB is mapped when it is made and unmapped when it is freed, and smaller ones
go back to the system as soon as 64 MiB are free: each request maps, zeroes and unmaps its tensors again.
"""

import ctypes
import threading
from typing import Any

from vlmprof.patching import PatchedCall

RECIPE = 13
# Parameters of mallopt, from malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3

_MIB = 1 << 20
# mallopt takes an int: 2 GiB less a byte is the most that it can be told.
_KEPT_BYTES = 2048 * _MIB - 1
# Where no one calls mallopt, glibc raises both thresholds when large blocks are freed, to these at most. A call
# ends that for good, so that off is told the values that the first large tensor would have led to.
_ENGINES_MMAP_BYTES = 32 * _MIB
_ENGINES_TRIM_BYTES = 2 * _ENGINES_MMAP_BYTES

_kept = False
_telling = threading.Lock()


def keep_memory(call: PatchedCall, *args: Any, **kwargs: Any) -> Any:
    """Have this process keep what it frees for as long as the recipe is on; then what was called.

    Raises:
        OSError: the allocator is not glibc's, or refuses; with every call for as long as the recipe is on.
    """
    wanted = call.is_on(RECIPE)
    if wanted != _kept:
        _keep(wanted)
    return call.original(*args, **kwargs)


def _keep(wanted: bool) -> None:
    """Tell the allocator, unless another thread has done so meanwhile: one a process, told once a switch."""
    global _kept  # noqa: PLW0603 - the allocator is the process's
    with _telling:
        if wanted == _kept:
            return
        set_thresholds(*_THRESHOLDS[wanted])
        if not wanted:
            # What was kept would be used up first: off would not be off.
            ctypes.CDLL(None).malloc_trim(0)
        # Only now: what was refused is not in effect.
        _kept = wanted


def set_thresholds(mmap_bytes: int, trim_bytes: int) -> None:
    """Map blocks of their own only above a size, and give free memory back only above another.

    Raises:
        OSError: the allocator is not glibc's, or refuses.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not (mallopt(_MMAP_THRESHOLD, mmap_bytes) and mallopt(_TRIM_THRESHOLD, trim_bytes)):
        raise OSError("this process's allocator takes no mallopt: it is not glibc's")


_THRESHOLDS = {False: (_ENGINES_MMAP_BYTES, _ENGINES_TRIM_BYTES), True: (_KEPT_BYTES, _KEPT_BYTES)}
