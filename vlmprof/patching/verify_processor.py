"""Recipes against the engine's own multimodal processor and the worker's code up to its vision encoder.

Run in the engine's interpreter, which need not be ours. Reads a job from one file and writes to another one JSON
line for each prompt and set of recipes, a `ProcessorCheck`; what libraries print is no part of it:

    python -m vlmprof.patching.verify_processor JOB RESULTS
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from vlmprof.model.verification import (
    Pixels,
    PixelsCompared,
    PixelsMismatched,
    PixelsUnseen,
    ProcessorCheck,
)
from vlmprof.patching.family import Family
from vlmprof.patching.patch_set import PatchSet
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.switch import RecipeSwitch
from vlmprof.patching.verify_worker import WorkerModel


class ProcessorJob(msgspec.Struct, frozen=True, kw_only=True):
    """What to check.

    Attributes:
        family: name of the `Family`.
        sets: numbers of the recipes that are on together.
        prompts: paths of the images of each prompt.
    """

    model: str
    family: str
    trust_remote_code: bool
    sets: list[list[int]]
    prompts: list[list[str]]


@dataclass(frozen=True, slots=True)
class ProcessedPrompt:
    """What became of one prompt: what the vision encoder gets, or the reason of its refusal.

    Attributes:
        pixels: as the vision encoder gets them; those of neighbouring images are one tensor where they fit.
        embedded_raw: whether the encoder gets uint8 in their place; see `PixelsCompared`.
        worker_error: what the worker's code raised.
    """

    token_ids: tuple[int, ...] = ()
    ranges: tuple[Any, ...] = ()
    pixels: tuple[Any, ...] = ()
    embedded_raw: bool = False
    worker_error: str = ""
    refused: str = ""


class ModelProcessor:
    """vLLM's processor of a checkpoint, fed as its API server feeds it, and the worker behind it.

    Args:
        model: the checkpoint; switch: of the recipes that are installed here.
        trust_remote_code: whether code that comes with the checkpoint may run.
    """

    def __init__(
        self, model: str, family: Family, switch: RecipeSwitch, *, trust_remote_code: bool = False
    ) -> None:
        from vllm.config import ModelConfig
        from vllm.multimodal import MULTIMODAL_REGISTRY
        from vllm.tokenizers import cached_tokenizer_from_config

        config = ModelConfig(
            model=model, dtype="bfloat16", max_model_len=8192, seed=0, trust_remote_code=trust_remote_code
        )
        self._tokenizer = cached_tokenizer_from_config(config)
        self._processor = MULTIMODAL_REGISTRY.create_processor(config, tokenizer=self._tokenizer)
        self._worker = WorkerModel(config, family)
        self._family = family
        self._switch = switch

    def process(self, images: list[bytes], numbers: Sequence[int]) -> ProcessedPrompt:
        """What a set of recipes makes of a prompt of these images, in the API server and in the worker."""
        self._switch.set(numbers)
        try:
            output = self._processed(images)
        except Exception as error:  # noqa: BLE001 - the engine's API server refuses the request on any of them
            return ProcessedPrompt(refused=_one_line(error))
        prompt = ProcessedPrompt(
            token_ids=tuple(output["prompt_token_ids"]),
            ranges=tuple(_range(each) for each in output["mm_placeholders"]["image"]),
        )
        try:
            return self._in_worker(prompt, output["mm_kwargs"]["image"])
        except Exception as error:  # noqa: BLE001 - whatever is raised in a worker would end the engine
            return replace(prompt, worker_error=_one_line(error))

    def _processed(self, images: list[bytes]) -> Any:
        """Decode the images and process them with a text that names each."""
        from vllm.multimodal.media.image import ImageMediaIO
        from vllm.multimodal.processing import ProcessorInputs, TimingContext

        decoded = [ImageMediaIO().load_bytes(content) for content in images]
        items = self._processor.info.parse_mm_data({"image": decoded})
        text = self._processor.dummy_inputs.get_dummy_text({"image": len(images)})
        inputs = ProcessorInputs(self._tokenizer.encode(f"{text} Describe it."), items, None)
        return self._processor.apply(inputs, TimingContext(enabled=False))

    def _in_worker(self, prompt: ProcessedPrompt, items: Sequence[Any]) -> ProcessedPrompt:
        """The prompt with its pixels.

        A recipe may leave the normalization to the patch embedding. The worker then normalizes the very same
        tiles when the recipes are off, as it must for a request that was prepared before a switch.
        """
        import torch

        pixels = self._worker.encoder_pixels(items)
        raw = self._family is not Family.QWEN3_VL and any(each.dtype == torch.uint8 for each in pixels)
        if raw:
            self._switch.set([])
            pixels = self._worker.encoder_pixels(items)
        return replace(prompt, pixels=tuple(pixels), embedded_raw=raw)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _range(placeholder: Any) -> tuple[Any, ...]:
    embedded = placeholder.is_embed
    return placeholder.offset, placeholder.length, None if embedded is None else tuple(embedded.tolist())


def compared_pixels(expected: ProcessedPrompt, found: ProcessedPrompt) -> Pixels:
    """Pixels of a prompt with recipes against those without; neither side may lack them and pass for equal."""
    if expected.refused or found.refused:
        return PixelsUnseen(reason="the prompt was refused")
    if expected.worker_error or found.worker_error:
        side, error = (
            ("without", expected.worker_error) if expected.worker_error else ("with", found.worker_error)
        )
        return PixelsUnseen(reason=f"the worker fails {side} recipes: {error}")
    if _layout(expected) != _layout(found):
        return PixelsMismatched(found=_layout(found), expected=_layout(expected))
    pairs = zip(expected.pixels, found.pixels, strict=True)
    apart = [_apart(one, other) for one, other in pairs if one.numel()]
    if not apart:
        return PixelsUnseen(reason="the vision encoder gets none")
    largest = max(float(each.max()) for each in apart)
    if not math.isfinite(largest):
        return PixelsUnseen(reason="they differ by no finite number")
    return PixelsCompared(
        max_difference=largest,
        mean_difference=sum(float(each.sum()) for each in apart) / sum(each.numel() for each in apart),
        embedded_raw=found.embedded_raw,
    )


def _apart(one: Any, other: Any) -> Any:
    """Absolute differences in float32, of two tensors of one shape and dtype."""
    return (one.float() - other.float()).abs()


def _layout(prompt: ProcessedPrompt) -> str:
    """Dtype and shape of the pixels, in words."""
    parts = [f"{str(each.dtype).removeprefix('torch.')} {list(each.shape)}" for each in prompt.pixels]
    return " and ".join(parts) or "none"


def check_all(job: ProcessorJob) -> Iterator[ProcessorCheck]:
    """Each prompt of a job without recipes, then under each set of them."""
    family, switch = Family[job.family], RecipeSwitch.private()
    recipes = load_recipes()
    used = sorted({number for numbers in job.sets for number in numbers})
    patches = PatchSet([recipes[number] for number in used], switch, family)
    patches.apply()
    processor = ModelProcessor(job.model, family, switch, trust_remote_code=job.trust_remote_code)
    for prompt in job.prompts:
        images = [Path(each).read_bytes() for each in prompt]
        expected = processor.process(images, [])
        for numbers in job.sets:
            failed_before = _failures(patches)
            found = processor.process(images, numbers)
            yield ProcessorCheck(
                recipes=numbers,
                images=[Path(each).name for each in prompt],
                refused=found.refused,
                refused_without=expected.refused,
                ids_equal=found.token_ids == expected.token_ids,
                ranges_equal=found.ranges == expected.ranges,
                pixels=compared_pixels(expected, found),
                failures=_failures(patches) - failed_before,
            )


def _failures(patches: PatchSet) -> int:
    return sum(counts.failures for counts in patches.counts().values())


def main() -> None:
    """The program."""
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ProcessorJob)
    with Path(sys.argv[2]).open("wb") as results:
        for check in check_all(job):
            results.write(msgspec.json.encode(check) + b"\n")
            results.flush()


if __name__ == "__main__":
    main()
