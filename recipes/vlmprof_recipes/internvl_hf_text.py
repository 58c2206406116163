"""HF-native InternVL in the API server: images are processed without a text that nobody uses.

The engine gives transformers a placeholder, has it expanded to thousands of image tokens, tokenizes that,
decodes the ids, puts the text into another and tokenizes again; then it takes the pixels alone.
"""

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature
from transformers.models.internvl.processing_internvl import InternVLProcessorKwargs

from vlmprof.patching import PatchedCall
from vlmprof_recipes.internvl_hf_tiles import UNTREATABLE, engines_own_way, may_stay_whole
from vlmprof_recipes.plain_images import is_rgb
from vlmprof_recipes.whole_images import IMAGES, SIZES


def process_images(call: PatchedCall, processor: Any, mm_items: Any, hf_kwargs: Any) -> Any:
    """The engine's fields of a request's images; with videos, or odd images, the engine's own way."""
    hf_data, kwargs, passthrough = processor._get_hf_mm_inputs(mm_items, hf_kwargs)
    if hf_data.keys() != {"text", "images"} or not all(map(is_rgb, hf_data["images"])):
        with engines_own_way():
            return call.give_way(UNTREATABLE, processor, mm_items, hf_kwargs)
    # Recipe 8 asks for this patch because of the images above alone.
    if not (call.uses(7) or call.is_on(3)):
        return call.original(processor, mm_items, hf_kwargs)
    hf_processor = processor.info.get_hf_processor(**kwargs)
    fields = image_fields(processor, hf_processor, hf_data["images"], kwargs, may_be_whole=call.is_on(3))
    if IMAGES in fields:
        call.uses(3)
    return processor._finalize_hf_mm_data({}, kwargs, passthrough, fields)


def image_fields(
    processor: Any, hf_processor: Any, images: list[Image.Image], kwargs: Any, *, may_be_whole: bool = False
) -> BatchFeature:
    """What the engine's processor makes of images, without the text's fields.

    Args:
        may_be_whole: whether the caller takes whole images in the place of tiles.
    """
    of_images = partial(_of_images, processor, hf_processor, images, kwargs)
    with may_stay_whole() if may_be_whole else nullcontext():
        parts = of_images()
    if len({IMAGES in part for part in parts}) > 1:
        # Every item of a request has the same fields.
        parts = of_images()
    fields = {
        name: values[0] if len(values) == 1 else torch.cat(values)
        for name in ("pixel_values", IMAGES, SIZES)
        if (values := [part[name] for part in parts if name in part])
    }
    fields["image_num_patches"] = torch.tensor([_n_tiles(part) for part in parts])
    fields["image_token_id"] = torch.tensor(hf_processor.image_token_id)
    return BatchFeature(fields)


def _of_images(processor: Any, hf_processor: Any, images: list[Image.Image], kwargs: Any) -> list[Any]:
    """Tiles of each image in the model's dtype, or uint8, or itself; options are merged and checked as always."""

    def images_alone(images: Any, **options: Any) -> Any:
        merged = hf_processor._merge_kwargs(
            InternVLProcessorKwargs, tokenizer_init_kwargs=hf_processor.tokenizer.init_kwargs, **options
        )
        return hf_processor.image_processor(images, **merged["images_kwargs"])

    return [processor.info.ctx.call_hf_processor(images_alone, {"images": image}, kwargs) for image in images]


def _n_tiles(part: Any) -> int:
    return int(part[SIZES][:, -1].sum()) if SIZES in part else len(part["pixel_values"])
