"""HF-native InternVL in the API server: from tensors to tiles in transformers' image processor.

The engine's own functions resize and normalize, so that pixels stay bit-identical. Recipe 1 leaves out
grouping, the second resize to the same size and the list of tiles, 8 leaves the tiles uint8 and 11 cuts them
in one copy.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import SizeDict
from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

from vlmprof.patching import PatchedCall
from vlmprof_recipes.tiling import in_one_copy

_RGB = 3
_TRAINED_MEAN = [0.485, 0.456, 0.406]
_TRAINED_STD = [0.229, 0.224, 0.225]
_engines_own: ContextVar[bool] = ContextVar("engines_own", default=False)


@contextmanager
def engines_own_way() -> Iterator[None]:
    """No tiles are left uint8 here: the images of the request are not all alike, and the engine joins them."""
    before = _engines_own.set(True)
    try:
        yield
    finally:
        _engines_own.reset(before)


def crop_in_one_copy(
    call: PatchedCall,
    processor: Any,
    images: torch.Tensor,
    min_patches: int,
    max_patches: int,
    **options: Any,
) -> Any:
    """Tiles of one image, [1, tiles, channels, height, width]; a batch of several goes the engine's own way."""
    if len(images) != 1:
        return call.original(processor, images, min_patches, max_patches, **options)
    patch_size, resample = options["patch_size"], options["resample"]
    edges = (patch_size.height, patch_size.width)
    columns, rows = get_optimal_tiled_canvas(tuple(images.shape[-2:]), edges, min_patches, max_patches)
    grid = SizeDict(height=rows * edges[0], width=columns * edges[1])
    resized = processor.resize(images, grid, resample=resample)[0]
    whole = None
    if options.get("use_thumbnail", True) and rows * columns != 1:
        whole = processor.resize(images, patch_size, resample=resample)[0]
    return in_one_copy(resized, edges, whole)[None]


def preprocess(call: PatchedCall, processor: Any, images: list[torch.Tensor], **options: Any) -> Any:
    """Tiles of images as one tensor, as far as they are plain RGB; others go the engine's own way."""
    if not (call.is_on(1) and _treatable(images, options)):
        return call.original(processor, images, **options)
    tiles = [_tiles(processor, image, options) for image in images]
    if call.is_on(8) and _trained_scale(options):
        pixels = tiles[0] if len(tiles) == 1 else torch.cat(tiles)
    else:
        pixels = _normalized(processor, tiles, options)
    data = {"pixel_values": pixels, "num_patches": [len(of_one) for of_one in tiles]}
    return BatchFeature(data=data, tensor_type=options["return_tensors"])


def _treatable(images: list[torch.Tensor], options: dict[str, Any]) -> bool:
    steps = ("crop_to_patches", "do_resize", "do_rescale", "do_normalize")
    return (
        not _engines_own.get()
        and len(images) > 0
        and all(image.dtype == torch.uint8 and image.shape[0] == _RGB for image in images)
        and all(options[step] for step in steps)
        and options["return_tensors"] == "pt"
    )


def _trained_scale(options: dict[str, Any]) -> bool:
    """Whether the worker, which sees no processor config, knows how to normalize."""
    scales = (list(options["image_mean"]), list(options["image_std"]))
    return scales == (_TRAINED_MEAN, _TRAINED_STD) and options["rescale_factor"] == 1 / 255


def _tiles(processor: Any, image: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    tiles: torch.Tensor = processor.crop_image_to_patches(
        image[None],
        options["min_patches"],
        options["max_patches"],
        patch_size=options["size"],
        resample=options["resample"],
    )[0]
    return tiles


def _normalized(processor: Any, tiles: list[torch.Tensor], options: dict[str, Any]) -> torch.Tensor:
    """All tiles normalized by the engine's function, each in its place in the one tensor that is sent."""
    names = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
    how = {name: options[name] for name in names}
    every_tile = [tile for of_one in tiles for tile in of_one]
    device = every_tile[0].device
    mean, std, _ = processor._fuse_mean_std_and_rescale_factor(device=device, **how)
    pixels = torch.empty((len(every_tile), *every_tile[0].shape), dtype=torch.float32, device=device)
    for normalized, tile in zip(pixels, every_tile, strict=True):
        processor.normalize(normalized.copy_(tile), mean, std, inplace=True)
    return pixels
