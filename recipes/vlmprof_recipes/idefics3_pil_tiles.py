"""SmolVLM and Idefics3 in the API server where transformers processes with PIL: as `idefics3_tiles`, on arrays.

transformers does so beside a torchvision without Lanczos' filter for tensors (before 0.27), and where it is asked
for its `pil` backend. PIL resizes as it does upstream and the engine's own functions normalize, so that pixels stay
bit-identical. Recipe 1 leaves out the resize to the size that an image has, the lists and the padding, 8 leaves the
tiles uint8, 10 makes no mask and 11 cuts in one copy. Tiles are always made here: the worker has no PIL.

The worker normalizes uint8 tiles as the tensor processors do. Of the 256 values all are the same in bfloat16 and
float16; in float32 numpy's way differs for half of them, by a unit in the last place.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers.image_utils import SizeDict

from vlmprof.patching import PatchedCall
from vlmprof_recipes.hf_normalization import has_scale
from vlmprof_recipes.idefics3_tiles import UNTREATABLE, encoded, treatable
from vlmprof_recipes.pixel_arithmetic import HALF, in_bfloat16
from vlmprof_recipes.tiling import in_one_copy

Image = npt.NDArray[np.uint8]
"""[3, height, width]."""


def preprocess(call: PatchedCall, processor: Any, images: list[list[Image]], **options: Any) -> Any:
    """Tiles of the images of one prompt, as far as they are plain RGB; others go the engine's own way."""
    if not (treatable(images, np.uint8, options) and call.uses(1)):
        return call.give_way(UNTREATABLE, processor, images, **options)
    tiles, rows, cols = [], [], []
    for image in images[0]:
        of_image, n_rows, n_cols = _tiles(call, processor, image, options)
        tiles.append(of_image)
        rows.append(n_rows)
        cols.append(n_cols)
    pixels = _pixels(call, processor, tiles[0] if len(tiles) == 1 else torch.cat(tiles), options)
    return encoded(call, pixels, (rows, cols), options)


def _tiles(
    call: PatchedCall, processor: Any, image: Image, options: dict[str, Any]
) -> tuple[torch.Tensor, int, int]:
    """Tiles of an image, uint8 [tiles, 3, edge, edge], its rows and its columns; none where it is one tile."""
    edge, resample = options["max_image_size"]["longest_edge"], options["resample"]
    fitted = processor.resize(image, options["size"], resample=resample)
    if any(side % edge for side in fitted.shape[1:]):
        fitted = processor.resize_for_vision_encoder(fitted, edge, resample=resample)
    if not call.uses(11):
        split, n_rows, n_cols = processor.split_images(
            fitted, max_image_size=options["max_image_size"], resample=resample
        )
        return torch.stack([torch.from_numpy(tile) for tile in split]), n_rows, n_cols
    planes, edges = torch.from_numpy(fitted), (edge, edge)
    if planes.shape[1:] == edges:
        return in_one_copy(planes, edges, None), 0, 0
    whole = processor.resize(fitted, SizeDict(height=edge, width=edge), resample=resample)
    tiles = in_one_copy(planes, edges, torch.from_numpy(whole))
    return tiles, planes.shape[1] // edge, planes.shape[2] // edge


def _pixels(call: PatchedCall, processor: Any, tiles: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    """The tiles as they are sent: uint8, or normalized by the processor's own functions, one at a time."""
    if has_scale(options, HALF) and call.uses(8):
        return tiles
    if has_scale(options, HALF) and call.uses(6):
        return in_bfloat16(tiles, HALF)
    pixels = torch.empty(tiles.shape, dtype=torch.float32)
    for into, tile in zip(pixels, tiles.numpy(), strict=True):
        rescaled = processor.rescale(tile, options["rescale_factor"])
        normalized = processor.normalize(rescaled, options["image_mean"], options["image_std"])
        into.copy_(torch.from_numpy(normalized))
    return pixels
