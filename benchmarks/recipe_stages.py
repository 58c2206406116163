"""What each recipe saves in the engine's image processor, alone and together, without a server.

python -m benchmarks.recipe_stages CHECKPOINT... [--rounds 12] [--images 3]

Times are of one thread, from the decoded image to the fields that are sent, with the recipes switched between
rounds inside one process; the worker's share is what it does to uint8 tiles before the vision encoder.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.record import write_results
from vlmprof.analysis.stats import paired_ratio
from vlmprof.errors import RecipeMisfit
from vlmprof.patching import Exactness, Family, PatchSet, Recipe, RecipeSwitch, family_of
from vlmprof.patching.registry import check_together, load_recipes, narrowed
from vlmprof.workload.coco_like import coco_like_jpeg

Numbers = tuple[int, ...]
GPU_PREPROCESS = 3
_TILES_NDIM = 4
LAST_OF_THE_PAPER = 12
"""Later recipes change what is around the processor."""


@dataclass(frozen=True)
class Stage:
    """One set of recipes in the processor.

    Attributes:
        ratio, low, high: of its time to the engine's own, with the 95% interval.
        sent_bytes: of one image.
        worker_ms: what the worker does to uint8 tiles beside.
    """

    numbers: Numbers
    processor_ms: float
    ratio: float
    low: float
    high: float
    sent_bytes: int
    worker_ms: float
    backend: str = ""
    """The processor's, where it is not the engine's own choice."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--images", type=int, default=3, help="A round measures every set on so many images.")
    options = parser.parse_args()
    figures = {}
    for checkpoint in options.checkpoints:
        family = family_of(json.loads((checkpoint / "config.json").read_text()))
        if family is None:
            parser.error(f"no recipe speaks about the model in {checkpoint}")
        figures[str(family)] = measured(checkpoint, family, options.rounds, options.images)
    write_results(
        "recipe_stages",
        {"families": {name: [asdict(stage) for stage in stages] for name, stages in figures.items()}},
        markdown(figures),
    )


def measured(checkpoint: Path, family: Family, rounds: int, n_images: int) -> list[Stage]:
    """Every set of recipes that the family has, in random order in each round."""
    recipes = narrowed(load_recipes(), family)
    sets = [(), *recipe_sets(recipes, family)]
    switch = RecipeSwitch.private()
    patches = PatchSet(
        [recipes[number] for number in sorted({n for each in sets for n in each})], switch, family
    )
    patches.check()
    patches.apply()
    prepare = processor_of(checkpoint)
    by_pil = processor_of(checkpoint, {"backend": "pil"}) if recipes[2].baseline.get(family) else None
    pil_times: list[list[float]] = []
    images = [decoded(index) for index in range(n_images)]
    times: dict[Numbers, list[list[float]]] = {numbers: [] for numbers in sets}
    order = random.Random(0)
    for numbers in sets:
        switch.set(numbers)
        prepare(images[0])
    for _ in range(rounds):
        for numbers in order.sample(sets, len(sets)):
            switch.set(numbers)
            times[numbers].append([seconds(prepare, image) for image in images])
        if by_pil is not None:
            switch.set([])
            pil_times.append([seconds(by_pil, image) for image in images])
    stages = []
    for numbers in sets:
        switch.set(numbers)
        stages.append(stage(numbers, times[()], times[numbers], prepare(images[0]), family))
    if by_pil is not None:
        switch.set([])
        by_pil_stage = stage((), times[()], pil_times, by_pil(images[0]), family)
        stages.append(replace(by_pil_stage, backend="pil"))
    patches.undo()
    return stages


def recipe_sets(recipes: dict[int, Recipe], family: Family) -> list[Numbers]:
    """Each recipe that acts in the processor with what it needs, the exact ones together, and all of them."""
    acting = {number: each for number, each in recipes.items() if each.patches_for(family)}
    acting = {
        number: each
        for number, each in acting.items()
        if number <= LAST_OF_THE_PAPER and "api_server" in each.processes
    }
    alone = [tuple(sorted({number, *each.needs})) for number, each in acting.items()]
    exact = tuple(number for number, each in acting.items() if each.exactness is Exactness.EXACT)
    # What the processor itself can reach: recipe 3 leaves its work to the worker.
    tiles = tuple(number for number in exact if number != GPU_PREPROCESS)
    together = [numbers for numbers in (tiles, exact, tuple(acting)) if fits(numbers, recipes, family)]
    return list(dict.fromkeys(alone + together))


