"""InternVL under recipe 3: the worker makes the tiles of the decoded image, as torchvision would have before.

What the worker cannot know, the grid that the processor chose, is sent with each image.
"""

from collections.abc import Iterable
from typing import Any

import torch

from vlmprof_recipes.device_resize import BICUBIC
from vlmprof_recipes.tiling import in_one_copy
from vlmprof_recipes.whole_images import IMAGES, SIZES, all_tiles, packed, resized, worth_sending

_RGB = 3


def sizes_of(
    image: tuple[int, int], grid: tuple[int, int], edges: tuple[int, int], *, thumbnail: bool
) -> list[int]:
    """What is sent beside an image.

    Args:
        image: its height and width.
        grid: rows and columns of tiles.
        edges: height and width of a tile.
        thumbnail: whether the whole image is a tile too, where it is more than one.

    Returns:
        Height and width; rows and columns; a tile's height and width; number of tiles, the thumbnail included.
    """
    n_tiles = grid[0] * grid[1]
    return [*image, *grid, *edges, n_tiles + (thumbnail and n_tiles > 1)]


def whole_images(images: Iterable[torch.Tensor], sizes: list[list[int]]) -> dict[str, Any] | None:
    """What is sent of a prompt's images [3, height, width] and their sizes; None where tiles would be smaller."""
    all_sizes = torch.tensor(sizes)
    if not worth_sending(all_sizes, sum(_RGB * height * width * n for *_, height, width, n in sizes)):
        return None
    return {IMAGES: packed(images), SIZES: all_sizes}


def tiles_of(images: torch.Tensor, sizes: torch.Tensor, *, interleaved: bool = False) -> torch.Tensor:
    """All tiles of all images; see `all_tiles`."""
    return all_tiles(_tiles, images, sizes, interleaved=interleaved)


def _tiles(image: torch.Tensor, sizes: list[int], *, interleaved: bool) -> torch.Tensor:
    _, _, rows, columns, height, width, n_tiles = sizes
    fitted = resized(image, (rows * height, columns * width), BICUBIC)[0]
    whole = resized(image, (height, width), BICUBIC)[0] if n_tiles > rows * columns else None
    return in_one_copy(fitted, (height, width), whole, interleaved=interleaved)
