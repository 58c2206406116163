"""Recipe 13: processes keep the memory of large tensors from one request to the next."""

from vlmprof.patching import Family, Need, Original, Patch, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import VLLM_FROM_26


def _at_each_request(target: str, parameters: tuple[str, ...], fingerprint: str, *earlier: Original) -> Patch:
    return Patch(
        target=target,
        replacement="vlmprof_recipes.allocator:keep_memory",
        parameters=("self", *parameters),
        fingerprints=(fingerprint,),
        # Each process must also notice that the recipe was switched off.
        follows_switch=False,
        earlier=earlier,
    )


_MULTIMODAL = ("prompt", "mm_data", "mm_uuids", "mm_processor_kwargs", "media_io_kwargs", "skip_mm_cache")
_MULTIMODAL_26 = (
    "prompt",
    "mm_data",
    "mm_uuids",
    "mm_processor_kwargs",
    "tokenization_kwargs",
    "skip_mm_cache",
)
_PATCHES = (
    _at_each_request(
        "vllm.renderers.base:BaseRenderer._process_multimodal",
        _MULTIMODAL,
        "2958b4b4ae23ca56",
        Original(("self", *_MULTIMODAL_26), "6329f194f796c438"),
    ),
    _at_each_request(
        "vllm.v1.engine.core:EngineCore.preprocess_add_request", ("request",), "e3a96663563dcf93"
    ),
    _at_each_request(
        "vllm.v1.worker.worker_base:WorkerWrapperBase.execute_model",
        ("scheduler_output",),
        "beb33a0813e85b30",
    ),
    # What is kept is no different, but a trial's two sides must not answer for one another.
    *CACHE_KEYS,
)
_NEEDED = Standing(Need.NEEDED, "glibc maps and unmaps tensors of more than 32 MiB with every request")

recipe = Recipe(
    number=13,
    slug="keep_memory",
    title="keep the memory of large tensors",
    paper="Not in the paper.",
    here="What a request frees stays with the process and is used again: no mapping, no page faults, no zeroing by "
    "the kernel. mallopt is told so in the running processes; each may hold on to as much as its largest "
    "request took. MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ in the environment do the same from the "
    "start.",
    standing=dict.fromkeys(Family, _NEEDED),
    diagnose=changing(effects.KEEP_MEMORY, note="messages between processes gain too, which is not counted"),
    processes=("api_server", "engine_core", "worker"),
    fits=dict.fromkeys(Family, (VLLM_FROM_26,)),
    patches=dict.fromkeys(Family, _PATCHES),
)
