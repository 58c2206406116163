"""Recipe 13: a process keeps what it frees while the recipe is on, and no longer than that."""

import ctypes
import resource
import threading
from typing import Any

import pytest

from vlmprof_recipes import allocator
from vlmprof_recipes.r13_keep_memory import recipe

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc: it has no mallopt"
)

_BLOCK_BYTES = 64 << 20
_PAGES = _BLOCK_BYTES // resource.getpagesize()


class _Call:
    """A call with the recipe on or off; what it stands for answers with its arguments."""

    def __init__(self, on: bool) -> None:
        self._on = on

    def is_on(self, number: int) -> bool:
        return self._on and number == recipe.number

    def original(self, *args: Any) -> Any:
        return args


def _called(on: bool) -> Any:
    call: Any = _Call(on)
    return allocator.keep_memory(call, "request")


def _faults_of_a_block() -> int:
    """Page faults of making, filling and freeing one block of 64 MiB from the C library."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(_BLOCK_BYTES)))
    ctypes.memset(block, 1, _BLOCK_BYTES)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


def test_a_freed_block_is_used_again_while_the_recipe_is_on_and_mapped_anew_when_it_is_off() -> None:
    """A mapped block of 64 MiB is 16384 pages of 4 KiB, each a fault unless the system gives larger pages."""
    _called(on=True)
    _faults_of_a_block()
    kept = _faults_of_a_block()
    _called(on=False)
    mapped = _faults_of_a_block()
    assert kept < _PAGES // 100
    assert mapped > kept


def test_the_allocator_is_told_once_a_switch_and_the_call_goes_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four calls, off, on, on, off, of a process that was off: told on and off."""
    told: list[int] = []
    monkeypatch.setattr(allocator, "set_thresholds", lambda mmap_bytes, _trim: told.append(mmap_bytes))
    assert [_called(on) for on in (False, True, True, False)] == [("request",)] * 4
    assert told == [(2 << 30) - 1, 32 << 20]


def test_an_allocator_that_refuses_does_so_with_every_call_until_the_recipe_is_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three of three fail: none of them had the recipe. The process is as it was, with nothing to undo."""
    told: list[int] = []

    def refuse(mmap_bytes: int, _trim_bytes: int) -> None:
        told.append(mmap_bytes)
        raise OSError("not glibc's")

    monkeypatch.setattr(allocator, "set_thresholds", refuse)
    for _ in range(3):
        with pytest.raises(OSError, match="not glibc's"):
            _called(on=True)
    assert _called(on=False) == ("request",)
    assert told == [(2 << 30) - 1] * 3


class _Seen(int):
    """True, whose first comparison is over when another thread's is too."""

    both: threading.Barrier | None = None

    def __ne__(self, other: object) -> bool:
        differs = int(self) != other
        both, self.both = self.both, None
        if both is not None:
            both.wait(timeout=10)
        return differs

    __hash__ = int.__hash__


class _SeenAtOnce(_Call):
    def __init__(self) -> None:
        super().__init__(on=True)
        self._both = threading.Barrier(2)

    def is_on(self, number: int) -> bool:
        seen: Any = _Seen(super().is_on(number))
        seen.both = self._both
        on: bool = seen
        return on


def test_two_threads_that_see_the_switch_at_once_tell_the_allocator_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two renderers: the second one must not turn off what the first has turned on."""
    told: list[int] = []
    monkeypatch.setattr(allocator, "set_thresholds", lambda mmap_bytes, _trim: told.append(mmap_bytes))
    call: Any = _SeenAtOnce()
    threads = [threading.Thread(target=allocator.keep_memory, args=(call,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _called(on=True)
    assert told == [(2 << 30) - 1]
    _called(on=False)
    assert told == [(2 << 30) - 1, 32 << 20]


def test_an_allocator_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """tcmalloc's mallopt answers 0; the patch then goes the engine's own way and counts a failure."""
    library: Any = type("Tcmalloc", (), {"mallopt": staticmethod(lambda *_: 0)})
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: library)
    with pytest.raises(OSError, match="not glibc's"):
        allocator.set_thresholds(1, 1)
