"""Many small compressed blocks in one text of the page, each to be unpacked by itself when it is shown."""

import base64
import zlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
_LEVEL = 8


@dataclass
class Archive:
    """Blocks of bytes, deflated and in base64 one after the other; a block is called by its number."""

    texts: list[str] = field(default_factory=list)

    def add(self, content: bytes) -> int:
        """Append a block and return its number."""
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = packer.compress(content) + packer.flush()
        self.texts.append(base64.b64encode(packed).decode())
        return len(self.texts) - 1

    @property
    def lengths(self) -> list[int]:
        """Characters of each block, from which the page finds where each begins."""
        return [len(text) for text in self.texts]

    def text(self) -> str:
        """All blocks; base64 has no character that could end a script element."""
        return "".join(self.texts)


def pack_columns(columns: list[Ints]) -> bytes:
    """Equally long columns of non-negative integers as planes of bytes, the lowest byte of every row first.

    A plane holds like beside like, which deflate packs far better than rows. Before a column's planes stands
    one byte with their number; a column of zeros has none.
    """
    parts: list[bytes] = []
    for column in columns:
        highest = int(column.max(initial=0))
        if int(column.min(initial=0)) < 0:
            raise ValueError(f"a packed column holds {int(column.min())}")
        planes = (highest.bit_length() + 7) // 8
        parts.append(bytes([planes]))
        parts.extend((column >> (8 * plane)).astype(np.uint8).tobytes() for plane in range(planes))
    return b"".join(parts)
