"""InternVL in the worker: uint8 tiles under the engine's name, and normalized before the vision encoder.

The sent tensors say what to do, not the switch: a request that was prepared with a recipe on is served
rightly after it was switched off.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from vlmprof.patching import PatchedCall
from vlmprof_recipes.internvl_whole_images import tiles_of
from vlmprof_recipes.pixel_arithmetic import IMAGENET, in_bfloat16
from vlmprof_recipes.whole_images import IMAGES, SIZES, chosen

UINT8 = "_uint8"
"""What the name of uint8 tiles ends in."""

_CHAT_PIXELS = "pixel_values_flat"
_HF_PIXELS = "pixel_values"
_WHITE = 255.0
_NORMALIZED = "tiles that were normalized before"


def chat_keywords(call: PatchedCall, model: Any, **mm_kwargs: Any) -> Any:
    """For InternVLChat's method that takes the encoder's inputs as keywords."""
    return call.original(model, **_known(call, mm_kwargs, _CHAT_PIXELS))


def hf_keywords(call: PatchedCall, model: Any, **mm_kwargs: Any) -> Any:
    """For HF-native InternVL's."""
    return call.original(model, **_known(call, mm_kwargs, _HF_PIXELS))


def with_mapping(
    call: PatchedCall, model: Any, mm_kwargs: Mapping[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """For a method of InternVLChat's that takes the encoder's inputs as one mapping."""
    return call.original(model, _known(call, mm_kwargs, _CHAT_PIXELS), *args, **kwargs)


def modality(call: PatchedCall, model: Any, mm_kwargs: Mapping[str, Any]) -> Any:
    """For the method that looks at names alone: no tiles are made for it."""
    call.uses(*_senders(mm_kwargs))
    names = {_CHAT_PIXELS if name == IMAGES else name.removesuffix(UINT8) for name in mm_kwargs}
    return call.original(model, dict.fromkeys(names))


def select(call: PatchedCall, model: Any, mm_kwargs: Mapping[str, Any], indices: list[int]) -> Any:
    """For the method that takes some of the images, so that tiles of the others are not made."""
    if IMAGES in mm_kwargs and indices:
        counts = torch.as_tensor(mm_kwargs["image_num_patches"])[indices]
        mm_kwargs = {**mm_kwargs, **chosen(mm_kwargs, indices), "image_num_patches": counts}
        indices = list(range(len(indices)))
    return call.original(model, _known(call, mm_kwargs, _CHAT_PIXELS), indices)


def into_graph(call: PatchedCall, model: Any, mm_kwargs: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """For the method that fills the buffers of a CUDA graph, which was recorded with normalized tiles."""
    known = _known(call, mm_kwargs, _CHAT_PIXELS)
    tiles = known.get(_CHAT_PIXELS)
    if tiles is not None and tiles.dtype == torch.uint8:
        known[_CHAT_PIXELS] = _normalized(call, normalized_after_rescaling, tiles, _chat_dtype(model))
    return call.original(model, known, *args, **kwargs)


def chat_features(call: PatchedCall, model: Any, pixel_values: torch.Tensor) -> Any:
    """Encode the tiles of InternVLChat; recipe 14 normalizes later."""
    if pixel_values.dtype != torch.uint8:
        return call.give_way(_NORMALIZED, model, pixel_values)
    if not call.uses(14):
        pixel_values = _normalized(call, normalized_after_rescaling, pixel_values, _chat_dtype(model))
    return call.original(model, pixel_values)


def hf_features(call: PatchedCall, model: Any, pixel_values: torch.Tensor) -> Any:
    """Encode the tiles of HF-native InternVL; recipe 14 normalizes later."""
    if pixel_values.dtype != torch.uint8:
        return call.give_way(_NORMALIZED, model, pixel_values)
    if not call.uses(14):
        pixel_values = _normalized(call, normalized_with_rescaling, pixel_values, _hf_dtype(model))
    return call.original(model, pixel_values)


def plain_chat_keywords(call: PatchedCall, model: Any, **mm_kwargs: Any) -> Any:
    """Where `chat_keywords` failed: the engine's function with fields of its own, made by plain means."""
    return call.original(model, **_plain(mm_kwargs, _CHAT_PIXELS))


def plain_hf_keywords(call: PatchedCall, model: Any, **mm_kwargs: Any) -> Any:
    """Where `hf_keywords` failed: the same."""
    return call.original(model, **_plain(mm_kwargs, _HF_PIXELS))


def plain_mapping(
    call: PatchedCall, model: Any, mm_kwargs: Mapping[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """Where `with_mapping` or `select` failed: the same."""
    return call.original(model, _plain(mm_kwargs, _CHAT_PIXELS), *args, **kwargs)


def plain_graph(
    call: PatchedCall, model: Any, mm_kwargs: Mapping[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """Where `into_graph` failed: the same, of normalized tiles."""
    known = _plain(mm_kwargs, _CHAT_PIXELS)
    if _CHAT_PIXELS in known:
        known[_CHAT_PIXELS] = _plainly_normalized(known[_CHAT_PIXELS], _chat_dtype(model), white=1.0)
    return call.original(model, known, *args, **kwargs)


def plain_chat_features(call: PatchedCall, model: Any, pixel_values: torch.Tensor) -> Any:
    """Where `chat_features` failed: the engine's function, which takes normalized tiles alone."""
    return call.original(model, _plainly_normalized(pixel_values, _chat_dtype(model), white=1.0))


def plain_hf_features(call: PatchedCall, model: Any, pixel_values: torch.Tensor) -> Any:
    """Where `hf_features` failed: the same."""
    return call.original(model, _plainly_normalized(pixel_values, _hf_dtype(model), white=_WHITE))


def plain_chat_embeddings(call: PatchedCall, embeddings: Any, pixel_values: torch.Tensor) -> Any:
    """Where recipe 14 failed to embed uint8 tiles: the engine's function, which takes normalized ones alone."""
    dtype = embeddings.patch_embedding.weight.dtype
    return call.original(embeddings, _plainly_normalized(pixel_values, dtype, white=1.0))


def plain_hf_embeddings(call: PatchedCall, embeddings: Any, pixel_values: torch.Tensor) -> Any:
    """The same for HF-native InternVL."""
    dtype = embeddings.projection.weight.dtype
    return call.original(embeddings, _plainly_normalized(pixel_values, dtype, white=_WHITE))


def _plain(mm_kwargs: Mapping[str, Any], pixels: str) -> dict[str, Any]:
    """Inputs as `_known`, but tiles of whole images are made on the CPU: the device is asked for them alone."""
    known = {}
    for name, value in mm_kwargs.items():
        if name == IMAGES:
            known[pixels] = tiles_of(value.cpu(), mm_kwargs[SIZES]).to(value.device)
        elif name != SIZES:
            known[name.removesuffix(UINT8)] = value
    return known


def _plainly_normalized(tiles: torch.Tensor, dtype: torch.dtype, *, white: float) -> torch.Tensor:
    """uint8 tiles normalized on the CPU: the device is asked for the pixels and a tile at most.

    Args:
        white: what 255 is when the mean is subtracted: 1 as vLLM's processor normalizes, 255 as transformers'.
    """
    if tiles.dtype != torch.uint8:
        return tiles
    mean, std = _channels(IMAGENET.mean) * white, _channels(IMAGENET.std) * white
    pixels = torch.empty(tiles.shape, dtype=dtype, device=tiles.device)
    for into, tile in zip(pixels, tiles, strict=True):
        into.copy_(((tile.cpu().to(torch.float32) / (_WHITE / white) - mean) / std).to(dtype))
    return pixels


def _normalized(
    call: PatchedCall,
    in_float32: Callable[[torch.Tensor, torch.dtype], torch.Tensor],
    tiles: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Recipe 6 acts on a device alone: on a CPU, whose tile stays in the cache, float32 is no slower."""
    if dtype == torch.bfloat16 and not tiles.is_cpu and call.uses(6):
        return in_bfloat16(tiles, IMAGENET)
    return in_float32(tiles, dtype)


def normalized_after_rescaling(tiles: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """uint8 tiles as vLLM's processor normalizes: by 255, the mean, the deviation, in float32; rounded once.

    The divisors are tensors because CUDA multiplies by the reciprocal of a plain number, which rounds
    otherwise.
    """
    white = torch.tensor(_WHITE, device=tiles.device)
    mean, std = _channels(IMAGENET.mean, tiles.device), _channels(IMAGENET.std, tiles.device)

    def normalized(some: torch.Tensor) -> torch.Tensor:
        return some.to(torch.float32).div_(white).sub_(mean).div_(std)

    return _tile_by_tile(normalized, tiles, dtype)


def normalized_with_rescaling(tiles: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """uint8 tiles as transformers normalizes: mean and deviation are multiplied by 255; rounded once."""
    # On the CPU, where the engine multiplies them, so that they round alike.
    mean = (_channels(IMAGENET.mean) * _WHITE).to(tiles.device)
    std = (_channels(IMAGENET.std) * _WHITE).to(tiles.device)

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


def _known(call: PatchedCall, mm_kwargs: Mapping[str, Any], pixels: str) -> dict[str, Any]:
    """Inputs under the engine's names, in their order, which is that of the modalities; tiles of whole images.

    Args:
        pixels: the engine's name of an image's tiles.
    """
    call.uses(*_senders(mm_kwargs))
    known = {}
    for name, value in mm_kwargs.items():
        if name == IMAGES:
            known[pixels] = tiles_of(value, mm_kwargs[SIZES], interleaved=call.is_on(14))
        elif name != SIZES:
            known[name.removesuffix(UINT8)] = value
    return known


def _senders(mm_kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    """The recipe by which inputs came as they are; none where they are the engine's own."""
    if IMAGES in mm_kwargs:
        return (3,)
    return (8,) if any(name.endswith(UINT8) for name in mm_kwargs) else ()


def _channels(values: tuple[float, ...], device: Any = None) -> torch.Tensor:
    return torch.tensor(values, device=device).view(-1, 1, 1)


def _chat_dtype(model: Any) -> torch.dtype:
    dtype: torch.dtype = model.vision_model.embeddings.patch_embedding.weight.dtype
    return dtype


def _hf_dtype(model: Any) -> torch.dtype:
    dtype: torch.dtype = model.vision_tower.embeddings.patch_embeddings.projection.weight.dtype
    return dtype
