"""Where the recipes change Qwen3-VL: the functions, and what each must look like."""

from vlmprof.patching import Patch

PATCHIFY = (
    Patch(
        target="transformers.models.qwen2_vl.image_processing_qwen2_vl:Qwen2VLImageProcessor.patchify",
        replacement="vlmprof_recipes.qwen3_vl_images:patchify",
        parameters=("self", "images", "patch_size", "merge_size", "temporal_patch_size"),
        fingerprints=("ff0c73fe6ecf4107",),
    ),
)
"""API server: from a resized image to patches."""

TEXT = (
    Patch(
        target="vllm.model_executor.models.qwen3_vl:Qwen3VLMultiModalProcessor._get_hf_mm_text",
        replacement="vlmprof_recipes.qwen3_vl_images:no_text",
        parameters=("self", "mm_counts"),
        fingerprints=("a51a17737b249997",),
    ),
)
"""API server: the text that goes with the images into transformers' processor."""
