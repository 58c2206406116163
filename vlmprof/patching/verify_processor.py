"""Recipes against the engine's own multimodal processor; run in the engine's interpreter, which need not be ours.

Reads a job from the file that is its one argument and writes one JSON line for each set of recipes and prompt:

    python -m vlmprof.patching.verify_processor JOB
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmprof.patching.family import Family
from vlmprof.patching.patch_set import PatchSet
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.switch import RecipeSwitch


@dataclass(frozen=True, slots=True)
class ProcessedPrompt:
    """What the processor made of one prompt: what the worker gets, or the reason of its refusal.

    Attributes:
        pixels: of each image, as the vision encoder gets them; None where the worker makes them.
    """

    token_ids: tuple[int, ...] = ()
    ranges: tuple[Any, ...] = ()
    pixels: tuple[Any, ...] = ()
    refused: str = ""


class ModelProcessor:
    """vLLM's processor of a checkpoint, fed as its API server feeds it.

    Args:
        model: the checkpoint; family: decides how uint8 pixels are normalized.
        trust_remote_code: whether code that comes with the checkpoint may run.
    """

    def __init__(self, model: str, family: Family, *, trust_remote_code: bool = False) -> None:
        from vllm.config import ModelConfig
        from vllm.multimodal import MULTIMODAL_REGISTRY
        from vllm.tokenizers import cached_tokenizer_from_config

        config = ModelConfig(
            model=model, dtype="bfloat16", max_model_len=8192, seed=0, trust_remote_code=trust_remote_code
        )
        self._tokenizer = cached_tokenizer_from_config(config)
        self._processor = MULTIMODAL_REGISTRY.create_processor(config, tokenizer=self._tokenizer)
        self._family = family

    def process(self, images: list[bytes]) -> ProcessedPrompt:
        """Decode the images and process them with a text that names each; whatever is raised is a refusal."""
        from vllm.multimodal.media.image import ImageMediaIO
        from vllm.multimodal.processing import ProcessorInputs, TimingContext

        try:
            decoded = [ImageMediaIO().load_bytes(content) for content in images]
            items = self._processor.info.parse_mm_data({"image": decoded})
            text = self._processor.dummy_inputs.get_dummy_text({"image": len(images)})
            inputs = ProcessorInputs(self._tokenizer.encode(f"{text} Describe it."), items, None)
            output = self._processor.apply(inputs, TimingContext(enabled=False))
        except Exception as error:  # noqa: BLE001 - the engine's API server refuses the request on any of them
            return ProcessedPrompt(refused=f"{type(error).__name__}: {error}".splitlines()[0])
        return ProcessedPrompt(
            token_ids=tuple(output["prompt_token_ids"]),
            ranges=tuple(_range(each) for each in output["mm_placeholders"]["image"]),
            pixels=tuple(self._encoder_pixels(item) for item in output["mm_kwargs"]["image"]),
        )

    def _encoder_pixels(self, item: Any) -> Any:
        """An image's pixels as the vision encoder gets them: uint8 ones normalized as the worker does."""
        import torch

        name = next((each for each in item if each.startswith("pixel_values")), None)
        if name is None:
            return None
        pixels = item[name].data
        if pixels.dtype != torch.uint8 or self._family is Family.QWEN3_VL:
            return pixels
        mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in self._scale())
        if self._family is Family.INTERNVL_CHAT:
            normalized = [(tile.float() / 255 - mean) / deviation for tile in pixels]
        else:
            normalized = [(tile.float() - mean * 255) / (deviation * 255) for tile in pixels]
        return torch.stack(normalized).to(torch.bfloat16)

    def _scale(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of the checkpoint's image processor; vLLM's own for InternVLChat has constants."""
        if self._family is Family.INTERNVL_CHAT:
            from vllm.transformers_utils.processors import internvl

            return list(internvl.IMAGENET_MEAN), list(internvl.IMAGENET_STD)
        image_processor = self._processor.info.get_hf_processor().image_processor
        return list(image_processor.image_mean), list(image_processor.image_std)


def _range(placeholder: Any) -> tuple[Any, ...]:
    embedded = placeholder.is_embed
    return placeholder.offset, placeholder.length, None if embedded is None else tuple(embedded.tolist())


def difference(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[float, float] | None:
    """Largest and mean absolute difference of two prompts' pixels; None where they cannot be compared here."""
    if any(each is None for each in (*one, *other)):
        return None
    if [(each.shape, each.dtype) for each in one] != [(each.shape, each.dtype) for each in other]:
        return None
    apart = [(a.float() - b.float()).abs() for a, b in zip(one, other, strict=True)]
    values = sum(each.numel() for each in apart)
    if not values:
        return 0.0, 0.0
    return max(float(each.max()) for each in apart), sum(float(each.sum()) for each in apart) / values


def check_all(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each prompt of a job without recipes, then under each set of them.

    Args:
        job: `model`, `family`, `trust_remote_code`, `sets` (lists of numbers), `prompts` (lists of images'
            paths).
    """
    family, switch = Family[job["family"]], RecipeSwitch.private()
    recipes = load_recipes()
    used = sorted({number for numbers in job["sets"] for number in numbers})
    patches = PatchSet([recipes[number] for number in used], switch, family)
    patches.apply()
    processor = ModelProcessor(job["model"], family, trust_remote_code=job["trust_remote_code"])
    for prompt in job["prompts"]:
        images = [Path(each).read_bytes() for each in prompt]
        switch.set([])
        expected = processor.process(images)
        for numbers in job["sets"]:
            failed_before = _failures(patches)
            switch.set(numbers)
            found = processor.process(images)
            yield _compared(numbers, prompt, expected, found) | {
                "failures": _failures(patches) - failed_before
            }


def _compared(
    numbers: list[int], prompt: list[str], expected: ProcessedPrompt, found: ProcessedPrompt
) -> dict[str, Any]:
    apart = difference(expected.pixels, found.pixels)
    return {
        "recipes": numbers,
        "images": [Path(each).name for each in prompt],
        "refused": found.refused,
        "refused_without": expected.refused,
        "ids_equal": found.token_ids == expected.token_ids,
        "ranges_equal": found.ranges == expected.ranges,
        "max_difference": None if apart is None else apart[0],
        "mean_difference": None if apart is None else apart[1],
    }


def _failures(patches: PatchSet) -> int:
    return sum(counts.failures for counts in patches.counts().values())


def main() -> None:
    """The program."""
    for check in check_all(json.loads(Path(sys.argv[1]).read_bytes())):
        sys.stdout.write(json.dumps(check) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
