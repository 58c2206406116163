"""Recipe 6: normalize in bfloat16."""

from vlmprof.patching import Exactness, Family, Need, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes import vllm_26_patches as vllm_26
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import TRANSFORMERS, VLLM
from vlmprof_recipes.idefics3_patches import FIELDS, INPUTS, PREPROCESS

_NORMALIZES = (
    "rescale_and_normalize computes in float32; no patch here yet: recipe 8 takes it out of the processor"
)

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
        Family.IDEFICS3: Standing(
            Need.NEEDED, "TorchvisionBackend.rescale_and_normalize computes in float32"
        ),
        Family.INTERNVL_CHAT: Standing(Need.NEEDED, "build_transform computes in float32; no patch here yet"),
        Family.INTERNVL_HF: Standing(Need.NEEDED, _NORMALIZES),
        Family.QWEN3_VL: Standing(
            Need.UPSTREAM, "FusedMMInputNorm normalizes uint8 on the device, in float32"
        ),
    },
    diagnose=changing(effects.BF16_NORMALIZE),
    processes=("api_server", "worker"),
    exactness=Exactness.TOLERANCE,
    tolerance="Values are centred before they are rounded: relative RMS error of the pixels against float64 "
    "0.00148, where float32 rounded once has 0.00146; at most 0.004 from the engine's, a bfloat16 step below 1.",
    fits={Family.IDEFICS3: (VLLM, TRANSFORMERS)},
    patches={Family.IDEFICS3: (*PREPROCESS, *FIELDS, *CACHE_KEYS, *INPUTS)},
    earlier={
        Family.IDEFICS3: vllm_26.row(*PREPROCESS, *vllm_26.IDEFICS3_FIELDS, *vllm_26.IDEFICS3_INPUTS),
        Family.QWEN3_VL: vllm_26.row(standing=Standing(Need.NEEDED, _NORMALIZES_QWEN)),
    },
)
