"""SmolVLM and Idefics3 in the API server: what is sent to the worker, and under which names.

uint8 tiles have a name of their own: the worker batches only items with equal names, so that tiles of two
requests, made before and after a switch, never meet in one tensor.
"""

from typing import Any

import torch

from vlmprof.patching import PatchedCall
from vlmprof_recipes.idefics3_inputs import UINT8_PIXELS
from vlmprof_recipes.whole_images import field_configs


def name_fields(call: PatchedCall, processor: Any, mm_data: Any, mm_kwargs: Any, processed: Any) -> Any:
    """Let the engine finish the processor's output, also where it has no mask, or images in the place of tiles."""
    if not mm_data:
        return call.original(processor, mm_data, mm_kwargs, processed)
    absent = [name for name in ("pixel_values", "pixel_attention_mask") if name not in processed]
    for name in absent:
        # The engine takes the batch dimension off both, whether they are there or not.
        processed[name] = torch.empty(1, 0)
    call.original(processor, mm_data, mm_kwargs, processed)
    for name in absent:
        del processed[name]
    if "pixel_values" in processed and processed["pixel_values"].dtype == torch.uint8:
        processed[UINT8_PIXELS] = processed.pop("pixel_values")
    return processed


def configure_fields(call: PatchedCall, processor: Any, hf_inputs: Any, mm_kwargs: Any) -> dict[str, Any]:
    """The engine's fields, with uint8 tiles divided among images as the others are, and whole images too."""
    fields = dict(call.original(processor, hf_inputs, mm_kwargs))
    fields[UINT8_PIXELS] = fields["pixel_values"]
    return fields | field_configs(hf_inputs)
