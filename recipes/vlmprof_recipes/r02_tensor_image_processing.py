"""Recipe 2: images are processed as tensors, not with PIL and numpy."""

from vlmprof.patching import Exactness, Family, Need, Recipe, Standing
from vlmprof_recipes.diagnosis import not_diagnosed

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
            Need.NEEDED, "vllm.transformers_utils.processors.internvl resizes with PIL; no patch here yet"
        ),
        Family.INTERNVL_HF: Standing(
            Need.UPSTREAM, "transformers.image_processing_backends.TorchvisionBackend"
        ),
        Family.QWEN3_VL: Standing(Need.UPSTREAM, "transformers.image_processing_backends.TorchvisionBackend"),
    },
    diagnose=not_diagnosed,
    processes=("api_server",),
    exactness=Exactness.TOLERANCE,
    tolerance="For InternVLChat 0.15 to 1.6% of normalized values differ, by at most 0.18: PIL and torchvision "
    "round differently when they resize.",
)
