"""HF-native InternVL in the API server: from tensors to tiles in transformers' image processor.

The engine's own functions resize and normalize, so that pixels stay bit-identical. Recipe 1 leaves out
grouping, the second resize to the same size and the list of tiles, 8 leaves the tiles uint8 and 11 separates
their colours as it cuts them. Recipe 3 makes no tiles at all, and 6 normalizes in bfloat16.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

from vlmprof.patching import PatchedCall
from vlmprof_recipes.hf_normalization import has_scale, normalized
from vlmprof_recipes.internvl_whole_images import sizes_of, whole_images
from vlmprof_recipes.pixel_arithmetic import IMAGENET, in_bfloat16
from vlmprof_recipes.tiling import in_one_copy

_RGB = 3
_FOR_WHOLE_IMAGES = (3, 8, 11)

UNTREATABLE = "images that are not RGB, videos, or a processor with other settings"
"""Why a recipe gives way."""
_engines_own: ContextVar[bool] = ContextVar("engines_own", default=False)
_may_stay_whole: ContextVar[bool] = ContextVar("may_stay_whole", default=False)


def engines_own_way() -> AbstractContextManager[None]:
    """No tiles are left uint8 here: the images of the request are not all alike, and the engine joins them."""
    return _holding(_engines_own)


def may_stay_whole() -> AbstractContextManager[None]:
    """Whoever asks for tiles here takes images in their place."""
    return _holding(_may_stay_whole)


@contextmanager
def _holding(state: ContextVar[bool]) -> Iterator[None]:
    before = state.set(True)
    try:
        yield
    finally:
        state.reset(before)


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
        return call.give_way(
            "several images in one tensor", processor, images, min_patches, max_patches, **options
        )
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
    if not (_treatable(images, options) and call.uses(1)):
        return call.give_way(UNTREATABLE, processor, images, **options)
    if all(map(call.is_on, _FOR_WHOLE_IMAGES)) and _may_stay_whole.get() and _can_stay_whole(options):
        sizes = [_sizes(image, options) for image in images]
        whole = whole_images(images, sizes)
        if whole is not None and call.uses(*_FOR_WHOLE_IMAGES):
            return BatchFeature(whole | {"num_patches": [n_tiles for *_, n_tiles in sizes]})
    tiles = [_tiles(processor, image, options) for image in images]
    data = {"pixel_values": _pixels(call, processor, tiles, options), "num_patches": list(map(len, tiles))}
    return BatchFeature(data=data, tensor_type=options["return_tensors"])


def engines_tiles(call: PatchedCall, processor: Any, images: list[torch.Tensor], **options: Any) -> Any:
    """Where `preprocess` failed: the engine's own tiles, uint8 where those of the request's other images are.

    What joins the images of a request would otherwise make float32 of all, and leave the others from 0 to 255.
    """
    are_uint8 = (
        call.is_on(1) and call.is_on(8) and _treatable(images, options) and has_scale(options, IMAGENET)
    )
    as_they_are = {"do_rescale": False, "do_normalize": False} if are_uint8 else {}
    return call.original(processor, images, **options | as_they_are)


def _treatable(images: list[torch.Tensor], options: dict[str, Any]) -> bool:
    steps = ("crop_to_patches", "do_resize", "do_rescale", "do_normalize")
    return (
        not _engines_own.get()
        and len(images) > 0
        and all(image.dtype == torch.uint8 and image.shape[0] == _RGB for image in images)
        and all(options[step] for step in steps)
        and options["return_tensors"] == "pt"
    )


def _can_stay_whole(options: dict[str, Any]) -> bool:
    """Whether the worker's resize is the processor's."""
    return has_scale(options, IMAGENET) and options["resample"] == PILImageResampling.BICUBIC


def _sizes(image: torch.Tensor, options: dict[str, Any]) -> list[int]:
    edges = (options["size"].height, options["size"].width)
    columns, rows = get_optimal_tiled_canvas(
        tuple(image.shape[-2:]), edges, options["min_patches"], options["max_patches"]
    )
    return sizes_of(tuple(image.shape[-2:]), (rows, columns), edges, thumbnail=True)


def _tiles(processor: Any, image: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    tiles: torch.Tensor = processor.crop_image_to_patches(
        image[None],
        options["min_patches"],
        options["max_patches"],
        patch_size=options["size"],
        resample=options["resample"],
    )[0]
    return tiles


def _pixels(
    call: PatchedCall, processor: Any, tiles: Sequence[torch.Tensor], options: dict[str, Any]
) -> torch.Tensor:
    """The tiles of all images in the one tensor that is sent."""
    if has_scale(options, IMAGENET) and call.uses(8):
        return _joined(tiles)
    if has_scale(options, IMAGENET) and call.uses(6):
        return in_bfloat16(_joined(tiles), IMAGENET)
    return normalized(processor, [tile for of_one in tiles for tile in of_one], options)


def _joined(tiles: Sequence[torch.Tensor]) -> torch.Tensor:
    return tiles[0] if len(tiles) == 1 else torch.cat(list(tiles))
