"""Recipe 6: normalize in bfloat16."""

from vlmprof.patching import Exactness, Family, Need, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes import vllm_26_patches as vllm_26
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import TRANSFORMERS, VLLM
from vlmprof_recipes.idefics3_patches import FIELDS, INPUTS, PREPROCESS
from vlmprof_recipes.internvl_patches import CHAT_INPUTS, CHAT_TILES, HF_INPUTS, HF_PREPROCESS

_NORMALIZES = Standing(Need.NEEDED, "TorchvisionBackend.rescale_and_normalize computes in float32")

_NORMALIZES_QWEN = "Qwen2VLImageProcessor computes in float32; no patch here for vLLM 0.26"

recipe = Recipe(
    number=6,
    slug="bf16_normalize",
    title="normalize in bfloat16",
    paper="Normalize in bfloat16, not in float32.",
    here="The processor makes bfloat16 tiles at once: half the bytes, and no cast afterwards. With recipe 8, which "
    "leaves normalization to the worker, it acts on a GPU alone: on a CPU a tile stays in the cache, where "
    "float32 is no slower.",
    standing={
        Family.IDEFICS3: _NORMALIZES,
        Family.INTERNVL_CHAT: Standing(Need.NEEDED, "build_transform computes in float32"),
        Family.INTERNVL_HF: _NORMALIZES,
        Family.QWEN3_VL: Standing(
            Need.UPSTREAM, "FusedMMInputNorm normalizes uint8 on the device, in float32"
        ),
    },
    diagnose=changing(effects.BF16_NORMALIZE),
    processes=("api_server", "worker"),
    exactness=Exactness.TOLERANCE,
    tolerance="Values are centred before they are rounded: relative RMS error of the pixels against float64 "
    "0.0015 for SmolVLM and 0.0027 for InternVL, where float32 rounded once has 0.0015 and 0.0017; no value is "
    "more than a bfloat16 step from the engine's, 0.004 below 1 and 0.016 above 2.",
    # Tiles that are grouped, listed and padded are made anew in float32.
    needs=(1,),
    fits={
        Family.IDEFICS3: (VLLM, TRANSFORMERS),
        Family.INTERNVL_CHAT: (VLLM,),
        Family.INTERNVL_HF: (VLLM, TRANSFORMERS),
    },
    patches={
        Family.IDEFICS3: (*PREPROCESS, *FIELDS, *CACHE_KEYS, *INPUTS),
        Family.INTERNVL_CHAT: (*CHAT_TILES, *CACHE_KEYS, *CHAT_INPUTS),
        Family.INTERNVL_HF: (*HF_PREPROCESS, *CACHE_KEYS, *HF_INPUTS),
    },
    earlier={
        Family.IDEFICS3: vllm_26.row(
            *vllm_26.IDEFICS3_PREPROCESS, *vllm_26.IDEFICS3_FIELDS, *vllm_26.IDEFICS3_INPUTS
        ),
        Family.QWEN3_VL: vllm_26.row(standing=Standing(Need.NEEDED, _NORMALIZES_QWEN)),
        **dict.fromkeys(
            (Family.INTERNVL_CHAT, Family.INTERNVL_HF),
            vllm_26.row(standing=Standing(Need.NEEDED, "computes in float32; no patch here for vLLM 0.26")),
        ),
    },
)
