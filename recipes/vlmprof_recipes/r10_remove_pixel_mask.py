"""Recipe 10: no padding mask where nothing is padded."""

from vlmprof.patching import Family, Need, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes import vllm_26_patches as vllm_26
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import TRANSFORMERS, VLLM
from vlmprof_recipes.idefics3_patches import FEATURES, FIELDS, INPUTS, PREPROCESS

_NO_MASK = Standing(Need.NOT_APPLICABLE, "the model has no padding mask")

recipe = Recipe(
    number=10,
    slug="remove_pixel_mask",
    title="remove the pixel mask",
    paper="Do not build, move and index the padding mask where nothing is padded.",
    here="Tiles are never padded, yet an all-ones int64 mask of 8 bytes a pixel is built, sent twice, and every "
    "value of every tile is compared with 0 to find tiles that are padding.",
    standing={
        Family.IDEFICS3: Standing(
            Need.NEEDED,
            "_preprocess builds the mask; Idefics3Model.image_pixels_to_features scans and indexes",
        ),
        Family.INTERNVL_CHAT: _NO_MASK,
        Family.INTERNVL_HF: _NO_MASK,
        Family.QWEN3_VL: _NO_MASK,
    },
    diagnose=changing(effects.REMOVE_MASK),
    processes=("api_server", "worker"),
    # The engine fills tiles and mask in one loop; with a mask less but a copy into zeros still, large blocks are
    # mapped anew that its own way finds in the heap.
    needs=(1,),
    fits={Family.IDEFICS3: (VLLM, TRANSFORMERS)},
    patches={Family.IDEFICS3: (*PREPROCESS, *FIELDS, *CACHE_KEYS, *INPUTS, *FEATURES)},
    earlier={
        Family.IDEFICS3: vllm_26.row(
            *vllm_26.IDEFICS3_PREPROCESS, *vllm_26.IDEFICS3_FIELDS, *vllm_26.IDEFICS3_INPUTS, *FEATURES
        )
    },
)
