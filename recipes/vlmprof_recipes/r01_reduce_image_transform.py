"""Recipe 1: tiles are not grouped, restacked and padded to the size that they have."""

from vlmprof.patching import Family, Need, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes import vllm_26_patches as vllm_26
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import TRANSFORMERS, VLLM, VLLM_FROM_26
from vlmprof_recipes.idefics3_patches import FIELDS, PREPROCESS
from vlmprof_recipes.internvl_patches import CHAT_TILES, HF_JOIN, HF_PREPROCESS
from vlmprof_recipes.qwen3_vl_patches import PATCHIFY

recipe = Recipe(
    number=1,
    slug="reduce_image_transform",
    title="reduce image transforms",
    paper="No repeated resize, crop and pad.",
    here="Tiles of one image have one size: they are normalized as one tensor, and neither grouped by shape, "
    "resized again, listed, restacked, nor copied into zeros of their own size. Qwen3-VL has no tiles: its "
    "patches are put in order by rows of 16 bytes in the place of single ones.",
    standing={
        Family.IDEFICS3: Standing(
            Need.NEEDED, "_preprocess of Idefics3ImageProcessor and SmolVLMImageProcessor: lists, pad"
        ),
        Family.INTERNVL_CHAT: Standing(
            Need.NEEDED, "build_transform resizes, converts and normalizes each tile alone; stack, then cat"
        ),
        Family.INTERNVL_HF: Standing(
            Need.NEEDED, "GotOcr2ImageProcessor._preprocess groups, resizes again and lists the tiles"
        ),
        Family.QWEN3_VL: Standing(
            Need.NEEDED, "Qwen2VLImageProcessor.patchify puts patches in order byte by byte"
        ),
    },
    diagnose=changing(effects.REDUCE_TRANSFORM),
    processes=("api_server",),
    fits={
        Family.IDEFICS3: (VLLM, TRANSFORMERS),
        Family.INTERNVL_CHAT: (VLLM_FROM_26,),
        Family.INTERNVL_HF: (VLLM_FROM_26, TRANSFORMERS),
        Family.QWEN3_VL: (VLLM, TRANSFORMERS),
    },
    patches={
        Family.IDEFICS3: (*PREPROCESS, *FIELDS, *CACHE_KEYS),
        Family.INTERNVL_CHAT: (*CHAT_TILES, *CACHE_KEYS),
        Family.INTERNVL_HF: (*HF_PREPROCESS, *HF_JOIN, *CACHE_KEYS),
        Family.QWEN3_VL: (*PATCHIFY, *CACHE_KEYS),
    },
    earlier={
        Family.IDEFICS3: vllm_26.row(*vllm_26.IDEFICS3_PREPROCESS, *vllm_26.IDEFICS3_FIELDS),
        Family.QWEN3_VL: vllm_26.row(
            standing=Standing(
                Need.NOT_APPLICABLE,
                "patches are float32 before vLLM normalizes on the device: moving rows whole is no faster",
            )
        ),
    },
)
