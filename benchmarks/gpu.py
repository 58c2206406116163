"""A GPU under vlmprof: TTFT by stage, kernel timelines, bfloat16 against FP8 W8A8, and what profiling costs.

    python -m benchmarks.gpu [--models SmolVLM-256M InternVL3-2B-hf] [--engines transformers vllm] [--rounds 4]

The models have their full size and random weights: the checkpoints are made where they are absent. transformers
serves them in this process; vLLM, where it is installed, as `vlmprof run` starts it. Each is measured in bfloat16
and in FP8, layer beside layer as in the paper's figure 4. Without an NVIDIA GPU: one line, exit code 3.

    python -m benchmarks.gpu --device cpu --scale small --engines transformers --rounds 1 --per-block 2

tries the way where there is no GPU. Results are written for a GPU and full models alone; else they are printed.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu_figures import Figures, figures_of, layers_beside
from benchmarks.gpu_markdown import markdown
from benchmarks.gpu_workload import Trial, Workload
from vlmprof.errors import ToolMissing, VlmprofError
from vlmprof.model.run_folder import RunFolder
from vlmprof.models import SCALES, make_checkpoint

ROOT = Path(__file__).parents[1]
MODELS = ("SmolVLM-256M", "InternVL3-2B-hf")
ENGINES = ("transformers", "vllm")
PRECISIONS = ("bfloat16", "fp8")


def main() -> int:
    options = _parsed()
    try:
        device = describe_device(options.device)
    except ToolMissing as error:
        print(f"benchmarks/gpu.py: {error.message}: {error.hint}", file=sys.stderr)
        return error.exit_code
    figures = measure(options, device)
    if options.device == "cuda" and options.scale == "full":
        from benchmarks.record import write_results

        write_results("gpu", figures, markdown(figures))
    else:
        print(markdown(figures))
        print("\nA trial: nothing was written under results/.")
    return 0 if figures["arms"] else 1


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, help="All that are installed, if not given.")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--scale", choices=SCALES, default="full")
    parser.add_argument("--rounds", type=int, default=4, help="Pairs of a control and a profiled block.")
    parser.add_argument("--per-block", type=int, default=5, help="Requests of a block.")
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "gpu", help="Where the run folders go.")
    return parser.parse_args()


def describe_device(device: str) -> str:
    """The name of what is measured.

    Raises:
        ToolMissing: there is no GPU that torch can use.
    """
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise ToolMissing("torch and transformers are not installed", hint="pip install '.[models]'")
    if device == "cpu":
        return "The CPU, which is no GPU: these are no results"
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says at length what the one line says
        available = torch.cuda.is_available()
    if not available:
        raise ToolMissing(
            "no NVIDIA GPU: torch finds no CUDA device",
            hint="--device cpu --scale small tries the way without one",
        )
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def measure(options: argparse.Namespace, device: str) -> Figures:
    """Every model with every engine in every precision; what fails is noted, and the rest goes on."""
    workload = Workload(options.rounds, options.per_block, max_tokens=options.max_tokens)
    figures: Figures = {
        "device": device,
        "scale": options.scale,
        "workload": workload.as_dict(),
        "arms": [],
        "fp8": [],
        "notes": [],
    }
    for model in options.models:
        checkpoint = checkpoint_of(model, options.scale)
        wanted = [each for each in PRECISIONS if each in options.precisions]
        for engine in options.engines or _installed():
            trial = Trial(checkpoint, wanted, workload, options.runs, options.device, figures["notes"])
            _measure_engine(model, engine, trial, figures)
    return figures


def _measure_engine(model: str, engine: str, trial: Trial, figures: Figures) -> None:
    folders: dict[str, RunFolder] = {}
    try:
        for precision, folder in _measured(engine)(trial):
            print(f"{model}, {engine}, {precision}: {folder.path}", file=sys.stderr)
            folders[precision] = folder
            named = {"model": model, "engine": engine, "precision": precision}
            figures["arms"].append({**named, **figures_of(folder)})
    except VlmprofError as error:
        trial.notes.append(f"{model} with {engine}: {error.message}")
    if len(folders) == len(PRECISIONS):
        phases = layers_beside(*(folders[each] for each in PRECISIONS))
        figures["fp8"].append({"model": model, "engine": engine, "phases": phases})


def _installed() -> list[str]:
    return [engine for engine in ENGINES if find_spec(engine) is not None]


def _measured(engine: str) -> Callable[[Trial], Iterator[tuple[str, RunFolder]]]:
    if engine == "vllm":
        from benchmarks.gpu_vllm import measure_precisions
    else:
        from benchmarks.gpu_transformers import measure_precisions
    return measure_precisions


def checkpoint_of(model: str, scale: Any) -> Path:
    """Its folder, made if it is not there."""
    folder = ROOT / "checkpoints" / f"{model.lower()}-{scale}"
    if not (folder / "config.json").exists():
        print(f"Making {folder}", file=sys.stderr)
        make_checkpoint(model, folder, scale=scale, force=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
