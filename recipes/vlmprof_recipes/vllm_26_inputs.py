"""vLLM 0.26 in the API server: what its processors make of a request's images.

They give transformers a text beside the images, where later versions give it none, and finish what comes back
inside of the same function.
"""

from contextlib import nullcontext
from typing import Any

import torch

from vlmprof.patching import PatchedCall
from vlmprof_recipes.plain_images import is_rgb

_SQUEEZED = ("pixel_values", "pixel_attention_mask")


def with_stand_ins(call: PatchedCall, processor: Any, *args: Any, **kwargs: Any) -> Any:
    """SmolVLM's fields, empty ones for those that a recipe leaves out: the engine takes a dimension off them."""
    from vllm.model_executor.models.idefics3 import Idefics3MultiModalProcessor

    processed = call.original(processor, *args, **kwargs)
    if isinstance(processor, Idefics3MultiModalProcessor):
        for name in _SQUEEZED:
            processed.setdefault(name, torch.empty(1, 0))
    return processed


def name_fields(call: PatchedCall, processor: Any, *args: Any, **kwargs: Any) -> Any:
    """SmolVLM's fields without the empty ones, uint8 tiles under a name of their own."""
    from vlmprof_recipes.idefics3_inputs import UINT8_PIXELS

    processed = call.original(processor, *args, **kwargs)
    for name in _SQUEEZED:
        if name in processed and not processed[name].numel():
            del processed[name]
    if "pixel_values" in processed and processed["pixel_values"].dtype == torch.uint8:
        processed[UINT8_PIXELS] = processed.pop("pixel_values")
    return processed


def images_without_text(
    call: PatchedCall, processor: Any, mm_items: Any, hf_processor_mm_kwargs: Any, tokenization_kwargs: Any
) -> Any:
    """A request's images as the engine processes them, without a text whose ids it drops; videos have one."""
    mm_data, passthrough = _processor_data(processor, mm_items)
    if mm_data.keys() != {"images"}:
        return call.give_way("videos", processor, mm_items, hf_processor_mm_kwargs, tokenization_kwargs)
    try:
        processed = processor._call_hf_processor(
            prompt=None, mm_data=mm_data, mm_kwargs=hf_processor_mm_kwargs, tok_kwargs=tokenization_kwargs
        )
    except ValueError:
        # What is refused, as one side 200 times the other, is refused by the engine's own way.
        refused = "images that the engine refuses"
        return call.give_way(refused, processor, mm_items, hf_processor_mm_kwargs, tokenization_kwargs)
    processed.update(passthrough)
    return processed


def internvl_images_without_text(
    call: PatchedCall, processor: Any, mm_items: Any, hf_processor_mm_kwargs: Any, tokenization_kwargs: Any
) -> Any:
    """The same for HF-native InternVL, whose own function needs the text; odd images go the engine's way."""
    from vlmprof_recipes.internvl_hf_text import image_fields

    mm_data, passthrough = _processor_data(processor, mm_items)
    if not (_are_rgb(mm_data) and call.uses(7)):
        odd = "videos, or images that are not RGB"
        return call.give_way(odd, processor, mm_items, hf_processor_mm_kwargs, tokenization_kwargs)
    kwargs = {**hf_processor_mm_kwargs, **tokenization_kwargs}
    processed = image_fields(
        processor, processor.info.get_hf_processor(**hf_processor_mm_kwargs), mm_data["images"], kwargs
    )
    processed.update(passthrough)
    return processed


def internvl_images_alike(
    call: PatchedCall, processor: Any, prompt: Any, mm_data: Any, *args: Any, **kwargs: Any
) -> Any:
    """HF-native InternVL's fields, of which no tiles are uint8 unless all are: the engine joins them."""
    from vlmprof_recipes.internvl_hf_tiles import engines_own_way

    with nullcontext() if _are_rgb(mm_data) else engines_own_way():
        return call.original(processor, prompt, mm_data, *args, **kwargs)


def _processor_data(processor: Any, mm_items: Any) -> tuple[Any, Any]:
    """What transformers' processor is given, by its names, and what is only passed on; of what there is."""
    present = {modality for modality, count in mm_items.get_all_counts().items() if count > 0}
    data, passthrough = processor._get_hf_mm_data(mm_items.select(present))
    return data, passthrough


def _are_rgb(mm_data: Any) -> bool:
    return mm_data.keys() == {"images"} and all(map(is_rgb, mm_data["images"]))
