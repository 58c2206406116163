"""Recipe 4: page-locked buffers for copies to the device."""

from vlmprof.patching import Family, Need, Recipe, Standing
from vlmprof_recipes.diagnosis import not_diagnosed

_UPSTREAM = Standing(
    Need.UPSTREAM, "vllm.multimodal.utils.group_and_batch_mm_kwargs(pin_memory=True), _nested_tensors_h2d"
)

recipe = Recipe(
    number=4,
    slug="pin_memory",
    title="pinned memory",
    paper="Page-locked host buffers for copies to the device.",
    here="vLLM batches image tensors into pinned memory and copies them without blocking; the CPU build has no "
    "device to copy to.",
    standing=dict.fromkeys(Family, _UPSTREAM),
    diagnose=not_diagnosed,
    processes=("worker",),
)
