"""SmolVLM and Idefics3 in the API server: an image becomes tiles without the copies between.

The engine's own functions resize and normalize, so that pixels stay bit-identical; what goes is the work
around them. Recipe 1 leaves out grouping and padding, 8 leaves the tiles uint8, 10 makes no mask and 11
splits in one copy. Recipe 3 makes no tiles at all, and 6 normalizes in bfloat16.
"""

from typing import Any

import torch
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import PILImageResampling, SizeDict

from vlmprof.patching import PatchedCall
from vlmprof_recipes.hf_normalization import has_scale, normalized
from vlmprof_recipes.idefics3_whole_images import grid_of, sizes_of
from vlmprof_recipes.pixel_arithmetic import HALF, in_bfloat16
from vlmprof_recipes.tiling import in_one_copy
from vlmprof_recipes.whole_images import IMAGES, SIZES, packed, worth_sending

_RGB = 3
_FOR_WHOLE_IMAGES = (1, 3, 8, 10, 11)

UNTREATABLE = "images that are not RGB, or a processor with other settings"
"""Why a recipe gives way."""


def preprocess(call: PatchedCall, processor: Any, images: list[list[torch.Tensor]], **options: Any) -> Any:
    """Tiles of the images of one prompt, as far as they are plain RGB; others go the engine's own way."""
    if not (treatable(images, torch.uint8, options) and call.uses(1)):
        return call.give_way(UNTREATABLE, processor, images, **options)
    if all(map(call.is_on, _FOR_WHOLE_IMAGES)) and has_scale(options, HALF) and _is_lanczos(options):
        heights_and_widths = [(image.shape[-2], image.shape[-1]) for image in images[0]]
        sizes = torch.tensor([sizes_of(height, width, options) for height, width in heights_and_widths])
        if worth_sending(sizes, _tile_bytes(sizes)) and call.uses(*_FOR_WHOLE_IMAGES):
            return _whole_images(images[0], sizes, options)
    pixels, rows, cols = _tiles(call, processor, images[0], options)
    if not (has_scale(options, HALF) and call.uses(8)):
        bfloat16 = has_scale(options, HALF) and call.uses(6)
        pixels = in_bfloat16(pixels, HALF) if bfloat16 else normalized(processor, list(pixels), options)
    return encoded(call, pixels, (rows, cols), options)


def encoded(
    call: PatchedCall, pixels: torch.Tensor, grids: tuple[list[int], list[int]], options: dict[str, Any]
) -> BatchFeature:
    """What a processor gives back for the images of one prompt; without a mask where recipe 10 is on.

    Args:
        pixels: [tiles, 3, edge, edge]; grids: rows and columns of each image's tiles.
    """
    encoding = {"pixel_values": pixels[None]}
    if not call.uses(10):
        encoding["pixel_attention_mask"] = torch.ones(1, len(pixels), *pixels.shape[-2:], dtype=torch.int64)
    features = BatchFeature(data=encoding)
    if options["return_row_col_info"]:
        rows, cols = grids
        features["rows"], features["cols"] = [rows], [cols]
    return features


def treatable(images: list[list[Any]], uint8: Any, options: dict[str, Any]) -> bool:
    """Whether these are the images of one prompt, all of them RGB, and every step is to be taken.

    Args:
        images: tensors or arrays [channels, height, width]; uint8: that type as they have it.
    """
    steps = ("do_resize", "do_image_splitting", "do_rescale", "do_normalize", "do_pad")
    return (
        len(images) == 1
        and len(images[0]) > 0
        and all(image.dtype == uint8 and image.shape[0] == _RGB for image in images[0])
        and all(options[step] for step in steps)
        and options["return_tensors"] == "pt"
    )


def _is_lanczos(options: dict[str, Any]) -> bool:
    """Whether the processor's resize is the one that the worker has; older libraries make it bicubic."""
    from transformers.utils import is_torchvision_greater_or_equal

    lanczos: bool = options["resample"] == PILImageResampling.LANCZOS and is_torchvision_greater_or_equal(
        "0.27"
    )
    return lanczos


def _tile_bytes(sizes: torch.Tensor) -> int:
    n_tiles, edge = 0, int(sizes[0, -1])
    for rows, columns in map(grid_of, sizes.tolist()):
        n_tiles += rows * columns + (rows * columns > 1)
    return n_tiles * _RGB * edge * edge


def _whole_images(images: list[torch.Tensor], sizes: torch.Tensor, options: dict[str, Any]) -> BatchFeature:
    features = BatchFeature(data={IMAGES: packed(images), SIZES: sizes})
    if options["return_row_col_info"]:
        # An image of one tile is not split: it has no rows.
        split = [grid if grid != (1, 1) else (0, 0) for grid in map(grid_of, sizes.tolist())]
        features["rows"], features["cols"] = [[rows for rows, _ in split]], [[cols for _, cols in split]]
    return features


def _tiles(
    call: PatchedCall, processor: Any, images: list[torch.Tensor], options: dict[str, Any]
) -> tuple[torch.Tensor, list[int], list[int]]:
    """All tiles of all images, uint8 [tiles, 3, edge, edge], with rows and columns of each image."""
    edge, resample = options["max_image_size"]["longest_edge"], options["resample"]
    tiles, rows, cols = [], [], []
    for image in images:
        resized = processor.resize(image[None], options["size"], resample=resample)
        fitted = processor.resize_for_vision_encoder(resized, edge, resample=resample)
        if call.uses(11):
            of_image, n_rows, n_cols = _split_in_one_copy(processor, fitted, edge, resample)
        else:
            split, (n_rows,), (n_cols,) = processor.split_images(
                fitted, max_image_size=options["max_image_size"], resample=resample
            )
            of_image = split[0]
        tiles.append(of_image)
        rows.append(n_rows)
        cols.append(n_cols)
    return tiles[0] if len(tiles) == 1 else torch.cat(tiles), rows, cols


def _split_in_one_copy(
    processor: Any, image: torch.Tensor, edge: int, resample: Any
) -> tuple[torch.Tensor, int, int]:
    """Tiles row by row and the whole image last, each pixel copied once.

    Args:
        image: [1, channels, height, width], both multiples of the edge.
    """
    rows, cols = image.shape[-2] // edge, image.shape[-1] // edge
    if rows * cols == 1:
        return in_one_copy(image[0], (edge, edge), None), 0, 0
    whole = processor.resize(image, SizeDict(height=edge, width=edge), resample=resample)[0]
    return in_one_copy(image[0], (edge, edge), whole), rows, cols
