"""How often each recipe's replacements ran, in a file that outlives the process and can be read while it runs."""

import mmap
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vlmprof.patching.call import PatchCounts

LEDGER_VARIABLE = "VLMPROF_RECIPE_LEDGER"
"""Environment variable that names the folder for the served processes' ledgers."""

_NUMBERS = 64
_COLUMNS = 3
_SIZE_BYTES = 8 * _COLUMNS * _NUMBERS


class CallLedger:
    """What became of calls, by recipe of this process, and why it gave way.

    `recipes.<pid>.bin` has three 8-byte words for each number: calls, failures, calls in which the recipe gave way.
    `recipes.<pid>.reasons` has a line for each number and reason. A forked child goes on in files of its own.

    Raises:
        OSError: the files cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open()
        os.register_at_fork(after_in_child=self._open)

    def add_calls(self, mask: int) -> None:
        """One call on behalf of every recipe of a mask."""
        self._add(mask, 0)

    def add_failures(self, mask: int) -> None:
        """One call that raised, on behalf of every recipe of a mask; a call as well."""
        self._add(mask, 1)

    def add_gave_way(self, mask: int, reason: str) -> None:
        """One call that was left to the engine by every recipe of a mask; a call as well."""
        self._add(mask, 2)
        with self._lock:
            untold = [number for number in _numbers(mask) if (number, reason) not in self._told]
            self._told.update((number, reason) for number in untold)
            lines = "".join(f"{number}\t{reason}\n" for number in untold)
        # A reason less is no reason to fail the request.
        with suppress(OSError):
            if lines:
                with self._reasons.open("a", encoding="utf-8") as file:
                    file.write(lines)

    def _open(self) -> None:
        self._lock = threading.Lock()
        self._told: set[tuple[int, str]] = set()
        self._reasons = self._folder / f"recipes.{os.getpid()}.reasons"
        self._reasons.write_bytes(b"")
        with (self._folder / f"recipes.{os.getpid()}.bin").open("w+b") as file:
            file.write(bytes(_SIZE_BYTES))
            file.flush()
            self._words = memoryview(mmap.mmap(file.fileno(), _SIZE_BYTES)).cast("Q")

    def _add(self, mask: int, column: int) -> None:
        with self._lock:
            for number in _numbers(mask):
                self._words[_COLUMNS * number + column] += 1


def _numbers(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def read_ledgers(folder: Path) -> dict[int, dict[int, PatchCounts]]:
    """pid -> recipe number -> counts, of every process that loaded recipes; numbers never called are left out."""
    ledgers: dict[int, dict[int, PatchCounts]] = {}
    for path in folder.glob("recipes.*.bin"):
        content = path.read_bytes()
        # Those of earlier runs do not say where a recipe gave way.
        columns = 2 if len(content) == 8 * 2 * _NUMBERS else _COLUMNS
        whole = content[: len(content) // (8 * columns) * (8 * columns)]
        ledgers[int(path.name.split(".")[1])] = {
            number: PatchCounts(*row)
            for number, row in enumerate(struct.iter_unpack(f"{columns}Q", whole))
            if any(row)
        }
    return ledgers


def read_reasons(folder: Path) -> dict[int, list[str]]:
    """Recipe number -> why it gave way in some process, each reason once."""
    reasons: dict[int, dict[str, None]] = {}
    for path in sorted(folder.glob("recipes.*.reasons")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            number, tab, reason = line.partition("\t")
            if tab and number.isdecimal():
                reasons.setdefault(int(number), {})[reason] = None
    return {number: list(each) for number, each in reasons.items()}
