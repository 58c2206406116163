"""Recipe 3: decoded images are sent as they are, and the worker makes their tiles.

Images of one prompt may differ in size, which no one tensor of images allows: their bytes are sent one after
another, colours interleaved as they were decoded. Interleaved colours are also what torch resizes fastest.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch

from vlmprof_recipes import device_resize
from vlmprof_recipes.device_resize import Filter

IMAGES = "images_uint8"
"""uint8 [bytes]: of each image its rows, of each row its pixels, of each pixel red, green and blue."""

SIZES = "images_uint8_sizes"
"""int64 [images, n]: an image's height and width, then what its family's worker must know of its tiles."""

_RGB = 3


def packed(images: Iterable[torch.Tensor]) -> torch.Tensor:
    """The bytes of uint8 images [3, height, width]; without a copy where there is one, with interleaved colours."""
    flat = [image.permute(1, 2, 0).reshape(-1) for image in images]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def unpacked(packed_images: torch.Tensor, sizes: torch.Tensor) -> list[torch.Tensor]:
    """Images [1, 3, height, width] on the device where their bytes are: views, with interleaved colours."""
    images = packed_images.split(_n_bytes(sizes))
    return [
        image.view(1, height, width, _RGB).permute(0, 3, 1, 2)
        for image, (height, width) in zip(images, sizes[:, :2].tolist(), strict=True)
    ]


class CutTiles(Protocol):
    """How a family makes the tiles [tiles, 3, height, width] of an image [1, 3, height, width].

    `sizes` is the image's row of SIZES, `interleaved` as in `all_tiles`.
    """

    def __call__(self, image: torch.Tensor, sizes: list[int], *, interleaved: bool) -> torch.Tensor: ...


def all_tiles(
    cut: CutTiles, packed_images: torch.Tensor, sizes: torch.Tensor, *, interleaved: bool
) -> torch.Tensor:
    """All tiles of all images, uint8 [tiles, 3, height, width], on the device where the images' bytes are.

    Args:
        interleaved: on a CPU a pixel's colours stay beside one another, as `folded_embeddings` takes them best.
    """
    tiles = [
        cut(image, of_image, interleaved=interleaved)
        for image, of_image in zip(unpacked(packed_images, sizes), sizes.tolist(), strict=True)
    ]
    return tiles[0] if len(tiles) == 1 else torch.cat(tiles)


def worth_sending(sizes: torch.Tensor, tile_bytes: int) -> bool:
    """Whether images are no larger than the tiles that would be sent in their place."""
    return sum(_n_bytes(sizes)) <= tile_bytes


def field_configs(hf_inputs: Mapping[str, Any]) -> dict[str, Any]:
    """How bytes and sizes are divided among images; nothing where there are no whole images."""
    from vllm.multimodal.inputs import MultiModalFieldConfig

    sizes = hf_inputs.get(SIZES)
    if sizes is None:
        return {}
    n_bytes = torch.tensor(_n_bytes(sizes))
    return {
        IMAGES: MultiModalFieldConfig.flat_from_sizes("image", n_bytes),
        SIZES: MultiModalFieldConfig.batched("image", keep_on_cpu=True),
    }


def chosen(mm_kwargs: Mapping[str, Any], indices: Sequence[int]) -> dict[str, Any]:
    """Bytes and sizes of some of the images."""
    images, sizes = mm_kwargs[IMAGES].split(_n_bytes(mm_kwargs[SIZES])), mm_kwargs[SIZES]
    return {IMAGES: torch.cat([images[index] for index in indices]), SIZES: sizes[list(indices)]}


def resized(image: torch.Tensor, size: tuple[int, int], resampling: Filter) -> torch.Tensor:
    """A uint8 image [1, 3, height, width] at another size, to the values of torchvision's resize on the CPU."""
    if not image.is_cpu:
        return device_resize.resized(image, size, resampling)
    from torchvision.transforms.v2 import functional

    mode = functional.InterpolationMode(resampling.name)
    found: torch.Tensor = functional.resize(image, list(size), interpolation=mode, antialias=True)
    return found


def _n_bytes(sizes: torch.Tensor) -> list[int]:
    return [height * width * _RGB for height, width in sizes[:, :2].tolist()]
