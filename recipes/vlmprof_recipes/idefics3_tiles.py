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
from vlmprof_recipes.idefics3_whole_images import IMAGES, SIZES, sizes_of
from vlmprof_recipes.pixel_arithmetic import in_bfloat16

# Mean and standard deviation of every Idefics3 and SmolVLM.
_TRAINED_WITH = [0.5, 0.5, 0.5]
_RGB = 3
_FOR_WHOLE_IMAGES = (1, 3, 8, 10, 11)


def preprocess(call: PatchedCall, processor: Any, images: list[list[torch.Tensor]], **options: Any) -> Any:
    """Tiles of the images of one prompt, as far as they are plain RGB; others go the engine's own way."""
    if not _treatable(images, options):
        return call.original(processor, images, **options)
    if all(map(call.is_on, _FOR_WHOLE_IMAGES)) and _can_stay_whole(images[0], options):
        return _whole_images(images[0], options)
    pixels, rows, cols = _tiles(call, processor, images[0], options)
    if not (call.is_on(1) and call.is_on(8) and _trained_scale(options)):
        bfloat16 = call.is_on(6) and _trained_scale(options)
        pixels = in_bfloat16(pixels) if bfloat16 else _normalized(processor, pixels, options)
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


def _can_stay_whole(images: list[torch.Tensor], options: dict[str, Any]) -> bool:
    """Whether the worker can make the tiles: the library stacks what it returns, so that sizes must not differ."""
    return len(images) == 1 and _trained_scale(options) and _is_lanczos(options)


def _is_lanczos(options: dict[str, Any]) -> bool:
    """Whether the processor's resize is the one that the worker has; older libraries make it bicubic."""
    from transformers.utils import is_torchvision_greater_or_equal

    lanczos: bool = options["resample"] == PILImageResampling.LANCZOS and is_torchvision_greater_or_equal(
        "0.27"
    )
    return lanczos


def _whole_images(images: list[torch.Tensor], options: dict[str, Any]) -> BatchFeature:
    sizes = [sizes_of(image.shape[-2], image.shape[-1], options) for image in images]
    features = BatchFeature(
        data={IMAGES: [image.contiguous() for image in images], SIZES: torch.tensor(sizes)}
    )
    if options["return_row_col_info"]:
        grids = [(height // edge, width // edge) for *_, height, width, edge in sizes]
        # An image of one tile is not split: it has no rows.
        split = [grid if grid != (1, 1) else (0, 0) for grid in grids]
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
