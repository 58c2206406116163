"""Where the recipes beyond the paper change vision encoders: the functions, and what each must look like."""

from vlmprof.patching import Original, Patch

_MODELS = "vllm.model_executor.models"


def _forward(
    of_class: str,
    parameters: tuple[str, ...],
    *fingerprints: str,
    replacement: str = "vision_float32:in_float32",
    fallback: str = "",
    earlier: tuple[Original, ...] = (),
) -> Patch:
    return Patch(
        target=f"{_MODELS}.{of_class}.forward",
        replacement=f"vlmprof_recipes.{replacement}",
        fallback=fallback and f"vlmprof_recipes.{fallback}",
        parameters=("self", *parameters),
        fingerprints=fingerprints,
        # What is sent as uint8 must be understood after a switch; float32 weights are made by the first request.
        follows_switch=False,
        earlier=earlier,
    )


def _weight_changes(model: str, *fingerprints: str) -> tuple[Patch, ...]:
    """Where weights are changed while the engine runs: what was derived from them is then made again."""
    return (
        Patch(
            target="vllm.v1.worker.worker_base:WorkerWrapperBase.__getattr__",
            replacement="vlmprof_recipes.weight_changes:answer",
            parameters=("self", "attr"),
            fingerprints=("88d14cd121aa297e",),
            follows_switch=False,
            shows_use=False,
        ),
        Patch(
            target=f"{_MODELS}.{model}.load_weights",
            replacement="vlmprof_recipes.weight_changes:load",
            parameters=("self", "weights"),
            fingerprints=fingerprints,
            follows_switch=False,
            shows_use=False,
        ),
    )


_IDEFICS3_CHANGES = _weight_changes("idefics3:Idefics3ForConditionalGeneration", "939a154721c3a7a6")
_INTERNVL_CHAT_CHANGES = _weight_changes("internvl:InternVLChatModel", "59e17dafb61fd499", "56b398d53c8c9b95")
_INTERNVL_HF_CHANGES = _weight_changes("interns1:InternS1ForConditionalGeneration", "59e17dafb61fd499")
_QWEN3_VL_CHANGES = _weight_changes("qwen3_vl:Qwen3VLForConditionalGeneration", "59e17dafb61fd499")

_TILES = ("pixel_values", "patch_attention_mask", "tgt_sizes", "position_ids")


def _earlier(fingerprint: str) -> tuple[Original, ...]:
    """vLLM 0.26 has no position ids that were made before."""
    return (Original(("self", *_TILES[:-1]), fingerprint),)


IDEFICS3_FLOAT32 = (
    _forward(
        "idefics2_vision_model:Idefics2VisionTransformer",
        _TILES,
        "98636e4ab5784e3d",
        earlier=_earlier("7686727badaaf23c"),
    ),
    _forward("idefics3:Idefics3Connector", ("image_hidden_states",), "6e7b1e0b9ec42014"),
    *_IDEFICS3_CHANGES,
)
INTERNVL_CHAT_FLOAT32 = (
    _forward("intern_vit:InternVisionModel", ("pixel_values", "pixel_embeds"), "8dd2e4e8759a4cfa"),
    *_INTERNVL_CHAT_CHANGES,
)
INTERNVL_HF_FLOAT32 = (
    _forward("interns1_vit:InternS1VisionModel", ("pixel_values", "pixel_embeds"), "e22a46af77e0c517"),
    *_INTERNVL_HF_CHANGES,
)
QWEN3_VL_FLOAT32 = (
    _forward(
        "qwen3_vl:Qwen3_VisionTransformer",
        ("x", "grid_thw", "encoder_metadata"),
        "a826f5c8eb6fe80a",
        "e13b77eb7afadc92",
    ),
    *_QWEN3_VL_CHANGES,
)
"""Worker: vision encoders, and what leads from SmolVLM's to its language model, in float32."""

IDEFICS3_EMBEDDINGS = (
    _forward(
        "idefics2_vision_model:Idefics2VisionEmbeddings",
        _TILES,
        "abfb4deeb14fdc14",
        replacement="folded_embeddings:idefics3",
        fallback="idefics3_inputs:plain_embeddings",
        earlier=_earlier("625b7c34a80e93d3"),
    ),
    *_IDEFICS3_CHANGES,
)
INTERNVL_CHAT_EMBEDDINGS = (
    _forward(
        "intern_vit:InternVisionEmbeddings",
        ("pixel_values",),
        "2e5f98f62ef4e7b2",
        replacement="folded_embeddings:internvl_chat",
        fallback="internvl_inputs:plain_chat_embeddings",
    ),
    *_INTERNVL_CHAT_CHANGES,
)
INTERNVL_HF_EMBEDDINGS = (
    _forward(
        "interns1_vit:InternS1VisionPatchEmbeddings",
        ("pixel_values",),
        "a26b62b4b5b4e22d",
        replacement="folded_embeddings:internvl_hf",
        fallback="internvl_inputs:plain_hf_embeddings",
    ),
    *_INTERNVL_HF_CHANGES,
)
"""Worker: from tiles to patch embeddings."""
