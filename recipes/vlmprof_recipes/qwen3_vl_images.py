"""Qwen3-VL in the API server: patches are put in order row by row, and no text is made for them.

The engine copies single bytes; a patch's row of 16 pixels is 16 bytes of one colour, which move as one.
"""

from typing import Any

import torch

from vlmprof.patching import PatchedCall

_ROW = torch.complex128
"""A type of 16 bytes; nothing is calculated with it."""


def patchify(call: PatchedCall, processor: Any, images: torch.Tensor, **sizes: int) -> Any:
    """Patches [batch, grid, values] of images whose patch rows are of 16 bytes; else the engine's own way."""
    patch, merge, frames = (sizes[name] for name in ("patch_size", "merge_size", "temporal_patch_size"))
    if not _rows_move_whole(images, patch):
        return call.give_way("images whose rows lie apart", processor, images, **sizes)
    batch, channels, height, width = images.shape
    rows, columns = height // patch, width // patch
    shape = (batch, channels, rows // merge, merge, patch, columns // merge, merge)
    ordered = images.view(_ROW).view(shape).permute(0, 2, 5, 3, 6, 1, 4).unsqueeze(6)
    repeated = ordered.expand(-1, -1, -1, -1, -1, -1, frames, -1).contiguous()
    return repeated.view(images.dtype).view(batch, rows * columns, -1), rows, columns


def _rows_move_whole(images: torch.Tensor, patch_size: int) -> bool:
    return bool(
        patch_size * images.element_size() == _ROW.itemsize
        and images.is_contiguous()
        and images.storage_offset() * images.element_size() % _ROW.itemsize == 0
        and images.data_ptr() % _ROW.itemsize == 0
    )


def no_text(call: PatchedCall, processor: Any, mm_counts: Any) -> Any:
    """No text beside images: its ids are dropped. Videos have theirs cut to pieces and used."""
    return call.give_way("videos", processor, mm_counts) if mm_counts.get("video") else None
