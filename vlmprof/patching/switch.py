"""The live switch of recipes: a 64-bit mask in shared memory that every process of the engine reads.

It lies in bytes 8 to 15 of a 64-byte file, which may be the switch file of the span agent (that one uses
byte 0). Reading it costs about 100 ns, so that one server can serve requests with and without recipes.
"""

import mmap
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

SWITCH_VARIABLE = "VLMPROF_RECIPE_SWITCH"
"""Environment variable that names the switch file for the served processes."""

_SIZE_BYTES = 64
_MASK_WORD = 1
_LAST_NUMBER = 63


def mask_of(numbers: Iterable[int]) -> int:
    """The mask with one bit for each recipe: recipe n is bit n.

    Raises:
        ValueError: a number is outside 1 to 63.
    """
    mask = 0
    for number in numbers:
        if not 1 <= number <= _LAST_NUMBER:
            raise ValueError(f"recipe {number} has no bit: numbers go from 1 to {_LAST_NUMBER}")
        mask |= 1 << number
    return mask


class RecipeSwitch:
    """The mask of active recipes; one aligned 8-byte word, so that no reader sees half a change."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._held: ContextVar[int | None] = ContextVar("recipe_mask", default=None)

    @classmethod
    def private(cls, numbers: Iterable[int] = ()) -> "RecipeSwitch":
        """A switch of this process alone, for servers whose recipes never change."""
        switch = cls(memoryview(bytearray(_SIZE_BYTES)).cast("Q"))
        switch.set(numbers)
        return switch

    @classmethod
    def shared(cls, path: Path) -> "RecipeSwitch":
        """Map a switch file, made with all recipes off where it does not exist.

        Raises:
            OSError: it can be neither opened nor made.
        """
        _make(path)
        with path.open("r+b") as file:
            return cls(memoryview(mmap.mmap(file.fileno(), _SIZE_BYTES)).cast("Q"))

    @property
    def mask(self) -> int:
        """The active recipes; within `held`, those that were active when it began."""
        held = self._held.get()
        return self._words[_MASK_WORD] if held is None else held

    @contextmanager
    def held(self) -> Iterator[None]:
        """Whatever is set meanwhile, this thread, or task, sees the recipes that are active now."""
        before = self._held.set(self.mask)
        try:
            yield
        finally:
            self._held.reset(before)

    def set(self, numbers: Iterable[int]) -> None:
        """Make exactly these recipes the active ones, in every process at once."""
        self._words[_MASK_WORD] = mask_of(numbers)


def _make(path: Path) -> None:
    """Make a switch file with all recipes off where there is none; many processes may at once."""
    if path.exists():
        return
    own = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    own.write_bytes(bytes(_SIZE_BYTES))
    try:
        # A link appears with all of its content and replaces nothing: who came first may have set it already.
        with suppress(FileExistsError):
            path.hardlink_to(own)
    finally:
        own.unlink()
