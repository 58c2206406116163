"""Recipe 1: tiles are not grouped, restacked and padded to the size that they have."""

from vlmprof.patching import Family, Need, Recipe, Standing
from vlmprof_recipes.diagnosis import Removes, removing
from vlmprof_recipes.idefics3_patches import CACHE_KEYS, FIELDS, PREPROCESS, TRANSFORMERS, VLLM

recipe = Recipe(
    number=1,
    slug="reduce_image_transform",
    title="reduce image transforms",
    paper="No repeated resize, crop and pad.",
    here="Tiles of one image have one size: they are normalized as one tensor, and neither grouped by shape, "
    "listed, restacked, nor copied into zeros of their own size.",
    standing={
        Family.IDEFICS3: Standing(
            Need.NEEDED, "_preprocess of Idefics3ImageProcessor and SmolVLMImageProcessor: lists, pad"
        ),
        Family.INTERNVL_CHAT: Standing(
            Need.NEEDED, "dynamic_preprocess_internvl, build_transform, stack and cat; no patch here yet"
        ),
        Family.INTERNVL_HF: Standing(
            Need.NEEDED, "GotOcr2ImageProcessor.crop_image_to_patches; no patch here yet"
        ),
        Family.QWEN3_VL: Standing(
            Need.UPSTREAM, "Qwen2VLImageProcessor._preprocess resizes once and pads nothing"
        ),
    },
    # Its own time is copying: 4 bytes of float32 pixels in 3 channels against 8 of mask, 12 of 20 a pixel.
    diagnose=removing(Removes("Idefics3ImageProcessor._preprocess", "self", 12 / 20)),
    processes=("api_server",),
    fits={Family.IDEFICS3: (VLLM, TRANSFORMERS)},
    patches={Family.IDEFICS3: (*PREPROCESS, *FIELDS, *CACHE_KEYS)},
)
