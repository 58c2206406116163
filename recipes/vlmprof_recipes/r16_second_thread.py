"""Recipe 16: a CPU engine's worker that has one core computes prompts on two."""

from vlmprof.model.run_folder import RunFolder
from vlmprof.patching import Diagnosis, Exactness, Family, Need, Patch, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import VLLM_FROM_26

_STEP = Patch(
    target="vllm.v1.worker.gpu_worker:Worker.execute_model",
    replacement="vlmprof_recipes.worker_cores:prompts_on_two_cores",
    parameters=("self", "scheduler_output"),
    fingerprints=("4bfe1e071ab1eb56", "0fd3a503d1a3186f"),
)
_START = Patch(
    target="vllm.utils.ompmultiprocessing:OMPProcessManager.configure_omp_envs",
    replacement="vlmprof_recipes.worker_cores:soon_asleep",
    parameters=("self", "rank", "local_rank"),
    fingerprints=("4ca18612d29f5806",),
    # A worker is started once, whatever is on by then.
    follows_switch=False,
    shows_use=False,
)
_NEEDED = Standing(
    Need.NEEDED,
    "OMPProcessManager binds the worker to one of two cores. VLLM_CPU_OMP_THREADS_BIND can give it both, for all "
    "steps: later tokens take longer then",
)


_changing = changing(effects.SECOND_THREAD)


def _diagnose(run: RunFolder) -> Diagnosis:
    host = run.read_info().host
    return _changing(run) if host.cores == 2 and not host.gpus else Diagnosis()


recipe = Recipe(
    number=16,
    slug="second_thread",
    title="a CPU with two cores computes prompts on both",
    paper="Not in the paper, whose servers have GPUs.",
    here="vLLM's CPU engine computes on all cores but one, which is for the API server and the engine core: with "
    "two cores, on one. Until the first token of a lone request either they work or the worker does: a step with "
    "a prompt may have both. Steps of single tokens, between which the engine core is asked, keep to one, and "
    "tokens come as fast as before. The recipe changes nothing on more cores, on a GPU, and where "
    "VLLM_CPU_OMP_THREADS_BIND says which cores to take.",
    standing=dict.fromkeys(Family, _NEEDED),
    diagnose=_diagnose,
    processes=("api_server", "engine_core", "worker"),
    exactness=Exactness.TOLERANCE,
    tolerance="Sums are divided among two threads, and so are added up in another order.",
    fits=dict.fromkeys(Family, (VLLM_FROM_26,)),
    patches=dict.fromkeys(Family, (_STEP, _START, *CACHE_KEYS)),
)
