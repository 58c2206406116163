"""vLLM's arms of `benchmarks/gpu.py`: each a whole `vlmprof run` with a GPU profiler, of a server of its own."""

import sys
from collections.abc import Iterator

from benchmarks.gpu_workload import Trial
from vlmprof.errors import VlmprofError
from vlmprof.model.run_folder import RunFolder
from vlmprof.session.options import RunOptions
from vlmprof.session.profile import profile

_ENGINE_ARGS = ("--max-model-len", "8192")
_PRECISION_ARGS: dict[str, tuple[str, ...]] = {"bfloat16": (), "fp8": ("--quantization", "fp8")}


def measure_precisions(trial: Trial) -> Iterator[tuple[str, RunFolder]]:
    """Serve the model once in each precision; a server that fails is noted, and the next one tried."""
    for precision in trial.precisions:
        try:
            yield precision, profile(_options(trial, precision), _Printed())
        except VlmprofError as error:
            trial.notes.append(f"{trial.checkpoint.name} with vLLM in {precision}: {error.message}")


def _options(trial: Trial, precision: str) -> RunOptions:
    # Compiling for the CPU takes longer than a trial of the way.
    eager = ("--enforce-eager",) if trial.device == "cpu" else ()
    return RunOptions(
        model=str(trial.checkpoint),
        out=trial.path("vllm", precision),
        command=sys.argv,
        requests=trial.workload.requests,
        warm_up=trial.workload.warm_up,
        max_tokens=trial.workload.max_tokens,
        cpu_profiler="none",
        overwrite=True,
        engine_args=[*_ENGINE_ARGS, *_PRECISION_ARGS[precision], *eager],
    )


class _Printed:
    """Progress on one line a step."""

    def step(self, title: str) -> None:
        print(title, file=sys.stderr)

    def detail(self, text: str) -> None: ...

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)
