"""HF-native InternVL in the API server: images are processed without a text that nobody uses.

The engine gives transformers a placeholder, has it expanded to thousands of image tokens, tokenizes that,
decodes the ids, puts the text into another and tokenizes again; then it takes the pixels alone.
"""

from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature
from transformers.models.internvl.processing_internvl import InternVLProcessorKwargs

from vlmprof.patching import PatchedCall
from vlmprof_recipes.internvl_hf_tiles import engines_own_way


def process_images(call: PatchedCall, processor: Any, mm_items: Any, hf_kwargs: Any) -> Any:
    """The engine's fields of a request's images; with videos, or odd images, the engine's own way."""
    hf_data, kwargs, passthrough = processor._get_hf_mm_inputs(mm_items, hf_kwargs)
    if hf_data.keys() != {"text", "images"} or not all(map(_is_rgb, hf_data["images"])):
        with engines_own_way():
            return call.original(processor, mm_items, hf_kwargs)
    if not call.is_on(7):
        return call.original(processor, mm_items, hf_kwargs)
    hf_processor = processor.info.get_hf_processor(**kwargs)
    fields = image_fields(processor, hf_processor, hf_data["images"], kwargs)
    return processor._finalize_hf_mm_data({}, kwargs, passthrough, fields)


def image_fields(processor: Any, hf_processor: Any, images: list[Image.Image], kwargs: Any) -> BatchFeature:
    """What the engine's processor makes of images, without the text's fields."""
    pixels = [_pixels(processor, hf_processor, image, kwargs) for image in images]
    return BatchFeature(
        {
            "pixel_values": pixels[0] if len(pixels) == 1 else torch.cat(pixels),
            "image_num_patches": torch.tensor([len(of_one) for of_one in pixels]),
            "image_token_id": torch.tensor(hf_processor.image_token_id),
        }
    )


def _is_rgb(image: Any) -> bool:
    return isinstance(image, Image.Image) and image.mode == "RGB"


def _pixels(processor: Any, hf_processor: Any, image: Image.Image, kwargs: Any) -> torch.Tensor:
    """Tiles of one image in the model's dtype, or uint8; options are merged and checked as the engine does."""

    def images_alone(images: Any, **options: Any) -> Any:
        merged = hf_processor._merge_kwargs(
            InternVLProcessorKwargs, tokenizer_init_kwargs=hf_processor.tokenizer.init_kwargs, **options
        )
        return hf_processor.image_processor(images, **merged["images_kwargs"])

    processed = processor.info.ctx.call_hf_processor(images_alone, {"images": image}, kwargs)
    pixels: torch.Tensor = processed["pixel_values"]
    return pixels
