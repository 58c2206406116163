"""Recipe 11: an image is split into tiles by one copy."""

from vlmprof.patching import Family, Need, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes import vllm_26_patches as vllm_26
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import TRANSFORMERS, VLLM, VLLM_FROM_26
from vlmprof_recipes.idefics3_patches import FIELDS, PREPROCESS
from vlmprof_recipes.internvl_patches import CHAT_TILES, HF_CROP, HF_PREPROCESS

recipe = Recipe(
    number=11,
    slug="avoid_split",
    title="avoid the split",
    paper="Do not split and restack what can stay one tensor.",
    here="The paper does not define it. Read here as: tiles are a view of the resized image, copied once into "
    "the tensor that is sent; split_images unfolds, makes contiguous and concatenates: two copies. Colours that "
    "torch's resize leaves interleaved are separated in the same copy, by OpenCV's vector instructions.",
    standing={
        Family.IDEFICS3: Standing(
            Need.NEEDED, "split_images of Idefics3ImageProcessor and SmolVLMImageProcessor"
        ),
        Family.INTERNVL_CHAT: Standing(
            Need.NEEDED, "dynamic_preprocess_internvl crops each tile as a PIL image"
        ),
        Family.INTERNVL_HF: Standing(
            Need.NEEDED,
            "GotOcr2ImageProcessor.crop_image_to_patches stacks slices of an image with interleaved colours: one "
            "copy, but of single bytes",
        ),
        Family.QWEN3_VL: Standing(Need.NOT_APPLICABLE, "the image is not split into tiles"),
    },
    diagnose=changing(effects.AVOID_SPLIT),
    processes=("api_server",),
    # Where tiles are listed, grouped and padded after the split, each is copied again.
    needs=(1,),
    fits={
        Family.IDEFICS3: (VLLM, TRANSFORMERS),
        Family.INTERNVL_CHAT: (VLLM_FROM_26,),
        Family.INTERNVL_HF: (VLLM_FROM_26, TRANSFORMERS),
    },
    patches={
        Family.IDEFICS3: (*PREPROCESS, *FIELDS, *CACHE_KEYS),
        Family.INTERNVL_CHAT: (*CHAT_TILES, *CACHE_KEYS),
        Family.INTERNVL_HF: (*HF_PREPROCESS, *HF_CROP, *CACHE_KEYS),
    },
    earlier={Family.IDEFICS3: vllm_26.row(*vllm_26.IDEFICS3_PREPROCESS, *vllm_26.IDEFICS3_FIELDS)},
)
