"""Recipe 11: an image is split into tiles by one copy."""

from vlmprof.patching import Family, Need, Recipe, Standing
from vlmprof_recipes.diagnosis import Removes, removing
from vlmprof_recipes.idefics3_patches import CACHE_KEYS, FIELDS, PREPROCESS, TRANSFORMERS, VLLM

recipe = Recipe(
    number=11,
    slug="avoid_split",
    title="avoid the split",
    paper="Do not split and restack what can stay one tensor.",
    here="The paper does not define it. Read here as: tiles are a view of the resized image, copied once into "
    "the tensor that is sent; split_images unfolds, makes contiguous and concatenates: two copies.",
    standing={
        Family.IDEFICS3: Standing(
            Need.NEEDED, "split_images of Idefics3ImageProcessor and SmolVLMImageProcessor"
        ),
        Family.INTERNVL_CHAT: Standing(
            Need.NEEDED, "dynamic_preprocess_internvl crops with PIL; no patch here yet"
        ),
        Family.INTERNVL_HF: Standing(
            Need.NEEDED, "GotOcr2ImageProcessor.crop_image_to_patches; no patch here yet"
        ),
        Family.QWEN3_VL: Standing(Need.NOT_APPLICABLE, "the image is not split into tiles"),
    },
    diagnose=removing(Removes("Idefics3ImageProcessor.split_images", "self")),
    processes=("api_server",),
    fits={Family.IDEFICS3: (VLLM, TRANSFORMERS)},
    patches={Family.IDEFICS3: (*PREPROCESS, *FIELDS, *CACHE_KEYS)},
)
