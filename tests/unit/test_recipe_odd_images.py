"""Odd images with recipes on: each is accepted or refused, and prepared, as the engine does it without recipes.

Alone and two in a request, in every combination, for InternVL in its two forms and Qwen3-VL. Images are square
and small, so that most are one tile: what is odd about them does not hang on their size.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="the models' extra is not installed")
pytest.importorskip("vllm", reason="vLLM is not installed")

from vllm.multimodal.media.image import ImageMediaIO  # noqa: E402

from tests.unit.engine_processor import engine_processor, fields, processed  # noqa: E402
from vlmprof.patching import Exactness, Family, PatchSet, Recipe, RecipeSwitch  # noqa: E402
from vlmprof.patching.registry import load_recipes, narrowed  # noqa: E402
from vlmprof.patching.selection import ALL, EXACT, select  # noqa: E402
from vlmprof.patching.source import InstalledSource  # noqa: E402
from vlmprof.session.verify import sets_to_verify  # noqa: E402
from vlmprof.session.verify_images import odd_images  # noqa: E402
from vlmprof.workload.images import generated_images  # noqa: E402
from vlmprof_recipes.internvl_inputs import (  # noqa: E402
    normalized_after_rescaling,
    normalized_with_rescaling,
)
from vlmprof_recipes.internvl_whole_images import tiles_of  # noqa: E402
from vlmprof_recipes.whole_images import IMAGES, SIZES  # noqa: E402

_CHECKPOINTS = {
    Family.INTERNVL_CHAT: "InternVL3-2B",
    Family.INTERNVL_HF: "InternVL3-2B-hf",
    Family.QWEN3_VL: "Qwen3-VL-2B",
}
_PIXELS = {
    Family.INTERNVL_CHAT: "pixel_values_flat",
    Family.INTERNVL_HF: "pixel_values",
    Family.QWEN3_VL: "pixel_values",
}
_NORMALIZED = {
    Family.INTERNVL_CHAT: normalized_after_rescaling,
    Family.INTERNVL_HF: normalized_with_rescaling,
}
# Of normalized values, where recipe 2 resizes otherwise or 6 rounds otherwise.
_TOLERANCE = 0.21 + 2**-6
# Alone they change nothing but the keys of caches before the worker.
_IN_WORKER = (14, 15)
_ORDINARY = "photo.png"
_RGB = "RGB"
_KEPT = None
"""To what an image's mode is decoded: to RGB, unless `--media-io-kwargs` tells vLLM to keep it."""


def _files() -> dict[str, bytes]:
    photo = Image.open(io.BytesIO(generated_images(1, 2, width=56, height=56)[0].content)).convert("RGB")
    png = io.BytesIO()
    photo.save(png, "PNG")
    # A large image has a test of its own.
    return {_ORDINARY: png.getvalue()} | {
        name: content for name, content in odd_images(photo) if name != "large.jpg"
    }


_FILES = _files()
_READABLE = [name for name in _FILES if not name.startswith(("truncated", "no-image"))]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What becomes of a request: the error that refuses it, or what its images turn into.

    Attributes:
        refused: the error's type.
        ranges: offset and length of each image's placeholders.
        pixels: of each image, as its vision encoder gets them.
    """

    refused: str = ""
    ids: Sequence[int] = ()
    ranges: Sequence[tuple[int, int]] = ()
    pixels: Sequence[Any] = ()


@dataclass(slots=True)
class Rig:
    """One family's processor with all its recipes installed, and off until a set is on."""

    family: Family
    recipes: dict[int, Recipe]
    switch: RecipeSwitch
    processor: Any
    sets: list[list[int]]

    def prepared(self, numbers: Sequence[int], images: Sequence[Any]) -> Prepared:
        """A request's images under a set of recipes."""
        self.switch.set(numbers)
        try:
            request = processed(self.processor, list(images))
        except Exception as error:  # noqa: BLE001 - whatever is raised refuses the request
            return Prepared(refused=type(error).__name__)
        ranges = [(each.offset, each.length) for each in request["mm_placeholders"]["image"]]
        pixels = [self._in_worker(fields(request, index)) for index in range(len(images))]
        return Prepared("", request["prompt_token_ids"], ranges, pixels)

    def _in_worker(self, sent: dict[str, Any]) -> Any:
        """Pixels as the vision encoder gets them: from a whole image, from uint8 tiles, or as they were sent."""
        name = _PIXELS[self.family]
        if name in sent:
            return sent[name]
        whole = IMAGES in sent
        tiles = tiles_of(sent[IMAGES], sent[SIZES][None]) if whole else sent[name + "_uint8"]
        return _NORMALIZED[self.family](tiles, torch.bfloat16)

    def _is_exact(self, numbers: Sequence[int]) -> bool:
        return all(self.recipes[number].exactness is Exactness.EXACT for number in numbers)

    def faults(self, names: Sequence[str], mode: str | None) -> list[str]:
        """What differs from the engine's own way for the images of a request, under any set of recipes."""
        found = self.differences([_decoded(name, mode) for name in names])
        return [f"{', '.join(names)}, {difference}" for difference in found]

    def differences(self, images: Sequence[Any]) -> list[str]:
        """The same for images that were decoded."""
        own = self.prepared((), images)
        return [
            f"under {numbers}: {difference}"
            for numbers in self.sets
            for difference in _differences(
                own, self.prepared(numbers, images), 0 if self._is_exact(numbers) else _TOLERANCE
            )
        ]


