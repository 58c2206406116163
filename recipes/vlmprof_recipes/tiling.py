"""A resized image cut into equal tiles."""

from collections.abc import Sequence

import torch


def in_one_copy(
    planes: Sequence[torch.Tensor],
    edges: tuple[int, int],
    whole: Sequence[torch.Tensor] | None,
) -> torch.Tensor:
    """Tiles row by row and the whole image last, each pixel copied once.

    Args:
        planes: one [height, width] for each channel, in a list or a tensor; both multiples of a tile's.
        edges: height and width of a tile.
        whole: the whole image as one more tile, one [height, width] for each channel; None for none.

    Returns:
        [tiles, channels, height, width] of a tile.
    """
    height, width = edges
    rows, columns = planes[0].shape[0] // height, planes[0].shape[1] // width
    n_tiles = rows * columns
    shape = (n_tiles + (whole is not None), len(planes), height, width)
    tiles = planes[0].new_empty(shape)
    for channel, plane in enumerate(planes):
        grid = plane.reshape(rows, height, columns, width).permute(0, 2, 1, 3)
        tiles[:n_tiles, channel].view(rows, columns, height, width).copy_(grid)
        if whole is not None:
            tiles[-1, channel] = whole[channel]
    return tiles


def one_by_one(
    planes: Sequence[torch.Tensor],
    edges: tuple[int, int],
    whole: Sequence[torch.Tensor] | None,
) -> list[torch.Tensor]:
    """The same tiles as a list, each a tensor of its own."""
    height, width = edges
    rows, columns = planes[0].shape[0] // height, planes[0].shape[1] // width
    tiles = []
    for row in range(rows):
        for column in range(columns):
            down = slice(row * height, (row + 1) * height)
            across = slice(column * width, (column + 1) * width)
            tiles.append(torch.stack([plane[down, across] for plane in planes]))
    return tiles if whole is None else [*tiles, torch.stack(list(whole))]
