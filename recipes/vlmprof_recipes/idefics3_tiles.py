"""SmolVLM and Idefics3 in the API server: an image becomes tiles without the copies between.

The engine's own functions resize and normalize, so that pixels stay bit-identical; what goes is the work
around them. Recipe 1 leaves out grouping and padding, 8 leaves the tiles uint8, 10 makes no mask and 11
splits in one copy.
"""

from typing import Any

import torch
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import SizeDict

from vlmprof.patching import PatchedCall

# Mean and standard deviation of every Idefics3 and SmolVLM.
_TRAINED_WITH = [0.5, 0.5, 0.5]
_RGB = 3


def preprocess(call: PatchedCall, processor: Any, images: list[list[torch.Tensor]], **options: Any) -> Any:
    """Tiles of the images of one prompt, as far as they are plain RGB; others go the engine's own way."""
    if not _treatable(images, options):
        return call.original(processor, images, **options)
    pixels, rows, cols = _tiles(call, processor, images[0], options)
    if not (call.is_on(1) and call.is_on(8) and _trained_scale(options)):
        pixels = _normalized(processor, pixels, options)
    if not call.is_on(1):
        pixels = _padded(processor, pixels)
    encoding = {"pixel_values": pixels[None]}
    if not call.is_on(10):
        encoding["pixel_attention_mask"] = torch.ones(1, len(pixels), *pixels.shape[-2:], dtype=torch.int64)
    features = BatchFeature(data=encoding)
    if options["return_row_col_info"]:
        features["rows"] = [rows]
        features["cols"] = [cols]
    return features


def _treatable(images: list[list[torch.Tensor]], options: dict[str, Any]) -> bool:
    steps = ("do_resize", "do_image_splitting", "do_rescale", "do_normalize", "do_pad")
    return (
        len(images) == 1
        and len(images[0]) > 0
        and all(image.dtype == torch.uint8 and image.shape[0] == _RGB for image in images[0])
        and all(options[step] for step in steps)
        and options["return_tensors"] == "pt"
    )


def _trained_scale(options: dict[str, Any]) -> bool:
    """Whether the worker, which sees no processor config, knows how to normalize."""
    scales = (list(options["image_mean"]), list(options["image_std"]))
    return scales == (_TRAINED_WITH, _TRAINED_WITH) and options["rescale_factor"] == 1 / 255


def _tiles(
    call: PatchedCall, processor: Any, images: list[torch.Tensor], options: dict[str, Any]
) -> tuple[torch.Tensor, list[int], list[int]]:
    """All tiles of all images, uint8 [tiles, 3, edge, edge], with rows and columns of each image."""
    edge, resample = options["max_image_size"]["longest_edge"], options["resample"]
    tiles, rows, cols = [], [], []
    for image in images:
        resized = processor.resize(image[None], options["size"], resample=resample)
        fitted = processor.resize_for_vision_encoder(resized, edge, resample=resample)
        if call.is_on(11):
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
    _, channels, height, width = image.shape
    rows, cols = height // edge, width // edge
    if rows * cols == 1:
        return image, 0, 0
    tiles = image.new_empty((rows * cols + 1, channels, edge, edge))
    grid = image.view(channels, rows, edge, cols, edge).permute(1, 3, 0, 2, 4)
    tiles[:-1].view(rows, cols, channels, edge, edge).copy_(grid)
    tiles[-1:] = processor.resize(image, SizeDict(height=edge, width=edge), resample=resample)
    return tiles, rows, cols


def _normalized(processor: Any, pixels: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    names = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
    normalized: torch.Tensor = processor.rescale_and_normalize(pixels, *(options[name] for name in names))
    return normalized


def _padded(processor: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The engine's copy into zeros of the same size, for recipes that leave it in place."""
    padded = torch.zeros_like(pixels)
    for index, tile in enumerate(pixels):
        padded[index], _ = processor.pad(tile, tuple(tile.shape[-2:]), return_pixel_mask=False)
    return padded
