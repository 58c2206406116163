"""Recipes 3 and 6 on SmolVLM and Idefics3: the processor's tiles, made by the worker; and bfloat16's tolerance."""

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the models' extra is not installed")
pytest.importorskip("vllm", reason="vLLM is not installed")
pytest.importorskip("torchvision", "0.27", reason="Lanczos' filter for tensors, without which 3 is refused")
idefics3 = pytest.importorskip("transformers.models.idefics3.image_processing_idefics3")

from transformers.image_processing_utils import BatchFeature  # noqa: E402

from tests.unit.idefics3_tiles import as_encoded, noise, processor_of  # noqa: E402
from vlmprof.patching import Family, PatchedCall, PatchSet, RecipeSwitch  # noqa: E402
from vlmprof.patching.registry import load_recipes  # noqa: E402
from vlmprof_recipes.idefics3_fields import configure_fields, name_fields  # noqa: E402
from vlmprof_recipes.idefics3_inputs import UINT8_PIXELS, with_keywords  # noqa: E402
from vlmprof_recipes.idefics3_whole_images import tiles_of  # noqa: E402
from vlmprof_recipes.whole_images import IMAGES, SIZES, unpacked  # noqa: E402

_TILES = (1, 8, 10, 11)
_WHOLE = (1, 3, 8, 10, 11)
_SHAPES = [(480, 640), (640, 480), (1080, 1920), (37, 100), (512, 512), (300, 2999), (1, 1)]


@pytest.fixture(scope="module")
def switch() -> Iterator[RecipeSwitch]:
    """The recipes of this file, installed in the real vLLM and transformers and all off."""
    switch = RecipeSwitch.private()
    recipes = load_recipes()
    patches = PatchSet([recipes[number] for number in (1, 3, 6, 8, 10, 11)], switch, Family.IDEFICS3)
    patches.apply()
    yield switch
    switch.set([])
    failures = {target: counts.failures for target, counts in patches.counts().items() if counts.failures}
    patches.undo()
    assert failures == {}, "the engine's own way would hide a recipe that fails"


def _processed(switch: RecipeSwitch, images: Any, *numbers: int, **options: Any) -> Any:
    switch.set(numbers)
    return processor_of(idefics3, "Idefics3ImageProcessor", **options)(images, return_tensors="pt")


@pytest.mark.parametrize("shape", _SHAPES, ids=str)
def test_the_worker_makes_the_processor_s_tiles(switch: RecipeSwitch, shape: tuple[int, int]) -> None:
    """Landscape, portrait, larger than the limit, tiny, a square, a strip and a pixel: all tiles are equal."""
    image = noise(*shape)
    expected = _processed(switch, [image], *_TILES)
    found = _processed(switch, [image], *_WHOLE)
    assert torch.equal(unpacked(found[IMAGES], found[SIZES])[0][0], image)
    assert (found["rows"], found["cols"]) == (expected["rows"], expected["cols"])
    assert torch.equal(tiles_of(found[IMAGES], found[SIZES]), expected["pixel_values"][0])


@pytest.mark.parametrize("shape", [(480, 640), (512, 512), (1, 1)], ids=str)
def test_tiles_for_folded_weights_are_the_same_with_a_pixel_s_colours_beside_one_another(
    switch: RecipeSwitch, shape: tuple[int, int]
) -> None:
    found = _processed(switch, [noise(*shape)], *_WHOLE)
    beside = tiles_of(found[IMAGES], found[SIZES], interleaved=True)
    assert beside.permute(0, 2, 3, 1).is_contiguous()
    assert torch.equal(beside, tiles_of(found[IMAGES], found[SIZES]))


def test_several_images_of_a_prompt_are_sent_whole(switch: RecipeSwitch) -> None:
    """Images of different sizes are no one tensor of images, but their bytes are one of bytes."""
    images = [noise(480, 640, 1), noise(640, 480, 2), noise(100, 900, 3)]
    expected = _processed(switch, [images], *_TILES)
    found = _processed(switch, [images], *_WHOLE)
    assert "pixel_values" not in found
    assert (found["rows"], found["cols"]) == (expected["rows"], expected["cols"])
    assert torch.equal(tiles_of(found[IMAGES], found[SIZES]), expected["pixel_values"][0])


