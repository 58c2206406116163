"""SmolVLM and Idefics3 under recipe 3: the worker makes the tiles of the decoded image.

What the worker cannot know, the processor's sizes, is sent with each image.
"""

import math
from typing import Any

import torch

from vlmprof_recipes.device_resize import LANCZOS
from vlmprof_recipes.tiling import in_one_copy
from vlmprof_recipes.whole_images import all_tiles, resized


def sizes_of(height: int, width: int, options: dict[str, Any]) -> list[int]:
    """The sizes through which a processor with these options takes an image of this height and width.

    Returns:
        Height and width; both after the first resize; both as a multiple of a tile's edge; the edge.
    """
    from transformers.models.idefics3.image_processing_idefics3 import get_resize_output_image_size

    edge = options["max_image_size"]["longest_edge"]
    unread = torch.empty(3, height, width, device="meta")
    first = get_resize_output_image_size(unread, resolution_max_side=options["size"].longest_edge)
    return [height, width, *first, *_in_whole_tiles(first[0], first[1], edge), edge]


def grid_of(sizes: list[int]) -> tuple[int, int]:
    """Rows and columns of an image's tiles."""
    *_, height, width, edge = sizes
    return height // edge, width // edge


def tiles_of(images: torch.Tensor, sizes: torch.Tensor, *, interleaved: bool = False) -> torch.Tensor:
    """All tiles of all images; see `all_tiles`."""
    return all_tiles(_tiles, images, sizes, interleaved=interleaved)


def _tiles(image: torch.Tensor, sizes: list[int], *, interleaved: bool) -> torch.Tensor:
    _, _, height, width, tiled_height, tiled_width, edge = sizes
    fitted = resized(resized(image, (height, width), LANCZOS), (tiled_height, tiled_width), LANCZOS)
    is_one = (tiled_height, tiled_width) == (edge, edge)
    whole = None if is_one else resized(fitted, (edge, edge), LANCZOS)[0]
    return in_one_copy(fitted[0], (edge, edge), whole, interleaved=interleaved)


def _in_whole_tiles(height: int, width: int, edge: int) -> tuple[int, int]:
    """Source: `resize_for_vision_encoder` of Idefics3ImageProcessor, whose rounding this keeps."""
    aspect_ratio = width / height
    if width >= height:
        width = math.ceil(width / edge) * edge
        return math.ceil(int(width / aspect_ratio) / edge) * edge, width
    height = math.ceil(height / edge) * edge
    return height, math.ceil(int(height * aspect_ratio) / edge) * edge
