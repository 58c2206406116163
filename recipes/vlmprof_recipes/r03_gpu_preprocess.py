"""Recipe 3: the worker makes the tiles, on the device where the model runs."""

from vlmprof.patching import Earlier, Family, Need, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes import vllm_26_patches as vllm_26
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import TORCHVISION, TRANSFORMERS, VLLM, VLLM_26
from vlmprof_recipes.idefics3_patches import FEATURES, FIELDS, INPUTS, PREPROCESS
from vlmprof_recipes.internvl_patches import (
    CHAT_FIELDS,
    CHAT_INPUTS,
    CHAT_TILES,
    HF_FIELDS,
    HF_IMAGES,
    HF_INPUTS,
    HF_PREPROCESS,
)

_REFUSED = "--mm-processor-device is refused unless the server only encodes"

_NOWHERE = vllm_26.row(
    standing=Standing(Need.NEEDED, "the engine has no flag for it; no patch here for vLLM 0.26")
)

recipe = Recipe(
    number=3,
    slug="gpu_preprocess",
    title="preprocess on the GPU",
    paper="Resize and normalize on the GPU.",
    here="The API server sends the decoded image, a tenth of the bytes of its tiles, and the worker resizes, "
    "splits and normalizes it. On a GPU two matrix products resize, to the values of torchvision's Lanczos "
    "or bicubic on the CPU, which CUDA's differ from. Without a GPU the work only changes its process; the bytes "
    "are saved. An image with more bytes than its tiles is sent as tiles.",
    standing={
        Family.IDEFICS3: Standing(Need.NEEDED, f"SmolVLMImageProcessor._preprocess; {_REFUSED}"),
        Family.INTERNVL_CHAT: Standing(Need.NEEDED, f"InternVLImageProcessor.__call__; {_REFUSED}"),
        Family.INTERNVL_HF: Standing(Need.NEEDED, f"GotOcr2ImageProcessor._preprocess; {_REFUSED}"),
        Family.QWEN3_VL: Standing(
            Need.NOT_APPLICABLE,
            "its patches are twice the bytes of the image, which keeps its size: 1.8 MB for 640x480, normalized "
            "on the device already",
        ),
    },
    diagnose=changing(effects.GPU_PREPROCESS),
    processes=("api_server", "worker"),
    # The worker knows tiles that are uint8, whole and of torchvision; what else the processor would do has no
    # place there.
    needs=(1, 2, 8, 10, 11),
    fits={
        Family.IDEFICS3: (VLLM, TRANSFORMERS, TORCHVISION),
        Family.INTERNVL_CHAT: (VLLM, TORCHVISION),
        Family.INTERNVL_HF: (VLLM, TRANSFORMERS, TORCHVISION),
    },
    patches={
        Family.IDEFICS3: (*PREPROCESS, *FIELDS, *CACHE_KEYS, *INPUTS, *FEATURES),
        Family.INTERNVL_CHAT: (*CHAT_TILES, *CHAT_FIELDS, *CACHE_KEYS, *CHAT_INPUTS),
        Family.INTERNVL_HF: (*HF_PREPROCESS, *HF_IMAGES, *HF_FIELDS, *CACHE_KEYS, *HF_INPUTS),
    },
    earlier={
        Family.IDEFICS3: Earlier(
            fits=(VLLM_26, TRANSFORMERS, TORCHVISION),
            patches=(
                *PREPROCESS,
                *vllm_26.IDEFICS3_FIELDS,
                *CACHE_KEYS,
                *vllm_26.IDEFICS3_INPUTS,
                *FEATURES,
            ),
            standing=Standing(
                Need.NEEDED, "SmolVLMImageProcessor._preprocess; the engine has no flag for it"
            ),
        ),
        **dict.fromkeys((Family.INTERNVL_CHAT, Family.INTERNVL_HF, Family.QWEN3_VL), _NOWHERE),
    },
)
