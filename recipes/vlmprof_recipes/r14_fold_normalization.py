"""Recipe 14: normalization is folded into the weights of the patch embedding."""

from vlmprof.patching import Exactness, Family, Need, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes import vllm_26_patches as vllm_26
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import VLLM, VLLM_FROM_26
from vlmprof_recipes.idefics3_patches import FEATURES, INPUTS
from vlmprof_recipes.internvl_patches import CHAT_INPUTS, HF_INPUTS
from vlmprof_recipes.vision_patches import (
    IDEFICS3_EMBEDDINGS,
    INTERNVL_CHAT_EMBEDDINGS,
    INTERNVL_HF_EMBEDDINGS,
)

recipe = Recipe(
    number=14,
    slug="fold_normalization",
    title="normalization folded into the patch embedding",
    paper="Not in the paper.",
    here="The patch embedding is linear, and so is normalization: with its factor in the weights and its offset in "
    "the bias, uint8 tiles are embedded as they come. Nothing normalized is ever written to memory. On a CPU "
    "that cannot multiply bfloat16 the embedding is computed in float32.",
    standing={
        Family.IDEFICS3: Standing(Need.NEEDED, "Idefics2VisionEmbeddings.forward takes normalized tiles"),
        Family.INTERNVL_CHAT: Standing(Need.NEEDED, "InternVisionEmbeddings.forward takes normalized tiles"),
        Family.INTERNVL_HF: Standing(
            Need.NEEDED, "InternS1VisionPatchEmbeddings.forward takes normalized tiles"
        ),
        Family.QWEN3_VL: Standing(
            Need.UPSTREAM,
            "FusedMMInputNorm normalizes patches in front of the embedding, in one kernel on a GPU",
        ),
    },
    diagnose=changing(effects.FOLD_NORMALIZATION),
    processes=("api_server", "worker"),
    exactness=Exactness.TOLERANCE,
    tolerance="Products are rounded once less or once more. Relative RMS error of the patch embedding against "
    "float64: 0.0025 as the engine does it, 0.0025 folded in bfloat16, 0.0017 folded in float32 and rounded once: "
    "benchmarks/results/patch_embedding.md.",
    # Only whole uint8 tiles can be embedded as they come.
    needs=(8, 10),
    fits={
        Family.IDEFICS3: (VLLM,),
        Family.INTERNVL_CHAT: (VLLM_FROM_26,),
        Family.INTERNVL_HF: (VLLM,),
    },
    patches={
        Family.IDEFICS3: (*INPUTS, *FEATURES, *IDEFICS3_EMBEDDINGS, *CACHE_KEYS),
        Family.INTERNVL_CHAT: (*CHAT_INPUTS, *INTERNVL_CHAT_EMBEDDINGS, *CACHE_KEYS),
        Family.INTERNVL_HF: (*HF_INPUTS, *INTERNVL_HF_EMBEDDINGS, *CACHE_KEYS),
    },
    earlier={
        Family.INTERNVL_HF: vllm_26.row(*HF_INPUTS, *INTERNVL_HF_EMBEDDINGS),
        Family.IDEFICS3: vllm_26.row(*vllm_26.IDEFICS3_INPUTS, *FEATURES, *IDEFICS3_EMBEDDINGS),
        Family.QWEN3_VL: vllm_26.row(
            standing=Standing(
                Need.NEEDED, "Qwen3_VisionPatchEmbed takes normalized patches; no patch here for vLLM 0.26"
            )
        ),
    },
)
