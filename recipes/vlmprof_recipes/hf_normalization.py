"""transformers' normalization: its scale, and uint8 tiles normalized in the one tensor that is sent."""

from collections.abc import Sequence
from typing import Any

import torch

from vlmprof_recipes.pixel_arithmetic import Scale


def has_scale(options: dict[str, Any], scale: Scale) -> bool:
    """Whether a processor's call normalizes by a scale, from values of 0 to 255.

    The worker, which sees no processor config, knows only the one that the family was trained with.
    """
    given = tuple(options["image_mean"]), tuple(options["image_std"])
    return given == (scale.mean, scale.std) and options["rescale_factor"] == 1 / 255


def normalized(processor: Any, tiles: Sequence[torch.Tensor], options: dict[str, Any]) -> torch.Tensor:
    """All tiles in float32, by the processor's own function; a tile stays in the processor's cache meanwhile.

    Args:
        tiles: each [channels, height, width], all of one size.
        options: of the processor's call.
    """
    names = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
    how = {name: options[name] for name in names}
    device = tiles[0].device
    mean, std, _ = processor._fuse_mean_std_and_rescale_factor(device=device, **how)
    pixels = torch.empty((len(tiles), *tiles[0].shape), dtype=torch.float32, device=device)
    for into, tile in zip(pixels, tiles, strict=True):
        processor.normalize(into.copy_(tile), mean, std, inplace=True)
    return pixels
