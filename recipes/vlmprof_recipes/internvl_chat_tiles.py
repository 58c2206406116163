"""InternVLChat in the API server: an image becomes tiles without an image object, a list or a copy for each.

vLLM's own processor crops each tile as a PIL image, resizes it to the size that it has, makes it float32 and
stacks. Recipe 1 normalizes all tiles in one tensor, 2 resizes tensors with torchvision, 8 leaves the tiles
uint8 and 11 cuts them in one copy. Without 2, PIL resizes as it does upstream and pixels stay bit-identical.
Recipe 3 makes no tiles at all, and 6 normalizes in bfloat16.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tv
from transformers import BatchFeature
from vllm.transformers_utils.processors.internvl import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    calculate_internvl_targets,
    get_internvl_target_ratios,
)

from vlmprof.patching import PatchedCall
from vlmprof_recipes.internvl_whole_images import sizes_of, whole_images
from vlmprof_recipes.pixel_arithmetic import IMAGENET, in_bfloat16
from vlmprof_recipes.plain_images import is_rgb
from vlmprof_recipes.tiling import in_one_copy, one_by_one

_FOR_WHOLE_IMAGES = (1, 2, 3, 8, 11)

Planes = Sequence[torch.Tensor]
"""An image as one uint8 [height, width] for each of red, green and blue."""

Tiles = Sequence[torch.Tensor]
"""Tiles of one image, each uint8 [3, edge, edge]."""


def preprocess(call: PatchedCall, processor: Any, images: Any, **options: Any) -> Any:
    """Tiles of the images of one prompt, where all of them are plain RGB; else the engine's own way."""
    given = images if isinstance(images, list) else [images]
    if not given or not all(map(is_rgb, given)):
        return call.give_way("images that are not RGB", processor, images, **options)
    ratios = _target_ratios(processor, options)
    if all(map(call.is_on, _FOR_WHOLE_IMAGES)):
        sizes = [_sizes(processor, image, ratios) for image in given]
        whole = whole_images(map(tv.pil_to_tensor, given), sizes)
        if whole is not None and call.uses(*_FOR_WHOLE_IMAGES):
            counts = torch.tensor([n_tiles for *_, n_tiles in sizes])
            return BatchFeature(whole | {"image_num_patches": counts})
    tiles = [_tiles(call, processor, image, ratios) for image in given]
    data = {
        "pixel_values_flat": _pixels(call, tiles),
        "image_num_patches": torch.tensor(list(map(len, tiles))),
    }
    return BatchFeature(data, tensor_type=options.get("return_tensors"))


def _target_ratios(processor: Any, options: dict[str, Any]) -> list[tuple[int, int]]:
    """Columns and rows that a grid of tiles may have."""
    names = ("min_dynamic_patch", "max_dynamic_patch", "dynamic_image_size")
    fewest, most = processor.resolve_min_max_num(
        **{name: options.get(name) for name in names}, use_thumbnail=False
    )
    ratios: list[tuple[int, int]] = get_internvl_target_ratios(fewest, most)
    return ratios


def _tiles(call: PatchedCall, processor: Any, image: Image.Image, ratios: list[tuple[int, int]]) -> Tiles:
    _, _, rows, columns, edge, _, n_tiles = _sizes(processor, image, ratios)
    resize = _resizer(call, image)
    whole = resize(edge, edge) if n_tiles > rows * columns else None
    cut = in_one_copy if call.uses(11) else one_by_one
    return cut(resize(rows * edge, columns * edge), (edge, edge), whole)


def _sizes(processor: Any, image: Image.Image, ratios: list[tuple[int, int]]) -> list[int]:
    edge = processor.image_size
    _, width, height = calculate_internvl_targets(
        orig_width=image.width,
        orig_height=image.height,
        target_ratios=ratios,
        image_size=edge,
        use_thumbnail=False,
    )
    grid = (height // edge, width // edge)
    return sizes_of((image.height, image.width), grid, (edge, edge), thumbnail=processor.use_thumbnail)


def _pixels(call: PatchedCall, tiles: Sequence[Tiles]) -> torch.Tensor:
    """The tiles of all images in the one tensor that is sent."""
    if not call.uses(1):
        return torch.cat([torch.stack([_transformed(tile) for tile in of_one]) for of_one in tiles])
    if call.uses(8):
        return _joined(tiles)
    return in_bfloat16(_joined(tiles), IMAGENET) if call.uses(6) else _normalized(tiles)


def _resizer(call: PatchedCall, image: Image.Image) -> Callable[[int, int], Planes]:
    """A function of height and width: bicubic by PIL, as in the engine, or by torchvision."""
    if not call.uses(2):
        return lambda height, width: _planes(image.resize((width, height)))
    pixels = tv.pil_to_tensor(image)
    bicubic = tv.InterpolationMode.BICUBIC

    def resize(height: int, width: int) -> torch.Tensor:
        resized: torch.Tensor = tv.resize(pixels, [height, width], interpolation=bicubic, antialias=True)
        return resized

    return resize


def _planes(image: Image.Image) -> list[torch.Tensor]:
    # PIL separates the colours faster than a strided copy does.
    return [torch.from_numpy(np.array(band)) for band in image.split()]


def _transformed(tile: torch.Tensor) -> torch.Tensor:
    """What the engine does to each tile: `ToTensor`, then `Normalize`."""
    normalized: torch.Tensor = tv.normalize(
        tile.to(torch.get_default_dtype()).div(255), IMAGENET_MEAN, IMAGENET_STD
    )
    return normalized


def _joined(tiles: Sequence[Tiles]) -> torch.Tensor:
    stacked = [of_one if isinstance(of_one, torch.Tensor) else torch.stack(list(of_one)) for of_one in tiles]
    return stacked[0] if len(stacked) == 1 else torch.cat(stacked)


def _normalized(tiles: Sequence[Tiles]) -> torch.Tensor:
    """All tiles normalized as `_transformed` does, in the one tensor that is sent."""
    every_tile = [tile for of_one in tiles for tile in of_one]
    dtype = torch.get_default_dtype()
    mean = torch.tensor(IMAGENET_MEAN, dtype=dtype).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=dtype).view(3, 1, 1)
    pixels = torch.empty((len(every_tile), *every_tile[0].shape), dtype=dtype)
    for normalized, tile in zip(pixels, every_tile, strict=True):
        normalized.copy_(tile).div_(255).sub_(mean).div_(std)
    return pixels
