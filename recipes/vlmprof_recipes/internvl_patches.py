"""Where the recipes change InternVL3 in its two forms: the functions, and what each must look like.

Several recipes share these patches: each asks in its call which of them is on.
"""

from vlmprof.patching import Patch

_CHAT = "vllm.model_executor.models.internvl"
_HF = "vllm.model_executor.models.interns1"
_GOT_OCR2 = "transformers.models.got_ocr2.image_processing_got_ocr2:GotOcr2ImageProcessor"

CHAT_TILES = (
    Patch(
        target="vllm.transformers_utils.processors.internvl:InternVLImageProcessor.__call__",
        replacement="vlmprof_recipes.internvl_chat_tiles:preprocess",
        parameters=(
            "self",
            "images",
            "min_dynamic_patch",
            "max_dynamic_patch",
            "dynamic_image_size",
            "return_tensors",
            "kwargs",
        ),
        fingerprints=("0607a5835d1a2f1b",),
    ),
)
"""API server: from decoded images to tiles, in vLLM's image processor."""

CHAT_TEXT = (
    Patch(
        target=f"{_CHAT}:InternVLMultiModalProcessor._apply_prompt_updates_via_text",
        replacement="vlmprof_recipes.internvl_chat_text:splice",
        parameters=("self", "token_ids", "mm_prompt_updates", "encode_segments_separately"),
        fingerprints=("114e85e3267a1071",),
    ),
)
"""API server: from the prompt's ids to those with the images' among them."""

HF_PREPROCESS = (
    Patch(
        target=f"{_GOT_OCR2}._preprocess",
        replacement="vlmprof_recipes.internvl_hf_tiles:preprocess",
        fallback="vlmprof_recipes.internvl_hf_tiles:engines_tiles",
        parameters=(
            "self",
            "images",
            "do_resize",
            "size",
            "resample",
            "do_rescale",
            "rescale_factor",
            "do_normalize",
            "image_mean",
            "image_std",
            "disable_grouping",
            "return_tensors",
            "crop_to_patches",
            "min_patches",
            "max_patches",
            "kwargs",
        ),
        fingerprints=("9fe788e5608867ae",),
    ),
)
"""API server: from decoded images to tiles, in transformers' image processor."""

HF_JOIN = (
    Patch(
        target="transformers.image_utils:concatenate_list",
        replacement="vlmprof_recipes.internvl_hf_join:join",
        parameters=("input_list",),
        fingerprints=("cf4db535260c9e2b",),
    ),
)
"""API server: from an image's tiles to those of the request."""

HF_CROP = (
    Patch(
        target=f"{_GOT_OCR2}.crop_image_to_patches",
        replacement="vlmprof_recipes.internvl_hf_tiles:crop_in_one_copy",
        parameters=(
            "self",
            "images",
            "min_patches",
            "max_patches",
            "use_thumbnail",
            "patch_size",
            "resample",
        ),
        fingerprints=("a3631f89c8a698f1",),
    ),
)
"""API server: from a resized image to tiles."""

HF_IMAGES = (
    Patch(
        target=f"{_HF}:InternS1MultiModalProcessor._apply_hf_processor_main",
        replacement="vlmprof_recipes.internvl_hf_text:process_images",
        parameters=("self", "mm_items", "hf_kwargs"),
        fingerprints=("288b7c25acb98d98",),
    ),
)
"""API server: from a request's images to what is sent."""


def _always(
    target: str,
    replacement: str,
    parameters: tuple[str, ...],
    *fingerprints: str,
    shows_use: bool = True,
    fallback: str = "",
) -> tuple[Patch, ...]:
    return (
        Patch(
            target=target,
            replacement=f"vlmprof_recipes.{replacement}",
            fallback=fallback and f"vlmprof_recipes.{fallback}",
            parameters=parameters,
            fingerprints=fingerprints,
            follows_switch=False,
            shows_use=shows_use,
        ),
    )


_FIELD_PARAMETERS = ("self", "hf_inputs", "hf_processor_mm_kwargs")

CHAT_FIELDS = _always(
    f"{_CHAT}:InternVLMultiModalProcessor._get_mm_fields_config",
    "internvl_fields:configure_fields",
    _FIELD_PARAMETERS,
    "b105986132594db9",
    shows_use=False,
)
HF_FIELDS = _always(
    f"{_HF}:InternS1MultiModalProcessor._get_mm_fields_config",
    "internvl_fields:configure_fields",
    _FIELD_PARAMETERS,
    "b4ec56f1d3cae06d",
    "3c203357279b1efb",
    shows_use=False,
)
"""API server: what of the tiles is sent to the worker, and under which names."""

_CHAT_MODEL = f"{_CHAT}:InternVLChatModel"
_HF_MODEL = f"{_HF}:InternS1ForConditionalGeneration"

CHAT_INPUTS = (
    *_always(
        f"{_CHAT_MODEL}.embed_multimodal",
        "internvl_inputs:chat_keywords",
        ("self", "kwargs"),
        "38a248809c23152d",
        "347279e085b7b0f1",
        fallback="internvl_inputs:plain_chat_keywords",
    ),
    *_always(
        f"{_CHAT_MODEL}.get_input_modality",
        "internvl_inputs:modality",
        ("self", "mm_kwargs"),
        "ec725bf3ec9433bf",
    ),
    *_always(
        f"{_CHAT_MODEL}.select_encoder_cudagraph_items",
        "internvl_inputs:select",
        ("self", "mm_kwargs", "indices"),
        "cd40a8bba2fc64b8",
        fallback="internvl_inputs:plain_mapping",
    ),
    *_always(
        f"{_CHAT_MODEL}.prepare_encoder_cudagraph_replay_buffers",
        "internvl_inputs:into_graph",
        ("self", "mm_kwargs", "max_batch_size", "max_frames_per_batch", "path"),
        "132f8754d38c2c96",
        fallback="internvl_inputs:plain_graph",
    ),
    *_always(
        f"{_CHAT_MODEL}.encoder_eager_forward",
        "internvl_inputs:with_mapping",
        ("self", "mm_kwargs", "path"),
        "e35a2a1c7af11b33",
        fallback="internvl_inputs:plain_mapping",
    ),
    *_always(
        f"{_CHAT_MODEL}.extract_feature",
        "internvl_inputs:chat_features",
        ("self", "pixel_values"),
        "089c73cb76d38b1e",
        fallback="internvl_inputs:plain_chat_features",
    ),
)
"""Worker: every way into the vision encoder, eager and through CUDA graphs."""

HF_INPUTS = (
    *_always(
        f"{_HF_MODEL}.embed_multimodal",
        "internvl_inputs:hf_keywords",
        ("self", "kwargs"),
        "64a6018e63ddb744",
        "5ba512e9fc14dd80",
        fallback="internvl_inputs:plain_hf_keywords",
    ),
    *_always(
        f"{_HF_MODEL}.extract_feature",
        "internvl_inputs:hf_features",
        ("self", "pixel_values"),
        "3d7bd6e4aec23b81",
        fallback="internvl_inputs:plain_hf_features",
    ),
)
"""Worker: the way into the vision encoder; this model has no CUDA graphs of it."""
