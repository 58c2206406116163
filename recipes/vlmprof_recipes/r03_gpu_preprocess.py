"""Recipe 3: the worker makes the tiles, on the device where the model runs."""

from vlmprof.patching import Earlier, Family, Need, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes import vllm_26_patches as vllm_26
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import TORCHVISION, TRANSFORMERS, VLLM, VLLM_26
from vlmprof_recipes.idefics3_patches import FEATURES, FIELDS, INPUTS, PREPROCESS

_ELSEWHERE = "--mm-processor-device is refused unless the server only encodes; no patch here yet"

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
    "on the CPU, which CUDA has not. Without a GPU the work only changes its process; the bytes are saved.",
    standing={
        Family.IDEFICS3: Standing(
            Need.NEEDED, "SmolVLMImageProcessor._preprocess; --mm-processor-device is refused for a server"
        ),
        Family.INTERNVL_CHAT: Standing(Need.NEEDED, _ELSEWHERE),
        Family.INTERNVL_HF: Standing(Need.NEEDED, _ELSEWHERE),
        Family.QWEN3_VL: Standing(Need.NEEDED, _ELSEWHERE),
    },
    diagnose=changing(effects.GPU_PREPROCESS),
    processes=("api_server", "worker"),
    # The worker knows tiles that are uint8 and whole; what else the processor would do has no place there.
    needs=(1, 8, 10, 11),
    fits={Family.IDEFICS3: (VLLM, TRANSFORMERS, TORCHVISION)},
    patches={Family.IDEFICS3: (*PREPROCESS, *FIELDS, *CACHE_KEYS, *INPUTS, *FEATURES)},
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
