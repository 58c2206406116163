"""SmolVLM and Idefics3 in the worker: tiles as they were sent, with or without mask, as the encoder wants them.

The sent tensors say what to do, not the switch: a request that was prepared with a recipe on is served
rightly after it was switched off.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from vlmprof.patching import PatchedCall
from vlmprof_recipes.idefics3_whole_images import tiles_of
from vlmprof_recipes.pixel_arithmetic import HALF, in_bfloat16
from vlmprof_recipes.whole_images import IMAGES, SIZES

UINT8_PIXELS = "pixel_values_uint8"
_SCALE = 127.5


def with_keywords(call: PatchedCall, model: Any, **mm_kwargs: Any) -> Any:
    """For a method that takes the encoder's inputs as keywords; recipe 14 normalizes later."""
    return call.original(model, **_completed(call, model, mm_kwargs, normalize=not call.is_on(14)))


def with_mapping(call: PatchedCall, model: Any, mm_kwargs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    """For a method that takes the encoder's inputs as one mapping."""
    return call.original(model, _completed(call, model, mm_kwargs, normalize=True), *args, **kwargs)


def plain_keywords(call: PatchedCall, model: Any, **mm_kwargs: Any) -> Any:
    """Where `with_keywords` failed: the engine's function with fields of its own, made by plain means."""
    return call.original(model, **_plain(model, mm_kwargs))


def plain_mapping(call: PatchedCall, model: Any, mm_kwargs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Where `with_mapping` failed: the same."""
    return call.original(model, _plain(model, mm_kwargs), *args, **kwargs)


def plain_features(
    call: PatchedCall, model: Any, pixel_values: torch.Tensor, *args: Any, **kwargs: Any
) -> Any:
    """Where `dense_features` failed: the engine's function, which takes normalized tiles alone."""
    embedding = model.vision_model.embeddings.patch_embedding
    return call.original(model, _plainly_normalized(pixel_values, embedding.weight.dtype), *args, **kwargs)


def plain_embeddings(
    call: PatchedCall, embeddings: Any, pixel_values: torch.Tensor, *args: Any, **kwargs: Any
) -> Any:
    """Where recipe 14 failed to embed uint8 tiles: the engine's function, which takes normalized ones alone."""
    pixels = _plainly_normalized(pixel_values, embeddings.patch_embedding.weight.dtype)
    return call.original(embeddings, pixels, *args, **kwargs)


def _plain(model: Any, mm_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Inputs as the engine's own processor would have sent them, but for the mask."""
    known = dict(mm_kwargs)
    tiles = known.pop(UINT8_PIXELS, None)
    if IMAGES in known:
        images, sizes = known.pop(IMAGES), known.pop(SIZES)
        tiles = tiles_of(images.cpu(), sizes).to(images.device)
    if tiles is not None:
        dtype = model.model.vision_model.embeddings.patch_embedding.weight.dtype
        known["pixel_values"] = _plainly_normalized(tiles, dtype)
    return _masked(known)


def _plainly_normalized(tiles: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """uint8 tiles as `normalized`, but on the CPU: the device is asked for the pixels and a tile at most."""
    if tiles.dtype != torch.uint8:
        return tiles
    pixels = torch.empty(tiles.shape, dtype=dtype, device=tiles.device)
    for into, tile in zip(pixels, tiles, strict=True):
        into.copy_(((tile.cpu().to(torch.float32) - _SCALE) / _SCALE).to(dtype))
    return pixels


def _completed(
    call: PatchedCall, model: Any, mm_kwargs: dict[str, Any], *, normalize: bool
) -> dict[str, Any]:
    """Inputs as the engine knows them: uint8 tiles normalized, an absent mask stood for by an all-true one.

    Tiles that came with a mask of their own are normalized in any case: only whole ones may stay uint8.
    """
    call.uses(*_senders(mm_kwargs))
    completed = dict(mm_kwargs)
    tiles = completed.pop(UINT8_PIXELS, None)
    if IMAGES in completed:
        tiles = tiles_of(completed.pop(IMAGES), completed.pop(SIZES), interleaved=not normalize)
    if tiles is not None:
        dtype = model.model.vision_model.embeddings.patch_embedding.weight.dtype
        as_sent = not normalize and "pixel_attention_mask" not in completed and call.uses(14)
        completed["pixel_values"] = tiles if as_sent else _normalized(call, tiles, dtype)
    return _masked(completed)


def _senders(mm_kwargs: Mapping[str, Any]) -> Iterator[int]:
    """The recipes by which inputs came as they are; none where they are the engine's own."""
    if IMAGES in mm_kwargs:
        yield 3
    elif UINT8_PIXELS in mm_kwargs:
        yield 8
    if "pixel_attention_mask" not in mm_kwargs:
        yield 10


def _masked(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs with an all-true mask where their tiles came without one."""
    pixels = inputs.get("pixel_values")
    if pixels is None or "pixel_attention_mask" in inputs:
        return inputs
    n_tiles, _, height, width = pixels.shape
    # One byte seen n * height * width times: nothing is made, moved or read.
    whole = torch.ones((), dtype=torch.bool, device=pixels.device)
    return inputs | {"pixel_attention_mask": whole.expand(n_tiles, height, width)}


def _normalized(call: PatchedCall, tiles: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Recipe 6 acts on a device alone: on a CPU, whose tile stays in the cache, float32 is no slower."""
    bfloat16 = dtype == torch.bfloat16 and not tiles.is_cpu and call.uses(6)
    return in_bfloat16(tiles, HALF) if bfloat16 else normalized(tiles, dtype)


def normalized(tiles: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """uint8 tiles as the processor would have normalized them: in float32, then rounded once to the dtype.

    The divisor is a tensor because CUDA multiplies by the reciprocal of a plain number, which rounds otherwise.
    """
    scale = torch.tensor(_SCALE, device=tiles.device)
    if not tiles.is_cpu:
        return tiles.to(torch.float32).sub_(scale).div_(scale).to(dtype)
    # Tile by tile, the float32 copy stays in the processor's cache.
    pixels = torch.empty(tiles.shape, dtype=dtype)
    for index, tile in enumerate(tiles):
        pixels[index] = tile.to(torch.float32).sub_(scale).div_(scale)
    return pixels


def dense_features(
    call: PatchedCall,
    model: Any,
    pixel_values: torch.Tensor,
    pixel_attention_mask: torch.Tensor,
    **kwargs: Any,
) -> Any:
    """Encode tiles whose mask is the all-true one without looking for padding: there is none."""
    position_ids = kwargs.get("position_ids")
    if any(pixel_attention_mask.stride()) or position_ids is not None:
        return call.give_way(
            "tiles with a mask of their own", model, pixel_values, pixel_attention_mask, **kwargs
        )
    call.uses(10)
    if pixel_values.dtype == torch.uint8:
        call.uses(14)
    else:
        pixel_values = pixel_values.to(model.vision_model.embeddings.patch_embedding.weight.dtype)
    return model.vision_model(pixel_values=pixel_values, patch_attention_mask=None)