def fits(numbers: Numbers, recipes: dict[int, Recipe], family: Family) -> bool:
    """Whether a set may be on together."""
    try:
        check_together(numbers, recipes, family)
    except RecipeMisfit:
        return False
    return True


def processor_of(checkpoint: Path, options: dict[str, str] | None = None) -> Callable[[Any], Any]:
    """The engine's own preparation of a prompt with one image."""
    import torch
    from vllm.config import ModelConfig
    from vllm.multimodal import MULTIMODAL_REGISTRY
    from vllm.multimodal.processing import ProcessorInputs, TimingContext

    torch.set_num_threads(1)
    config = ModelConfig(
        model=str(checkpoint),
        tokenizer=str(checkpoint),
        # The class of InternVL's config lies in the checkpoint.
        trust_remote_code=True,
        dtype="bfloat16",
        max_model_len=8192,
        mm_processor_kwargs=options,
    )
    processor = MULTIMODAL_REGISTRY.create_processor(config)
    text = processor.dummy_inputs.get_dummy_text({"image": 1})
    prompt = processor.info.get_tokenizer().encode(text)

    def prepare(image: Any) -> Any:
        items = processor.info.parse_mm_data({"image": [image]})
        return processor.apply(ProcessorInputs(prompt, items), TimingContext(enabled=False))

    return prepare


def decoded(index: int) -> Any:
    """A 640x480 JPEG as the engine decodes it."""
    from vllm.multimodal.media import ImageMediaIO

    return ImageMediaIO().load_bytes(coco_like_jpeg(0, index, 640, 480))


def seconds(call: Callable[..., Any], *args: Any) -> float:
    start = time.perf_counter()
    call(*args)
    return time.perf_counter() - start


def stage(
    numbers: Numbers,
    own: Sequence[Sequence[float]],
    blocks: Sequence[Sequence[float]],
    prepared: Any,
    family: Family,
) -> Stage:
    """The figures of one set."""
    tensors = {name: field.data for name, field in prepared["mm_kwargs"]["image"][0].items()}
    ratio = paired_ratio(own, blocks)
    assert ratio is not None, "two rounds and two images at least"
    return Stage(
        numbers=numbers,
        processor_ms=statistics.median(each for block in blocks for each in block) * 1e3,
        ratio=ratio.ratio,
        low=ratio.low,
        high=ratio.high,
        sent_bytes=sum(tensor.nbytes for tensor in tensors.values()),
        worker_ms=worker_ms(tensors, family),
    )


def worker_ms(tensors: dict[str, Any], family: Family) -> float:
    """Median time in which the worker normalizes one image's uint8 tiles; 0 where it has none."""
    import torch

    from vlmprof_recipes.idefics3_inputs import normalized
    from vlmprof_recipes.internvl_inputs import normalized_after_rescaling, normalized_with_rescaling

    normalize = {
        Family.IDEFICS3: normalized,
        Family.INTERNVL_CHAT: normalized_after_rescaling,
        Family.INTERNVL_HF: normalized_with_rescaling,
    }.get(family)
    # A whole image, which becomes tiles there, is no tile yet.
    named = (tensor for name, tensor in tensors.items() if name.endswith("_uint8"))
    tiles = next((tensor for tensor in named if tensor.ndim == _TILES_NDIM), None)
    if normalize is None or tiles is None:
        return 0.0
    return statistics.median(seconds(normalize, tiles, torch.bfloat16) for _ in range(9)) * 1e3


def markdown(figures: dict[str, list[Stage]]) -> str:
    """One table for each family."""
    parts = [
        "# Recipes in the image processor",
        "",
        "One 640x480 JPEG, from the decoded image to the fields that are sent, one thread; medians, recipes "
        "switched between rounds inside one process. The worker's column is what uint8 tiles cost there.",
    ]
    for family, stages in figures.items():
        parts += [
            "",
            f"## {family}",
            "",
            "| recipes | processor, ms | ratio | 95% interval | sent, MB | worker, ms |",
            "|---|---|---|---|---|---|",
            *rows(stages),
        ]
    return "\n".join(parts)


def rows(stages: Iterable[Stage]) -> list[str]:
    return [
        f"| {_name(each)} | {each.processor_ms:.1f} | {each.ratio:.3f} "
        f"| {each.low:.3f} to {each.high:.3f} | {each.sent_bytes / 1e6:.2f} | {each.worker_ms:.1f} |"
        for each in stages
    ]


def _name(each: Stage) -> str:
    return f"none, {each.backend} backend" if each.backend else ", ".join(map(str, each.numbers)) or "none"


if __name__ == "__main__":
    main()
