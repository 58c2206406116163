"""InternVL in the API server: uint8 tiles, and whole images, are sent under names of their own.

The worker batches only items with equal names, so that tiles of two requests, made before and after a switch,
never meet in one tensor.
"""

from typing import Any

import torch

from vlmprof.patching import PatchedCall
from vlmprof_recipes.internvl_inputs import UINT8
from vlmprof_recipes.whole_images import field_configs

_PIXELS = ("pixel_values_flat", "pixel_values")


def configure_fields(call: PatchedCall, processor: Any, hf_inputs: Any, mm_kwargs: Any) -> dict[str, Any]:
    """The engine's fields, with uint8 tiles renamed and divided among images as the others are."""
    fields = dict(call.original(processor, hf_inputs, mm_kwargs))
    for name in _PIXELS:
        pixels = hf_inputs.get(name)
        if isinstance(pixels, torch.Tensor) and pixels.dtype == torch.uint8:
            hf_inputs[name + UINT8] = hf_inputs.pop(name)
            fields[name + UINT8] = fields[name]
    return fields | field_configs(hf_inputs)