def test_an_image_with_more_bytes_than_its_tiles_is_sent_as_tiles(switch: RecipeSwitch) -> None:
    """2200x2200 pixels are 14.5 MB, its 17 tiles 13.4 MB."""
    image = noise(2200, 2200)
    found = _processed(switch, [image], *_WHOLE)
    assert torch.equal(found["pixel_values"], _processed(switch, [image], *_TILES)["pixel_values"])


@pytest.mark.parametrize("numbers", [(3,), (1, 3, 8, 11)], ids=str)
def test_an_image_is_not_sent_whole_without_the_recipes_that_the_worker_counts_on(
    switch: RecipeSwitch, numbers: tuple[int, ...]
) -> None:
    """A worker that would scan a mask, or get normalized tiles, gets tiles."""
    assert "pixel_values" in _processed(switch, [noise(480, 640)], *numbers)


@pytest.mark.parametrize("options", [{"resample": 3}, {"image_mean": [0.4] * 3}], ids=str)
def test_a_processor_that_the_worker_could_not_stand_for_makes_the_tiles_itself(
    switch: RecipeSwitch, options: dict[str, Any]
) -> None:
    """Bicubic in the place of Lanczos, or another mean: pixels are those of the engine."""
    expected = _processed(switch, [noise(480, 640)], **options)
    found = _processed(switch, [noise(480, 640)], *_WHOLE, **options)
    assert torch.equal(as_encoded(found), as_encoded(expected))


def _squeezed(_processor: Any, _data: Any, _kwargs: Any, processed: Any) -> Any:
    """As the engine: takes the batch dimension off both, whether they are there or not."""
    processed["num_patches"] = torch.tensor([13])
    processed["pixel_values"].squeeze_(0)
    processed["pixel_attention_mask"].squeeze_(0)
    return processed


def test_whole_images_pass_the_engine_under_their_own_names(switch: RecipeSwitch) -> None:
    """Neither tiles nor mask are invented for them, and each image is an item of its own."""
    images = [noise(480, 640), noise(30, 20)]
    processed = BatchFeature(dict(_processed(switch, [images], *_WHOLE)))
    call = PatchedCall(_squeezed, 0)
    named = name_fields(call, None, {"images": [1]}, {}, processed)
    assert {IMAGES, SIZES} <= set(named)
    assert not {"pixel_values", "pixel_attention_mask", UINT8_PIXELS} & set(named)
    config = PatchedCall(lambda *_: {"pixel_values": "tiles"}, 0)
    fields = configure_fields(config, None, named, {})
    elements = fields[IMAGES].build_elems(IMAGES, named[IMAGES])
    assert [element.data.numel() for element in elements] == [480 * 640 * 3, 30 * 20 * 3]
    assert fields[SIZES].field.keep_on_cpu


class _Model:
    """As far as the worker's inputs ask: the type of the patch embedding's weights."""

    def __init__(self) -> None:
        self.model = self.vision_model = self.embeddings = self.patch_embedding = self
        self.weight = torch.empty(0, dtype=torch.bfloat16)


def test_the_worker_normalizes_the_tiles_of_whole_images_and_hands_on_nothing_else(
    switch: RecipeSwitch,
) -> None:
    """What the encoder gets is what the engine's own processor would have sent, with a mask that is all true."""
    image = noise(480, 640)
    expected = _processed(switch, [image])
    found = _processed(switch, [image], *_WHOLE)
    call = PatchedCall(lambda _model, **inputs: inputs, 0)
    given = with_keywords(call, _Model(), **{IMAGES: found[IMAGES], SIZES: found[SIZES]})
    assert set(given) == {"pixel_values", "pixel_attention_mask"}
    assert torch.equal(given["pixel_values"], as_encoded(expected))
    assert given["pixel_attention_mask"].all()


@pytest.mark.parametrize("numbers", [(1, 6), (1, 6, 10, 11)], ids=str)
def test_tiles_normalized_in_bfloat16_are_a_step_from_the_engine_s_at_most(
    switch: RecipeSwitch, numbers: tuple[int, ...]
) -> None:
    """Between a half and 1 a step of bfloat16 is 2 ** -8: 0.0039."""
    expected = _processed(switch, [noise(480, 640)])
    found = _processed(switch, [noise(480, 640)], *numbers)
    assert found["pixel_values"].dtype == torch.bfloat16
    apart = (as_encoded(found).float() - as_encoded(expected).float()).abs().max()
    assert 0 < apart <= 2**-8
