"""Recipe 2: images are processed as tensors, not with PIL and numpy."""

from vlmprof.patching import Earlier, Exactness, Family, Launch, Need, OldBehaviour, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import TORCHVISION, TORCHVISION_WITHOUT_LANCZOS, VLLM_FROM_26
from vlmprof_recipes.internvl_patches import CHAT_TILES

_PIL = OldBehaviour(
    name="pil",
    title="PIL and numpy",
    fits=(TORCHVISION,),
    request={"mm_processor_kwargs": {"backend": "pil"}},
    permission=Launch(arguments=("--trust-request-mm-kwargs",)),
    asks_permission="vllm.entrypoints.generate.base.protocol:validate_request_mm_kwargs",
    launch=Launch(arguments=("--mm-processor-kwargs", '{"backend": "pil"}')),
    replaced="Idefics3ImageProcessor.*|SmolVLMImageProcessor.*|TorchvisionBackend.*",
    span="mm.pil",
)
_VIDEOS = "its processor takes videos as well, for which transformers has no PIL backend"

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
    earlier={
        Family.IDEFICS3: Earlier(
            fits=(TORCHVISION_WITHOUT_LANCZOS,),
            standing=Standing(
                Need.NEEDED,
                "transformers processes with PIL: torchvision before 0.27 has no Lanczos for tensors, and no patch "
                "here",
            ),
        )
    },
    exactness=Exactness.TOLERANCE,
    tolerance="For InternVLChat 0.05 to 2.5% of the values of a photo differ (median of 28: 0.4%), by up to 12 of "
    "255 levels: PIL and torchvision weigh and round differently when they resize. For SmolVLM, against --baseline "
    "pil, 0.06 to 1.6% (median of 25 photos: 0.6%), by up to 3 levels.",
    baseline={Family.IDEFICS3: _PIL},
    no_baseline={
        Family.INTERNVL_CHAT: "PIL is what the engine uses today: compare with it by `--ab 2`",
        Family.INTERNVL_HF: _VIDEOS,
        Family.QWEN3_VL: _VIDEOS,
    },
)
