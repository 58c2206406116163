"""Recipe 8: pixels travel as uint8 and are normalized where the model runs."""

from vlmprof.patching import Family, Need, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes import vllm_26_patches as vllm_26
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import TRANSFORMERS, VLLM, VLLM_FROM_26
from vlmprof_recipes.idefics3_patches import FIELDS, INPUTS, PREPROCESS
from vlmprof_recipes.internvl_patches import (
    CHAT_FIELDS,
    CHAT_INPUTS,
    CHAT_TILES,
    HF_FIELDS,
    HF_IMAGES,
    HF_INPUTS,
    HF_PREPROCESS,
)

recipe = Recipe(
    number=8,
    slug="uint8",
    title="uint8 pixels",
    paper="Move uint8 pixels; convert and normalize them on the device.",
    here="Tiles cross both process boundaries at 1 byte a value where bfloat16 has 2; the worker normalizes in "
    "float32 and rounds once, as the processor would have.",
    standing={
        Family.IDEFICS3: Standing(
            Need.NEEDED, "Idefics3ForConditionalGeneration: supports_mm_device_do_normalize is False"
        ),
        Family.INTERNVL_CHAT: Standing(
            Need.NEEDED, "build_transform normalizes; InternVLChatModel.extract_feature expects that"
        ),
        Family.INTERNVL_HF: Standing(
            Need.NEEDED,
            "GotOcr2ImageProcessor normalizes; InternS1ForConditionalGeneration.extract_feature expects that",
        ),
        Family.QWEN3_VL: Standing(Need.UPSTREAM, "FusedMMInputNorm, on by default"),
    },
    diagnose=changing(effects.UINT8),
    processes=("api_server", "worker"),
    # pad copies into float32 zeros: without recipe 1 the tiles would not stay uint8.
    needs=(1,),
    fits={
        Family.IDEFICS3: (VLLM, TRANSFORMERS),
        Family.INTERNVL_CHAT: (VLLM_FROM_26,),
        Family.INTERNVL_HF: (VLLM, TRANSFORMERS),
    },
    patches={
        Family.IDEFICS3: (*PREPROCESS, *FIELDS, *CACHE_KEYS, *INPUTS),
        Family.INTERNVL_CHAT: (*CHAT_TILES, *CHAT_FIELDS, *CACHE_KEYS, *CHAT_INPUTS),
        Family.INTERNVL_HF: (*HF_PREPROCESS, *HF_IMAGES, *HF_FIELDS, *CACHE_KEYS, *HF_INPUTS),
    },
    earlier={
        Family.IDEFICS3: vllm_26.row(
            *vllm_26.IDEFICS3_PREPROCESS, *vllm_26.IDEFICS3_FIELDS, *vllm_26.IDEFICS3_INPUTS
        ),
        Family.INTERNVL_HF: vllm_26.row(*HF_PREPROCESS, *vllm_26.INTERNVL_HF_IMAGES, *HF_FIELDS, *HF_INPUTS),
        Family.QWEN3_VL: vllm_26.row(
            standing=Standing(
                Need.NEEDED, "Qwen2VLImageProcessor normalizes in float32; no patch here for vLLM 0.26"
            )
        ),
    },
)
