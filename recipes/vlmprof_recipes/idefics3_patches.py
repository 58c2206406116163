"""Where the recipes change SmolVLM and Idefics3: the functions, and what each must look like.

Several recipes share these patches: each asks in its call which of them is on.
"""

from vlmprof.patching import Original, Patch

_PREPROCESS_PARAMETERS = (
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
    "do_pad",
    "do_image_splitting",
    "max_image_size",
    "return_row_col_info",
    "disable_grouping",
    "return_tensors",
    "kwargs",
)


# One text in both classes: transformers generates them from one source.
_TENSORS = ("idefics3_tiles", _PREPROCESS_PARAMETERS, "40925e6765c6b71e")
_ARRAYS = (
    "idefics3_pil_tiles",
    tuple(name for name in _PREPROCESS_PARAMETERS if name != "disable_grouping"),
    "b0846a6522fcc6ec",
)


def _preprocess(target: str, replacement: str, parameters: tuple[str, ...], fingerprint: str) -> Patch:
    return Patch(
        target=f"transformers.models.{target}._preprocess",
        replacement=f"vlmprof_recipes.{replacement}:preprocess",
        parameters=parameters,
        fingerprints=(fingerprint,),
    )


PREPROCESS = (
    _preprocess("idefics3.image_processing_idefics3:Idefics3ImageProcessor", *_TENSORS),
    _preprocess("smolvlm.image_processing_smolvlm:SmolVLMImageProcessor", *_TENSORS),
)
"""API server: from decoded images to tiles, in transformers' image processors."""

PIL_PREPROCESS = (
    _preprocess("idefics3.image_processing_pil_idefics3:Idefics3ImageProcessorPil", *_ARRAYS),
    _preprocess("smolvlm.image_processing_pil_smolvlm:SmolVLMImageProcessorPil", *_ARRAYS),
)
"""API server: the same in those for PIL."""

_MODELS = "vllm.model_executor.models.idefics3"

FIELDS = (
    Patch(
        target=f"{_MODELS}:Idefics3MultiModalProcessor._postprocess_hf_mm_data",
        replacement="vlmprof_recipes.idefics3_fields:name_fields",
        parameters=("self", "mm_data", "hf_processor_mm_kwargs", "processed_data"),
        fingerprints=("ae668eadc1f733db",),
        follows_switch=False,
        shows_use=False,
    ),
    Patch(
        target=f"{_MODELS}:Idefics3MultiModalProcessor._get_mm_fields_config",
        replacement="vlmprof_recipes.idefics3_fields:configure_fields",
        parameters=("self", "hf_inputs", "hf_processor_mm_kwargs"),
        fingerprints=("99c4944332abbbe4",),
        follows_switch=False,
        shows_use=False,
    ),
)
"""API server: what of the tiles is sent to the worker, and under which names."""


def _inputs(method: str, given: str, parameters: tuple[str, ...], fingerprint: str) -> Patch:
    """A way in that takes what is `given` to it as `keywords`, or as a `mapping`."""
    return Patch(
        target=f"{_MODELS}:Idefics3ForConditionalGeneration.{method}",
        replacement=f"vlmprof_recipes.idefics3_inputs:with_{given}",
        fallback=f"vlmprof_recipes.idefics3_inputs:plain_{given}",
        parameters=parameters,
        fingerprints=(fingerprint,),
        follows_switch=False,
    )


INPUTS = (
    _inputs("_parse_and_validate_image_input", "keywords", ("self", "kwargs"), "6b724e405d521247"),
    _inputs(
        "select_encoder_cudagraph_items",
        "mapping",
        ("self", "mm_kwargs", "indices"),
        "4c17b6933d9cbe09",
    ),
    _inputs(
        "prepare_encoder_cudagraph_replay_buffers",
        "mapping",
        ("self", "mm_kwargs", "max_batch_size", "max_frames_per_batch", "path"),
        "2eb47567cb7a4264",
    ),
)
"""Worker: every way into the vision encoder, eager and through CUDA graphs."""

FEATURES = (
    Patch(
        target=f"{_MODELS}:Idefics3Model.image_pixels_to_features",
        replacement="vlmprof_recipes.idefics3_inputs:dense_features",
        fallback="vlmprof_recipes.idefics3_inputs:plain_features",
        parameters=("self", "pixel_values", "pixel_attention_mask", "remove_padding", "position_ids"),
        fingerprints=("d1aaeb2acc3f952b",),
        follows_switch=False,
        earlier=(Original(("self", "pixel_values", "pixel_attention_mask"), "e6f5979004bcca38"),),
    ),
)
"""Worker: the vision encoder itself."""
