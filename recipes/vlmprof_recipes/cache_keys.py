"""Where the keys of the multimodal caches are made: the same for every model."""

from vlmprof.patching import Original, Patch

CACHE_KEYS = (
    Patch(
        target="vllm.multimodal.processing.inputs:ProcessorInputs.get_mm_hashes",
        replacement="vlmprof_recipes.cache_salt:salted_hashes",
        parameters=("self", "model_id", "hash_algorithm"),
        fingerprints=("eb48d38f752a2d52",),
        shows_use=False,
        earlier=(Original(("self", "model_id"), "d273763b295e1aeb"),),
    ),
)
"""API server: the multimodal caches never serve what was made under another set of recipes."""
