"""Where the recipes change vLLM 0.26, as far as its functions are not those of later versions."""

from vlmprof.patching import Earlier, Patch, Standing
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.engine_versions import TRANSFORMERS, VLLM_26
from vlmprof_recipes.idefics3_patches import FIELDS, INPUTS, PIL_PREPROCESS, PREPROCESS

_MODELS = "vllm.model_executor.models"
_BASE = "vllm.multimodal.processing.processor:BaseMultiModalProcessor"
_IDEFICS3 = f"{_MODELS}.idefics3:Idefics3MultiModalProcessor"
_INTERNVL_CHAT = f"{_MODELS}.internvl:InternVLMultiModalProcessor"
_INTERNVL_HF = f"{_MODELS}.interns1:InternS1MultiModalProcessor"
_QWEN3_VL = f"{_MODELS}.qwen3_vl:Qwen3VLMultiModalProcessor"
_CALL_PARAMETERS = ("self", "prompt", "mm_data", "mm_kwargs", "tok_kwargs")


def row(*patches: Patch, standing: Standing | None = None) -> Earlier:
    """A recipe's row for a family in vLLM 0.26; without patches, why there are none."""
    return Earlier(
        fits=(VLLM_26, TRANSFORMERS), patches=(*patches, *CACHE_KEYS) if patches else (), standing=standing
    )


def _hf_call(owner: str, replacement: str, fingerprint: str, *, follows_switch: bool = False) -> Patch:
    """Of what every request goes through; alone it shows no recipe's use."""
    return Patch(
        target=f"{owner}._call_hf_processor",
        replacement=f"vlmprof_recipes.vllm_26_inputs:{replacement}",
        parameters=_CALL_PARAMETERS,
        fingerprints=(fingerprint,),
        follows_switch=follows_switch,
        shows_use=False,
    )


def _without_text(owner: str, replacement: str = "images_without_text") -> Patch:
    return Patch(
        target=f"{owner}._apply_hf_processor_mm_only",
        replacement=f"vlmprof_recipes.vllm_26_inputs:{replacement}",
        parameters=("self", "mm_items", "hf_processor_mm_kwargs", "tokenization_kwargs"),
        fingerprints=("a6f3aa5aeb651d06",),
    )


def _named(patches: tuple[Patch, ...], name: str) -> tuple[Patch, ...]:
    return tuple(patch for patch in patches if patch.target.endswith(f".{name}"))


IDEFICS3_PREPROCESS = (*PREPROCESS, *PIL_PREPROCESS)
"""API server: from decoded images to tiles; beside torchvision before 0.27 transformers takes PIL."""

IDEFICS3_FIELDS = (
    _hf_call(_BASE, "with_stand_ins", "28c35cf729517bfc"),
    _hf_call(_IDEFICS3, "name_fields", "49775e2ba57f11db"),
    *_named(FIELDS, "_get_mm_fields_config"),
)
"""API server: what of the tiles is sent to the worker, and under which names."""

IDEFICS3_INPUTS = _named(INPUTS, "_parse_and_validate_image_input")
"""Worker: the way into the vision encoder; it has no CUDA graphs of it."""

IDEFICS3_TEXT = (_without_text(_IDEFICS3),)
INTERNVL_CHAT_TEXT = (
    _without_text(_INTERNVL_CHAT),
    Patch(
        target=f"{_INTERNVL_CHAT}._apply_prompt_updates",
        replacement="vlmprof_recipes.vllm_26_text:splice",
        parameters=("self", "token_ids", "mm_prompt_updates"),
        fingerprints=("ebb8b355b17c6865",),
    ),
)
INTERNVL_HF_IMAGES = (
    _without_text(_INTERNVL_HF, "internvl_images_without_text"),
    _hf_call(_INTERNVL_HF, "internvl_images_alike", "5984555d89d5b30c", follows_switch=True),
)
QWEN3_VL_TEXT = (_without_text(_QWEN3_VL),)
"""API server: images, and a prompt's ids with theirs."""
