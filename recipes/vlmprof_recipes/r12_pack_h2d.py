"""Recipe 12: one packed copy to the device."""

from vlmprof.patching import Family, Need, Recipe, Standing
from vlmprof_recipes.diagnosis import not_diagnosed

_ONE_TENSOR = Standing(Need.NOT_APPLICABLE, "one tensor of pixels an image is copied: nothing to pack")

recipe = Recipe(
    number=12,
    slug="pack_h2d",
    title="pack copies to the device",
    paper="One packed copy in the place of many small ones.",
    here="vLLM batches the tensors of a step before it copies them; what is left of SmolVLM's after recipe 10 "
    "is one tensor.",
    standing={
        Family.IDEFICS3: Standing(
            Need.NOT_APPLICABLE, "recipe 10 leaves one tensor; num_patches stays on the CPU (keep_on_cpu)"
        ),
        Family.INTERNVL_CHAT: _ONE_TENSOR,
        Family.INTERNVL_HF: _ONE_TENSOR,
        Family.QWEN3_VL: Standing(Need.UPSTREAM, "pixels and grid; the V2 model runner's UVA buffers"),
    },
    diagnose=not_diagnosed,
    processes=("worker",),
)