def _decoded(name: str, mode: str | None) -> Any:
    return ImageMediaIO(image_mode=mode).load_bytes(_FILES[name])


def _differences(own: Prepared, found: Prepared, tolerance: float) -> Iterator[str]:
    if (own.refused, own.ids, own.ranges) != (found.refused, found.ids, found.ranges):
        yield f"{found.refused or 'taken'} where the engine alone says {own.refused or 'taken'}"
        return
    for one, other in zip(own.pixels, found.pixels, strict=True):
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            yield f"{other.dtype} {tuple(other.shape)} in the place of {one.dtype} {tuple(one.shape)}"
        elif (one.float() - other.float()).abs().max() > tolerance:
            yield f"pixels differ by {(one.float() - other.float()).abs().max():.3g}"


def _with_smaller_tiles(checkpoint: Path) -> None:
    """InternVL's tiles of 112 x 112 in the place of 448 x 448, which are 16 tokens in the place of 256."""
    for file in checkpoint.glob("*.json"):
        if "tokenizer" not in file.name:
            text = file.read_text().replace("448", "112")
            file.write_text(text.replace('"image_seq_length": 256', '"image_seq_length": 16'))


@pytest.fixture(scope="module", params=_CHECKPOINTS, ids=str)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Every recipe that fits a family here; each with what it needs, the exact ones together, then all of them."""
    family: Family = request.param
    recipes = narrowed(load_recipes(), family)
    numbers = select(ALL, recipes, family, InstalledSource()).numbers
    exact = list(select(EXACT, recipes, family, InstalledSource()).numbers)
    alone = [number for number in numbers if number not in _IN_WORKER]
    sets = [*sets_to_verify(alone, recipes)[:-1], list(numbers)]
    switch = RecipeSwitch.private()
    patches = PatchSet([recipes[number] for number in numbers], switch, family)
    patches.apply()
    processor = engine_processor(
        _CHECKPOINTS[family], tmp_path_factory.mktemp(family.name), _with_smaller_tiles
    )
    threads = torch.get_num_threads()
    # Images this small take several threads longer than one.
    torch.set_num_threads(1)
    yield Rig(family, recipes, switch, processor, [*sets, *([] if exact in sets else [exact])])
    torch.set_num_threads(threads)
    failures = {target: counts.failures for target, counts in patches.counts().items() if counts.failures}
    patches.undo()
    assert failures == {}, "the engine's own way would hide a recipe that fails"


def test_an_odd_image_is_decided_on_and_prepared_as_by_the_engine(rig: Rig) -> None:
    """Every kind under every set, as RGB, and in its own mode where that is another."""
    kept = [name for name in _READABLE if _decoded(name, _KEPT).media.mode != _RGB]
    assert len(kept) >= 9, "vLLM 0.26 converts palettes in any case"
    assert [fault for name in _READABLE for fault in rig.faults([name], _RGB)] == []
    assert [fault for name in kept for fault in rig.faults([name], _KEPT)] == []


def test_an_odd_image_and_an_ordinary_one_are_as_by_the_engine_in_either_order(rig: Rig) -> None:
    pairs = [pair for name in _READABLE for pair in ([name, _ORDINARY], [_ORDINARY, name])]
    assert [fault for pair in pairs for fault in rig.faults(pair, _KEPT)] == []


def test_two_odd_images_are_as_by_the_engine(rig: Rig) -> None:
    """Each kind with each other and with itself, in their own modes: those that are not RGB and those that are."""
    pairs = combinations_with_replacement([name for name in _READABLE if name != _ORDINARY], 2)
    assert [fault for pair in pairs for fault in rig.faults(pair, _KEPT)] == []


@pytest.mark.parametrize("odd", ["rgba.png", "palette.png", "thin.png", "one-pixel.png"])
def test_an_image_that_is_larger_than_its_tiles_is_as_by_the_engine_beside_an_odd_one(
    rig: Rig, odd: str
) -> None:
    """600 x 600 pixels are 1.1 MB, 9 tiles of 112 x 112 and the whole 0.4 MB: recipe 3 sends tiles."""
    png = io.BytesIO()
    Image.open(io.BytesIO(_FILES[_ORDINARY])).resize((600, 600)).save(png, "PNG")
    large = ImageMediaIO(image_mode=_RGB).load_bytes(png.getvalue())
    assert rig.differences([large, _decoded(odd, _KEPT)]) == []


def test_an_extreme_aspect_refuses_the_whole_request_where_the_engine_does(rig: Rig) -> None:
    """Qwen3-VL takes no side more than 200 times the other; InternVL takes any."""
    images = [_decoded(_ORDINARY, _RGB), _decoded("one-row.png", _RGB)]
    refused = "ValueError" if rig.family is Family.QWEN3_VL else ""
    assert {rig.prepared(numbers, images).refused for numbers in ((), *rig.sets)} == {refused}


@pytest.mark.parametrize("name", ["truncated.jpg", "truncated.png", "no-image.jpg"])
@pytest.mark.parametrize("mode", [_RGB, _KEPT])
def test_a_damaged_image_is_refused_before_any_recipe_sees_it(name: str, mode: str | None) -> None:
    """Decoding is the engine's own, image by image: nothing of the request gets to the processor."""
    with pytest.raises(ValueError, match="Failed to load image"):
        _decoded(name, mode)
