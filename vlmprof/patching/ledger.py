"""How often each recipe's replacements ran, in a file that outlives the process and can be read while it runs."""

import mmap
import os
import struct
import threading
from pathlib import Path

from vlmprof.patching.patch_set import PatchCounts

LEDGER_VARIABLE = "VLMPROF_RECIPE_LEDGER"
"""Environment variable that names the folder for the served processes' ledgers."""

_NUMBERS = 64
_SIZE_BYTES = 16 * _NUMBERS


class CallLedger:
    """Calls and failures by recipe of this process, in `recipes.<pid>.bin`: two 8-byte words for each number.

    A forked child goes on in a file of its own.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open()
        os.register_at_fork(after_in_child=self._open)

    def add_calls(self, mask: int) -> None:
        """One call on behalf of every recipe of a mask."""
        self._add(mask, 0)

    def add_failures(self, mask: int) -> None:
        """One call that raised, on behalf of every recipe of a mask."""
        self._add(mask, 1)

    def _open(self) -> None:
        self._lock = threading.Lock()
        with (self._folder / f"recipes.{os.getpid()}.bin").open("w+b") as file:
            file.write(bytes(_SIZE_BYTES))
            file.flush()
            self._words = memoryview(mmap.mmap(file.fileno(), _SIZE_BYTES)).cast("Q")

    def _add(self, mask: int, column: int) -> None:
        with self._lock:
            while mask:
                lowest = mask & -mask
                self._words[2 * (lowest.bit_length() - 1) + column] += 1
                mask ^= lowest


def read_ledgers(folder: Path) -> dict[int, dict[int, PatchCounts]]:
    """pid -> recipe number -> counts, of every process that loaded recipes; numbers never called are left out."""
    ledgers: dict[int, dict[int, PatchCounts]] = {}
    for path in folder.glob("recipes.*.bin"):
        words = struct.unpack(f"{2 * _NUMBERS}Q", path.read_bytes()[:_SIZE_BYTES].ljust(_SIZE_BYTES, b"\0"))
        ledgers[int(path.name.split(".")[1])] = {
            number: PatchCounts(words[2 * number], words[2 * number + 1])
            for number in range(_NUMBERS)
            if words[2 * number] or words[2 * number + 1]
        }
    return ledgers
