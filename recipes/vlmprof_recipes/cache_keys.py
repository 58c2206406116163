"""Where a request's images are prepared, and the keys of the multimodal caches made: the same for every model."""

from typing import Any

from vlmprof.patching import Original, Patch, PatchedCall

CACHE_KEYS = (
    Patch(
        target="vllm.multimodal.processing.processor:BaseMultiModalProcessor.apply",
        replacement="vlmprof_recipes.cache_keys:with_one_set",
        parameters=("self", "inputs", "timing_ctx"),
        fingerprints=("4d6c98ccd2af204a", "1c51a402dcadefcc"),
        follows_switch=False,
        shows_use=False,
        holds_switch=True,
    ),
    Patch(
        target="vllm.multimodal.processing.inputs:ProcessorInputs.get_mm_hashes",
        replacement="vlmprof_recipes.cache_salt:salted_hashes",
        parameters=("self", "model_id", "hash_algorithm"),
        fingerprints=("eb48d38f752a2d52",),
        shows_use=False,
        earlier=(Original(("self", "model_id"), "d273763b295e1aeb"),),
    ),
)
"""API server: the multimodal caches never serve what was made under another set of recipes.

Key and images of a request are made under one set, whatever is switched meanwhile: else an entry could be found
under the other set's key, and one image's uint8 tiles be joined with the next one's normalized ones.
"""


def with_one_set(call: PatchedCall, processor: Any, *args: Any, **kwargs: Any) -> Any:
    """Prepare a request; its patch holds the switch meanwhile."""
    return call.original(processor, *args, **kwargs)
