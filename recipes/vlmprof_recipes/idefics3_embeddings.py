"""SmolVLM and Idefics3 in the worker: patch embeddings of uint8 tiles, normalization folded into the weights.

A value u is normalized to (u - 127.5) / 127.5 = (u - 128) / 127.5 + 1 / 255. The first factor goes into the
weights, the second term into the bias; u - 128 is exact in bfloat16, which u is too, but with half the error in
the products' sum because it is centred.
"""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn.functional import linear

from vlmprof.patching import PatchedCall
from vlmprof_recipes.vision_float32 import multiplies_bfloat16

_SIGN = 128
_FACTOR = 1 / 127.5
_OFFSET = 1 / 255

_Folded = tuple[torch.Tensor, torch.Tensor]
_folded: WeakKeyDictionary[Any, dict[torch.dtype, _Folded]] = WeakKeyDictionary()


def folded(
    call: PatchedCall,
    embeddings: Any,
    pixel_values: torch.Tensor,
    patch_attention_mask: torch.Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Embed uint8 tiles, which have no padding; others go the engine's own way."""
    if pixel_values.dtype != torch.uint8:
        return call.original(embeddings, pixel_values, patch_attention_mask, *args, **kwargs)
    convolution = embeddings.patch_embedding
    embedded = embed(pixel_values, *_folded_weights(embeddings), embeddings.patch_size)
    # All tiles are whole: they share one row of positions.
    positions = embeddings.position_embedding(embeddings.get_position_ids(patch_attention_mask[:1]))
    return embedded.to(convolution.weight.dtype) + positions


def embed(tiles: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, patch: int) -> torch.Tensor:
    """Patch embeddings of uint8 tiles [tiles, channels, edge, edge].

    Args:
        weight, bias: as `fold` makes them; their type is the one that is computed in.

    Returns:
        [tiles, patches of a tile row by row, hidden].
    """
    # On a CPU tile by tile: what is unfolded and widened stays in the processor's cache.
    pieces = tiles.split(1) if tiles.is_cpu else (tiles,)
    return torch.cat([linear(_unfolded(piece, patch).to(weight.dtype), weight, bias) for piece in pieces])


def fold(weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> _Folded:
    """Weight [hidden, values of a patch] and bias for centred values, rounded once to the dtype."""
    flat = weight.detach().to(torch.float64).flatten(1)
    offset = flat.sum(1) * _OFFSET
    if bias is not None:
        offset += bias.detach()
    return (flat * _FACTOR).to(dtype), offset.to(dtype)


def _unfolded(tiles: torch.Tensor, patch: int) -> torch.Tensor:
    """Centred values, int8 [tiles, patches, channels * patch * patch]."""
    count, channels, height, width = tiles.shape
    grid = (
        (tiles ^ _SIGN).view(torch.int8).view(count, channels, height // patch, patch, width // patch, patch)
    )
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * patch * patch)


def _folded_weights(embeddings: Any) -> _Folded:
    """The embedding's folded weights, made once a type."""
    convolution = embeddings.patch_embedding
    dtype = convolution.weight.dtype
    if convolution.weight.is_cpu and not multiplies_bfloat16():
        dtype = torch.float32
    of_module = _folded.setdefault(embeddings, {})
    if dtype not in of_module:
        with torch.inference_mode(False):
            of_module[dtype] = fold(convolution.weight, convolution.bias, dtype)
    return of_module[dtype]
