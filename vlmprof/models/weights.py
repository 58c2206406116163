"""Random weights, written straight into a safetensors file: one block of rows in memory at a time.

The values of a tensor depend on the seed, its name and numpy's generator, not on the order of writing.
"""

import json
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from vlmprof.models.checkpoint import BYTES_PER_PARAMETER, Init, TensorSpec

_CONSTANTS = {Init.ONES: 1.0, Init.ZEROS: 0.0, Init.DOUBLED: 2.0, Init.LAYER_SCALE: 0.1}
_EMBEDDING_STD = 0.02
_BLOCK_VALUES = 4_000_000
_ALIGNMENT = 8

Speakable = npt.NDArray[np.bool_]
"""One flag per row of the embedding: whether the token prints something."""


def weights_bytes(tensors: Sequence[TensorSpec]) -> int:
    """Size of the safetensors file that `write_weights` makes."""
    return len(_header(tensors)) + BYTES_PER_PARAMETER * sum(tensor.parameters for tensor in tensors)


def write_weights(
    path: Path,
    tensors: Sequence[TensorSpec],
    *,
    seed: int,
    speakable: Speakable,
    progress: Callable[[float], None],
) -> None:
    """Write all tensors as bfloat16; `progress` gets the fraction that is written.

    Tokens that print nothing (control tokens, padding, halves of a UTF-8 character, blanks) get a zero row
    in the output head, hence a logit of exactly 0. The largest of the tens of thousands of other logits,
    which are normal around 0, is above 0: a greedy answer is made of visible text from its first token on,
    as a trained model's is, and the time to first token can be seen by a client.
    """
    total = sum(tensor.parameters for tensor in tensors)
    written = 0
    with path.open("wb") as file:
        file.write(_header(tensors))
        for tensor in tensors:
            for block in _blocks(tensor, seed, speakable):
                _write_bfloat16(file, block)
                written += block.size
                progress(written / total)


def _header(tensors: Sequence[TensorSpec]) -> bytes:
    """Source: safetensors format: uint64 length, JSON padded with spaces, then the tensors' bytes."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        end = offset + BYTES_PER_PARAMETER * tensor.parameters
        entries[tensor.name] = {"dtype": "BF16", "shape": tensor.shape, "data_offsets": (offset, end)}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _blocks(tensor: TensorSpec, seed: int, speakable: Speakable) -> Iterator[npt.NDArray[np.float32]]:
    """The tensor's values in order, a few million at a time."""
    if tensor.init in _CONSTANTS:
        yield np.full(tensor.shape, _CONSTANTS[tensor.init], np.float32)
        return
    # Philox, SFC64 and PCG64 are all fit for this; SFC64 is the fastest of them.
    generator = np.random.Generator(np.random.SFC64([seed, zlib.crc32(tensor.name.encode())]))
    rows, row_size = tensor.shape[0], math.prod(tensor.shape[1:])
    std = _standard_deviation(tensor.init, row_size)
    step = max(1, _BLOCK_VALUES // row_size)
    for first in range(0, rows, step):
        block = generator.standard_normal((min(step, rows - first), row_size), np.float32)
        block *= np.float32(std)
        if tensor.init is Init.HEAD:
            block[~speakable[first : first + step]] = 0
        yield block


def _standard_deviation(init: Init, inputs: int) -> float:
    if init in (Init.EMBEDDING, Init.HEAD):
        return _EMBEDDING_STD
    return (2.0 if init is Init.QUERY_KEY else 1.0) / math.sqrt(inputs)


def _write_bfloat16(file: BinaryIO, values: npt.NDArray[np.float32]) -> None:
    """Round to nearest, ties to even; the values are finite."""
    bits = values.view(np.uint32)
    bits += np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    file.write((bits >> np.uint32(16)).astype("<u2").tobytes())
