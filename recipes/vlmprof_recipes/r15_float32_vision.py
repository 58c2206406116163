"""Recipe 15: the vision encoder computes in float32 where the processor cannot multiply bfloat16."""

from vlmprof.patching import Exactness, Family, Need, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import removing
from vlmprof_recipes.engine_versions import VLLM_FROM_26
from vlmprof_recipes.vision_patches import (
    IDEFICS3_FLOAT32,
    INTERNVL_CHAT_FLOAT32,
    INTERNVL_HF_FLOAT32,
    QWEN3_VL_FLOAT32,
)

_NEEDED = Standing(
    Need.NEEDED,
    "dispatch_cpu_unquantized_gemm falls back to torch's linear below AVX-512; elsewhere nothing is changed. "
    "--dtype float32 does it for the whole model",
)

recipe = Recipe(
    number=15,
    slug="float32_vision",
    title="vision encoder in float32 on a CPU without bfloat16",
    paper="Not in the paper, whose servers have GPUs.",
    here="oneDNN multiplies bfloat16 from AVX-512 on. Below it, torch widens every operand of every product by "
    "itself, and a patch embedding of SmolVLM-256M's width takes six times as long. The encoder's weights are kept "
    "in both types, 4 more bytes a parameter, made by the first request with an image; the language model "
    "stays as it is. On a GPU, and on a CPU that has bfloat16, the recipe changes nothing.",
    standing=dict.fromkeys(Family, _NEEDED),
    diagnose=removing(*effects.FLOAT32_PRODUCTS),
    processes=("api_server", "worker"),
    exactness=Exactness.TOLERANCE,
    tolerance="The encoder's features are rounded to bfloat16 once, at the end, and so are nearer to float64 than "
    "the engine's.",
    fits=dict.fromkeys(Family, (VLLM_FROM_26,)),
    patches={
        Family.IDEFICS3: (*IDEFICS3_FLOAT32, *CACHE_KEYS),
        Family.INTERNVL_CHAT: (*INTERNVL_CHAT_FLOAT32, *CACHE_KEYS),
        Family.INTERNVL_HF: (*INTERNVL_HF_FLOAT32, *CACHE_KEYS),
        Family.QWEN3_VL: (*QWEN3_VL_FLOAT32, *CACHE_KEYS),
    },
)
