"""SmolVLM and Idefics3 under recipe 3: the decoded image is sent, and the worker makes its tiles.

What the worker cannot know, the processor's sizes, is sent with each image.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch

from vlmprof_recipes import device_resize
from vlmprof_recipes.tiling import in_one_copy

IMAGES = "images_uint8"
SIZES = "images_uint8_sizes"
"""int64 [5] an image: height and width after the first resize, then as a multiple of a tile's edge; the edge."""


def sizes_of(height: int, width: int, options: dict[str, Any]) -> tuple[int, int, int, int, int]:
    """The sizes through which a processor with these options takes an image of this height and width."""
    from transformers.models.idefics3.image_processing_idefics3 import get_resize_output_image_size

    edge = options["max_image_size"]["longest_edge"]
    unread = torch.empty(3, height, width, device="meta")
    first = get_resize_output_image_size(unread, resolution_max_side=options["size"].longest_edge)
    tiled_height, tiled_width = _in_whole_tiles(first[0], first[1], edge)
    return first[0], first[1], tiled_height, tiled_width, edge


def tiles_of(images: Iterable[torch.Tensor], sizes: Iterable[torch.Tensor]) -> torch.Tensor:
    """All tiles of all images, uint8 [tiles, 3, edge, edge], on the images' device."""
    return torch.cat(
        [_tiles(image, of_image.tolist()) for image, of_image in zip(images, sizes, strict=True)]
    )


def _tiles(image: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    height, width, tiled_height, tiled_width, edge = sizes
    fitted = _resized(_resized(image, (height, width)), (tiled_height, tiled_width))
    if (tiled_height, tiled_width) == (edge, edge):
        return fitted[None]
    return in_one_copy(fitted, (edge, edge), _resized(fitted, (edge, edge)))


def _resized(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if not image.is_cpu:
        return device_resize.resized(image, size)
    from torchvision.transforms.v2 import functional

    lanczos = functional.InterpolationMode.LANCZOS
    found: torch.Tensor = functional.resize(image, list(size), interpolation=lanczos, antialias=True)
    return found


def _in_whole_tiles(height: int, width: int, edge: int) -> tuple[int, int]:
    """Source: `resize_for_vision_encoder` of Idefics3ImageProcessor, whose rounding this keeps."""
    aspect_ratio = width / height
    if width >= height:
        width = math.ceil(width / edge) * edge
        return math.ceil(int(width / aspect_ratio) / edge) * edge, width
    height = math.ceil(height / edge) * edge
    return height, math.ceil(int(height * aspect_ratio) / edge) * edge
