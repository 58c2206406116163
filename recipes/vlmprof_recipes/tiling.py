"""A resized image cut into equal tiles."""

from collections.abc import Iterator, Sequence

import torch


def in_one_copy(
    planes: Sequence[torch.Tensor],
    edges: tuple[int, int],
    whole: Sequence[torch.Tensor] | None,
    *,
    interleaved: bool = False,
) -> torch.Tensor:
    """Tiles row by row and the whole image last, each pixel copied once.

    Args:
        planes: one [height, width] for each channel, in a list or a tensor; both multiples of a tile's.
        edges: height and width of a tile.
        whole: the whole image as one more tile, one [height, width] for each channel; None for none.
        interleaved: leave a pixel's colours beside one another where they are so.

    Returns:
        [tiles, channels, height, width] of a tile.
    """
    height, width = edges
    cuts = list(_cuts(planes, edges))
    shape = (len(cuts) + (whole is not None), len(planes), height, width)
    are_interleaved = isinstance(planes, torch.Tensor) and _is_interleaved(planes)
    memory = torch.channels_last if interleaved and are_interleaved else torch.contiguous_format
    tiles = torch.empty(shape, dtype=planes[0].dtype, device=planes[0].device, memory_format=memory)
    if isinstance(planes, torch.Tensor) and are_interleaved:
        for tile, (down, across) in zip(tiles, cuts, strict=False):
            _separate(planes[:, down, across], tile)
    else:
        _cut_planes(planes, tiles[: len(cuts)])
    if isinstance(whole, torch.Tensor) and _is_interleaved(whole):
        _separate(whole, tiles[-1])
    elif whole is not None:
        for channel, plane in enumerate(whole):
            tiles[-1, channel] = plane
    return tiles


def one_by_one(
    planes: Sequence[torch.Tensor],
    edges: tuple[int, int],
    whole: Sequence[torch.Tensor] | None,
) -> list[torch.Tensor]:
    """The same tiles as a list, each a tensor of its own."""
    tiles = [torch.stack([plane[down, across] for plane in planes]) for down, across in _cuts(planes, edges)]
    return tiles if whole is None else [*tiles, torch.stack(list(whole))]


def _cuts(planes: Sequence[torch.Tensor], edges: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of each tile."""
    height, width = edges
    for top in range(0, planes[0].shape[0], height):
        for left in range(0, planes[0].shape[1], width):
            yield slice(top, top + height), slice(left, left + width)


def _cut_planes(planes: Sequence[torch.Tensor], tiles: torch.Tensor) -> None:
    _, _, height, width = tiles.shape
    rows, columns = planes[0].shape[0] // height, planes[0].shape[1] // width
    for channel, plane in enumerate(planes):
        grid = plane.reshape(rows, height, columns, width).permute(0, 2, 1, 3)
        tiles[:, channel].view(rows, columns, height, width).copy_(grid)


def _is_interleaved(planes: torch.Tensor) -> bool:
    """Whether a pixel's colours are beside one another, as torch's resize leaves them where it found them so."""
    return planes.is_cpu and planes.dtype == torch.uint8 and planes.stride(0) == 1 and len(planes) > 1


def _separate(interleaved: torch.Tensor, planes: torch.Tensor) -> None:
    """Copy colours that are interleaved into planes, or into what is interleaved too.

    torch copies single bytes; OpenCV, which vLLM depends on, takes a third of the time.
    """
    if _is_interleaved(planes):
        planes.copy_(interleaved)
        return
    import cv2

    into = [plane.numpy() for plane in planes]
    found = cv2.split(interleaved.permute(1, 2, 0).numpy(), into)
    for mine, made in zip(into, found, strict=True):
        if made.ctypes.data != mine.ctypes.data:
            mine[...] = made
