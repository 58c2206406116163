"""InternVL in the worker: uint8 tiles under the engine's name, and normalized before the vision encoder.

The sent tensors say what to do, not the switch: a request that was prepared with a recipe on is served
rightly after it was switched off.
"""

from collections.abc import Mapping
from typing import Any

import torch

from vlmprof.patching import PatchedCall

UINT8 = "_uint8"
"""What the name of uint8 tiles ends in."""

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_WHITE = 255.0


def with_keywords(call: PatchedCall, model: Any, **mm_kwargs: Any) -> Any:
    """For a method that takes the encoder's inputs as keywords."""
    return call.original(model, **_known(mm_kwargs))


def with_mapping(
    call: PatchedCall, model: Any, mm_kwargs: Mapping[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """For a method that takes the encoder's inputs as one mapping."""
    return call.original(model, _known(mm_kwargs), *args, **kwargs)


def into_graph(call: PatchedCall, model: Any, mm_kwargs: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """For the method that fills the buffers of a CUDA graph, which was recorded with normalized tiles."""
    known = _known(mm_kwargs)
    tiles = known.get("pixel_values_flat")
    if tiles is not None and tiles.dtype == torch.uint8:
        known["pixel_values_flat"] = normalized_after_rescaling(tiles, _chat_dtype(model))
    return call.original(model, known, *args, **kwargs)


def chat_features(call: PatchedCall, model: Any, pixel_values: torch.Tensor) -> Any:
    """Encode the tiles of InternVLChat."""
    if pixel_values.dtype == torch.uint8:
        pixel_values = normalized_after_rescaling(pixel_values, _chat_dtype(model))
    return call.original(model, pixel_values)


def hf_features(call: PatchedCall, model: Any, pixel_values: torch.Tensor) -> Any:
    """Encode the tiles of HF-native InternVL."""
    if pixel_values.dtype == torch.uint8:
        dtype = model.vision_tower.embeddings.patch_embeddings.projection.weight.dtype
        pixel_values = normalized_with_rescaling(pixel_values, dtype)
    return call.original(model, pixel_values)


def normalized_after_rescaling(tiles: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """uint8 tiles as vLLM's processor normalizes: by 255, the mean, the deviation, in float32; rounded once.

    The divisors are tensors because CUDA multiplies by the reciprocal of a plain number, which rounds
    otherwise.
    """
    white = torch.tensor(_WHITE, device=tiles.device)
    mean, std = _channels(_MEAN, tiles.device), _channels(_STD, tiles.device)

    def normalized(some: torch.Tensor) -> torch.Tensor:
        return some.to(torch.float32).div_(white).sub_(mean).div_(std)

    return _tile_by_tile(normalized, tiles, dtype)


def normalized_with_rescaling(tiles: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """uint8 tiles as transformers normalizes: mean and deviation are multiplied by 255; rounded once."""
    # On the CPU, where the engine multiplies them, so that they round alike.
    mean = (_channels(_MEAN) * _WHITE).to(tiles.device)
    std = (_channels(_STD) * _WHITE).to(tiles.device)

    def normalized(some: torch.Tensor) -> torch.Tensor:
        return some.to(torch.float32).sub_(mean).div_(std)

    return _tile_by_tile(normalized, tiles, dtype)


def _tile_by_tile(normalized: Any, tiles: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if not tiles.is_cpu:
        on_device: torch.Tensor = normalized(tiles).to(dtype)
        return on_device
    # Tile by tile, the float32 copy stays in the processor's cache.
    pixels = torch.empty(tiles.shape, dtype=dtype)
    for into, tile in zip(pixels, tiles, strict=True):
        into.copy_(normalized(tile))
    return pixels


def _known(mm_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs under the engine's names, in their order, which is that of the modalities."""
    return {name.removesuffix(UINT8): value for name, value in mm_kwargs.items()}


def _channels(values: tuple[float, ...], device: Any = None) -> torch.Tensor:
    return torch.tensor(values, device=device).view(-1, 1, 1)


def _chat_dtype(model: Any) -> torch.dtype:
    dtype: torch.dtype = model.vision_model.embeddings.patch_embedding.weight.dtype
    return dtype
