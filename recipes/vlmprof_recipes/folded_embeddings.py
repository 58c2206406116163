"""Patch embeddings of uint8 tiles in the worker, with their normalization folded into the weights.

A value u of a channel is normalized to (u / 255 - mean) / std = (u - 128) / (255 std) + (128 / 255 - mean) / std.
The first factor goes into the weights, the second term into the bias; u - 128 is exact in bfloat16, which u is
too, but with half the error in the products' sum because it is centred.

On a CPU tiles are unfolded to patches by whole rows: torch moves single bytes of them.
"""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch.nn.functional import linear

from vlmprof.patching import PatchedCall
from vlmprof_recipes.pixel_arithmetic import HALF, IMAGENET, Scale
from vlmprof_recipes.vision_float32 import multiplies_bfloat16
from vlmprof_recipes.weight_changes import state_of

_SIGN = 128
_WHITE = 255

_NORMALIZED = "tiles that were normalized before"


@dataclass(frozen=True, slots=True)
class Folded:
    """Weights of a patch embedding of centred values; their type is the one that is computed in.

    Attributes:
        planes: [hidden, values of a patch], which are of one colour after the other.
        pixels: the same, the values being those of one pixel after the other.
        bias: [hidden].
    """

    planes: torch.Tensor
    pixels: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was folded, and from which weights."""

    folded: Folded
    state: tuple[Any, ...]


_kept: WeakKeyDictionary[Any, _Kept] = WeakKeyDictionary()


def idefics3(
    call: PatchedCall,
    embeddings: Any,
    pixel_values: torch.Tensor,
    patch_attention_mask: torch.Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Embed uint8 tiles of SmolVLM and Idefics3, which have no padding; others go the engine's own way."""
    if pixel_values.dtype != torch.uint8:
        return call.give_way(_NORMALIZED, embeddings, pixel_values, patch_attention_mask, *args, **kwargs)
    embedded = _embedded(embeddings.patch_embedding, pixel_values, HALF)
    # All tiles are whole: they share one row of positions.
    return embedded + embeddings.position_embedding(_position_ids(embeddings, patch_attention_mask[:1]))


def _position_ids(embeddings: Any, mask: torch.Tensor) -> torch.Tensor:
    """Ids of the patches of one whole tile, as the engine counts them; vLLM 0.26 does so inside of its forward.

    Rounding included: neighbouring patches may share an id.
    """
    if hasattr(embeddings, "get_position_ids"):
        ids: torch.Tensor = embeddings.get_position_ids(mask)
        return ids
    side = embeddings.num_patches_per_side
    limits = torch.arange(1 / side, 1.0, 1 / side)
    rows, columns = (
        torch.bucketize(torch.arange(0, 1 - 1e-6, 1 / whole.sum()), limits, right=True)
        for whole in (mask[0, :, 0], mask[0, 0])
    )
    counted = (rows[:, None] * side + columns).flatten()[None]
    return counted.to(embeddings.position_embedding.weight.device)


