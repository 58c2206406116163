"""Recipe 2: images are processed as tensors, not with PIL and numpy."""

from vlmprof.patching import Exactness, Family, Launch, Need, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import VLLM_FROM_26
from vlmprof_recipes.internvl_patches import CHAT_TILES

_PIL_BACKEND = Launch(arguments=("--mm-processor-kwargs", '{"backend": "pil"}'))

recipe = Recipe(
    number=2,
    slug="tensor_image_processing",
    title="tensor image processing",
    paper="torchvision on tensors in the place of PIL and numpy.",
    here="transformers 5 processes with torchvision unless it is asked for its pil backend; of the served "
    "models only InternVLChat, whose processor is vLLM's own, still goes through PIL.",
    standing={
        Family.IDEFICS3: Standing(Need.UPSTREAM, "transformers.image_processing_backends.TorchvisionBackend"),
        Family.INTERNVL_CHAT: Standing(
            Need.NEEDED, "dynamic_preprocess_internvl of vllm.transformers_utils.processors.internvl: PIL"
        ),
        Family.INTERNVL_HF: Standing(
            Need.UPSTREAM, "transformers.image_processing_backends.TorchvisionBackend"
        ),
        Family.QWEN3_VL: Standing(Need.UPSTREAM, "transformers.image_processing_backends.TorchvisionBackend"),
    },
    diagnose=changing(effects.TENSOR_PROCESSING),
    processes=("api_server",),
    fits={Family.INTERNVL_CHAT: (VLLM_FROM_26,)},
    patches={Family.INTERNVL_CHAT: (*CHAT_TILES, *CACHE_KEYS)},
    exactness=Exactness.TOLERANCE,
    tolerance="For InternVLChat 0.05 to 2.5% of the values of a photo differ (median of 28: 0.4%), by up to 12 of "
    "255 levels: PIL and torchvision weigh and round differently when they resize.",
    # The processors of the others take videos as well, which that backend does not.
    baseline={Family.IDEFICS3: _PIL_BACKEND},
)
