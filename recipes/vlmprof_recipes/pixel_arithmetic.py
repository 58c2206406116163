"""Normalization of uint8 pixels in bfloat16.

A value u is normalized to (u / 255 - mean) / std = (u - center) / (255 std) + (center - 255 mean) / (255 std). With
an integer near 255 mean for the center, u - center is exact in bfloat16: the product and the sum alone are rounded,
and near zero by little.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

_WHITE = 255


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and standard deviation of the pixels, from 0 to 1, that a model was trained with, by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def steps(self) -> Iterator[tuple[int, float, float]]:
        """What is subtracted from a value, by what the rest is multiplied and what is added, by channel.

        What is added is a number of bfloat16: torch rounds a number that it adds to such a tensor on a CPU, and
        not on a GPU.
        """
        for mean, std in zip(self.mean, self.std, strict=True):
            center = round(_WHITE * mean)
            offset = torch.tensor((center - _WHITE * mean) / (_WHITE * std), dtype=torch.bfloat16)
            yield center, 1 / (_WHITE * std), offset.item()


HALF = Scale((0.5,) * 3, (0.5,) * 3)
"""SmolVLM's and Idefics3's."""

IMAGENET = Scale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""InternVL's."""


def in_bfloat16(tiles: torch.Tensor, scale: Scale) -> torch.Tensor:
    """uint8 tiles [tiles, channels, height, width] normalized without a float32 copy."""
    pixels = torch.empty(tiles.shape, dtype=torch.bfloat16, device=tiles.device)
    # On a CPU tile by tile: what lies between stays in the processor's cache.
    pieces = range(len(tiles)) if tiles.is_cpu else (slice(None),)
    for piece in pieces:
        for channel, (center, factor, offset) in enumerate(scale.steps()):
            values = tiles[piece, channel].to(torch.bfloat16)
            pixels[piece, channel] = values.sub_(center).mul_(factor).add_(offset)
    return pixels
