"""What was not the same when two runs were made, and why that may matter."""

from collections.abc import Callable, Iterator

from vlmprof.model.comparison import EnvironmentDifference
from vlmprof.model.run_info import RunInfo
from vlmprof.units import format_bytes

NOTHING = "none"
_Fact = Callable[[RunInfo], str]


def _engine(info: RunInfo) -> str:
    return f"{info.engine.name} {info.engine.version}" if info.engine else ""


def _arguments(info: RunInfo) -> str:
    """Engine arguments without the program, the model and the port, which every run has of its own."""
    words = list(info.engine.command[1:]) if info.engine else []
    kept = []
    for before, word in zip(["", *words], words, strict=False):
        if word == "--port" or before == "--port" or word.startswith("--port="):
            continue
        if word not in (info.model.path, info.model.name):
            kept.append(word)
    return " ".join(kept)


def _gpus(info: RunInfo) -> str:
    return ", ".join(f"{gpu.name}, {format_bytes(gpu.memory_bytes)}" for gpu in info.host.gpus)


def _drivers(info: RunInfo) -> str:
    return ", ".join(sorted({gpu.driver for gpu in info.host.gpus}))


def _images(info: RunInfo) -> str:
    return (info.workload.load_command or info.workload.image_source) if info.workload else ""


def _load(info: RunInfo) -> str:
    work = info.workload
    if work is None:
        return ""
    rate = "" if work.rate_per_s is None else f", {work.rate_per_s:g} per second"
    return f"{work.requests} requests after {work.warm_up}, concurrency {work.concurrency}{rate}"


def _generation(info: RunInfo) -> str:
    work = info.workload
    return f"at most {work.max_tokens} tokens, seed {work.seed}" if work else ""


def recipes_on(info: RunInfo) -> str:
    """The recipes that were on in some block of a run."""
    return ", ".join(f"{recipe.number} {recipe.slug}" for recipe in info.recipes)


_FACTS: tuple[tuple[str, _Fact, str], ...] = (
    ("model", lambda i: i.model.name, "another model is another amount of work"),
    ("architecture", lambda i: i.model.architecture, "another model is another amount of work"),
    (
        "dtype",
        lambda i: i.model.dtype,
        "each number format has its own kernels, and outputs may differ in the last digits",
    ),
    (
        "engine",
        _engine,
        "versions differ in scheduler, kernels and preprocessing: any stage may have changed",
    ),
    ("engine arguments", _arguments, "batching, caches, parallelism and compilation are set there"),
    ("device", lambda i: i.engine.device if i.engine else "", "the model runs on other hardware"),
    ("Python", lambda i: i.engine.python if i.engine else "", "the speed of all Python stages depends on it"),
    (
        "old behaviour",
        lambda i: f"{i.baseline.name}: {i.baseline.title}" if i.baseline else "",
        "one run asked the engine for what it did before it took a recipe upstream",
    ),
    ("recipes", recipes_on, "this is what a comparison is usually about"),
    (
        "CPU",
        lambda i: f"{i.host.cpu}, {i.host.cores} cores",
        "image transform, tokenizer and IPC run on the CPU",
    ),
    (
        "memory",
        lambda i: format_bytes(i.host.memory_bytes),
        "another machine, or another share of the same one",
    ),
    ("GPU", _gpus, "encoder, prefill and copies run on the GPU"),
    ("GPU driver", _drivers, "launch and copy times depend on the driver"),
    (
        "operating system",
        lambda i: f"{i.host.os}, kernel {i.host.kernel}",
        "another machine or another image",
    ),
    ("images", _images, "other pictures are other numbers of pixels, tiles and tokens"),
    ("prompt", lambda i: i.workload.prompt if i.workload else "", "other prompts have other lengths"),
    ("load", _load, "requests that run beside others wait for them"),
    ("generation", _generation, "end-to-end latency grows with the tokens generated"),
    ("vlmprof", lambda i: i.vlmprof_version, "boundaries of stages may have moved"),
    ("state of the run", lambda i: i.status, "a run that is not complete may lack its slowest requests"),
)
_PACKAGE_REASONS = {
    "torch": "CPU operators, kernels and the allocator come with it",
    "torchvision": "the image processor's resize and normalize come with it",
    "transformers": "the image processor and the chat template come with it",
    "tokenizers": "the tokenizer",
    "pillow": "image decoding and resizing",
    "numpy": "array copies and conversions of the preprocessing",
}
_OTHER_PACKAGE = "a package of the engine's environment"


def environment_differences(baseline: RunInfo, trial: RunInfo) -> list[EnvironmentDifference]:
    """Every fact of `run.json` that may move a time and that the two runs do not share."""
    facts = [
        EnvironmentDifference(what=what, baseline=lower or NOTHING, trial=upper or NOTHING, why=why)
        for what, fact, why in _FACTS
        if (lower := fact(baseline)) != (upper := fact(trial))
    ]
    return [*facts, *_packages(baseline, trial)]


def _packages(baseline: RunInfo, trial: RunInfo) -> Iterator[EnvironmentDifference]:
    lower = baseline.engine.packages if baseline.engine else {}
    upper = trial.engine.packages if trial.engine else {}
    for name in sorted({*lower, *upper}, key=lambda name: (name not in _PACKAGE_REASONS, name)):
        if lower.get(name) != upper.get(name):
            yield EnvironmentDifference(
                what=name,
                baseline=lower.get(name, NOTHING),
                trial=upper.get(name, NOTHING),
                why=_PACKAGE_REASONS.get(name, _OTHER_PACKAGE),
            )
