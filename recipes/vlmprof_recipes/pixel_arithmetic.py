"""Normalization of uint8 pixels, whose mean and deviation are both a half, in bfloat16."""

import torch

_SIGN = 128
_FACTOR = 1 / 127.5
_OFFSET = 1 / 255


def in_bfloat16(tiles: torch.Tensor) -> torch.Tensor:
    """uint8 tiles normalized without a float32 copy: (u - 128) / 127.5 + 1 / 255.

    Centred values are exact in bfloat16, so that only the product and the sum are rounded, near zero by little.
    """
    if not tiles.is_cpu:
        return _normalized(tiles)
    # Tile by tile, what lies between stays in the processor's cache.
    pixels = torch.empty(tiles.shape, dtype=torch.bfloat16)
    for index, tile in enumerate(tiles):
        pixels[index] = _normalized(tile)
    return pixels


def _normalized(tiles: torch.Tensor) -> torch.Tensor:
    return (tiles ^ _SIGN).view(torch.int8).to(torch.bfloat16).mul_(_FACTOR).add_(_OFFSET)
