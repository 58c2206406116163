"""SmolVLM and Idefics3 in the API server: what is sent to the worker, and under which names.

uint8 tiles have a name of their own: the worker batches only items with equal names, so that tiles of two
requests, made before and after a switch, never meet in one tensor.
"""

from typing import Any

import torch

from vlmprof.patching import PatchedCall
from vlmprof_recipes.idefics3_inputs import UINT8_PIXELS


def name_fields(call: PatchedCall, processor: Any, mm_data: Any, mm_kwargs: Any, processed: Any) -> Any:
    """Let the engine finish the processor's output, also where it has no mask."""
    if not mm_data:
        return call.original(processor, mm_data, mm_kwargs, processed)
    without_mask = "pixel_attention_mask" not in processed
    if without_mask:
        # The engine takes the batch dimension off the mask whether there is one or not.
        processed["pixel_attention_mask"] = torch.empty(1, 0)
    call.original(processor, mm_data, mm_kwargs, processed)
    if without_mask:
        del processed["pixel_attention_mask"]
    if processed["pixel_values"].dtype == torch.uint8:
        processed[UINT8_PIXELS] = processed.pop("pixel_values")
    return processed


def configure_fields(call: PatchedCall, processor: Any, hf_inputs: Any, mm_kwargs: Any) -> dict[str, Any]:
    """The engine's fields, with uint8 tiles divided among images as the others are."""
    fields = dict(call.original(processor, hf_inputs, mm_kwargs))
    fields[UINT8_PIXELS] = fields["pixel_values"]
    return fields