def internvl_chat(call: PatchedCall, embeddings: Any, pixel_values: torch.Tensor) -> Any:
    """Embed uint8 tiles of InternVLChat, behind the class embedding; others go the engine's own way."""
    if pixel_values.dtype != torch.uint8:
        return call.give_way(_NORMALIZED, embeddings, pixel_values)
    embedded = _embedded(embeddings.patch_embedding, pixel_values, IMAGENET)
    rows, columns = (edge // embeddings.patch_size for edge in pixel_values.shape[-2:])
    first = embeddings.class_embedding.expand(len(embedded), 1, -1).to(embedded.dtype)
    positions = embeddings._get_position_embedding(rows, columns).to(embedded.dtype)
    return torch.cat([first, embedded], dim=1) + positions


def internvl_hf(call: PatchedCall, embeddings: Any, pixel_values: torch.Tensor) -> Any:
    """Embed uint8 tiles of HF-native InternVL, with the rows and columns of patches; others as the engine does."""
    if pixel_values.dtype != torch.uint8:
        return call.give_way(_NORMALIZED, embeddings, pixel_values)
    embedded = _embedded(embeddings.projection, pixel_values, IMAGENET)
    rows, columns = (
        edge // patch for edge, patch in zip(pixel_values.shape[-2:], embeddings.patch_size, strict=True)
    )
    return embedded, (rows, columns)


def embed(tiles: torch.Tensor, folded: Folded, patch: int) -> torch.Tensor:
    """Patch embeddings of uint8 tiles [tiles, channels, edge, edge], whose colours may lie apart or interleaved.

    Returns:
        [tiles, patches of a tile row by row, hidden].
    """
    if not tiles.is_cpu:
        return linear(_unfolded(tiles, patch).to(folded.planes.dtype), folded.planes, folded.bias)
    interleaved = tiles.permute(0, 2, 3, 1)
    by_pixels = interleaved.is_contiguous()
    weight = folded.pixels if by_pixels else folded.planes
    unfolded = _unfolded_pixels if by_pixels else _unfolded_planes
    # Tile by tile: what is unfolded and widened stays in the processor's cache.
    pieces = (interleaved if by_pixels else tiles.contiguous()).split(1)
    return torch.cat(
        [linear(unfolded(piece, patch).to(weight.dtype), weight, folded.bias) for piece in pieces]
    )


def fold(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    dtype: torch.dtype,
    scale: Scale = HALF,
) -> Folded:
    """Weights and bias for centred values, rounded once to the dtype.

    Args:
        weight: of the convolution, [hidden, channels, patch, patch].
    """
    exact = weight.detach().to(torch.float64)
    mean, std = (
        torch.tensor(each, dtype=exact.dtype, device=exact.device) for each in (scale.mean, scale.std)
    )
    offset = exact.sum((2, 3)) @ ((_SIGN / _WHITE - mean) / std)
    if bias is not None:
        offset += bias.detach()
    scaled = exact / (_WHITE * std).view(-1, 1, 1)
    by_pixels = scaled.permute(0, 2, 3, 1)
    return Folded(scaled.flatten(1).to(dtype), by_pixels.flatten(1).to(dtype), offset.to(dtype))


def _embedded(convolution: Any, tiles: torch.Tensor, scale: Scale) -> torch.Tensor:
    """Embeddings in the type of the convolution's weight, which may be computed in a wider one."""
    embedded = embed(tiles, _folded_weights(convolution, scale), convolution.kernel_size[0])
    return embedded.to(convolution.weight.dtype)


def _unfolded(tiles: torch.Tensor, patch: int) -> torch.Tensor:
    """Centred values, int8 [tiles, patches, channels * patch * patch]."""
    count, channels, height, width = tiles.shape
    grid = (
        (tiles ^ _SIGN).view(torch.int8).view(count, channels, height // patch, patch, width // patch, patch)
    )
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * patch * patch)


def _unfolded_planes(tiles: torch.Tensor, patch: int) -> torch.Tensor:
    """The same of contiguous tiles [tiles, channels, height, width] on the CPU."""
    count, channels, height, width = tiles.shape
    rows = _as_items(tiles, patch).reshape(count, channels, height // patch, patch, width // patch)
    return _centred(rows.transpose(0, 2, 4, 1, 3))


def _unfolded_pixels(tiles: torch.Tensor, patch: int) -> torch.Tensor:
    """Centred values of contiguous tiles [tiles, height, width, channels] on the CPU, pixel by pixel."""
    count, height, width, channels = tiles.shape
    rows = _as_items(tiles.flatten(2), patch * channels).reshape(
        count, height // patch, patch, width // patch
    )
    return _centred(rows.transpose(0, 1, 3, 2))


def _as_items(tiles: torch.Tensor, n_bytes: int) -> np.ndarray[Any, Any]:
    """Contiguous uint8 [..., n] seen as items [..., n / n_bytes] that numpy moves whole: rows of a patch."""
    rows: np.ndarray[Any, Any] = tiles.numpy().view(f"V{n_bytes}")
    return rows


def _centred(rows: np.ndarray[Any, Any]) -> torch.Tensor:
    """Rows [tiles, patches down, patches across, ...] in that order, copied: int8 [tiles, patches, values]."""
    count, down, across = rows.shape[:3]
    values = torch.from_numpy(np.ascontiguousarray(rows).view(np.uint8)).view(count, down * across, -1)
    return values.bitwise_xor_(_SIGN).view(torch.int8)


def _folded_weights(convolution: Any, scale: Scale) -> Folded:
    """The convolution's folded weights, made again when its own may have changed."""
    state = _state_of(convolution)
    kept = _kept.get(convolution)
    if kept is None or kept.state != state:
        with torch.inference_mode(False):
            folded = fold(convolution.weight, convolution.bias, _folded_dtype(convolution.weight), scale)
        kept = _kept[convolution] = _Kept(folded, state)
    return kept.folded


def _state_of(convolution: Any) -> tuple[Any, ...]:
    """Equal for as long as the convolution has the same weights, of the same type and at the same addresses."""
    parameters = [each for each in (convolution.weight, convolution.bias) if each is not None]
    return *state_of(parameters), *((each.dtype, each.data_ptr()) for each in parameters)


def _folded_dtype(weight: torch.Tensor) -> torch.dtype:
    return torch.float32 if weight.is_cpu and not multiplies_bfloat16() else weight.dtype
