"""Recipes 1, 8, 10 and 11 on SmolVLM and Idefics3: pixels, row and column counts are those of the engine."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the models' extra is not installed")
pytest.importorskip("vllm", reason="vLLM is not installed")
idefics3 = pytest.importorskip("transformers.models.idefics3.image_processing_idefics3")
smolvlm = pytest.importorskip("transformers.models.smolvlm.image_processing_smolvlm")

from tests.unit.idefics3_tiles import as_encoded, noise, processor_of  # noqa: E402
from vlmprof.errors import RecipeMisfit  # noqa: E402
from vlmprof.patching import Family, PatchedCall, PatchSet, RecipeSwitch  # noqa: E402
from vlmprof.patching.registry import check_together, load_recipes  # noqa: E402
from vlmprof_recipes.idefics3_inputs import dense_features  # noqa: E402

_NUMBERS = (1, 8, 10, 11)
_SETS = [(1, *others) for size in range(4) for others in combinations(_NUMBERS[1:], size)]
_SIZES = [(480, 640), (640, 480), (1080, 1920), (37, 100), (512, 512), (2048, 2048)]


@pytest.fixture(scope="module")
def switch() -> Iterator[RecipeSwitch]:
    """The recipes of this file, installed in the real vLLM and transformers and all off."""
    switch = RecipeSwitch.private()
    recipes = load_recipes()
    patches = PatchSet([recipes[number] for number in _NUMBERS], switch, Family.IDEFICS3)
    patches.check()
    patches.apply()
    yield switch
    switch.set([])
    failures = {target: counts.failures for target, counts in patches.counts().items() if counts.failures}
    patches.undo()
    assert failures == {}, "the engine's own way would hide a recipe that fails"


@pytest.mark.parametrize("numbers", _SETS, ids=str)
def test_every_set_of_recipes_gives_the_engine_s_pixels(
    switch: RecipeSwitch, numbers: tuple[int, ...]
) -> None:
    """A 640x480 image is 2048x1536: 3 rows of 4 tiles and the whole, 13 tiles, bit-identical as bfloat16."""
    processor, image = processor_of(idefics3, "Idefics3ImageProcessor"), noise(480, 640)
    switch.set([])
    expected = processor([image], return_tensors="pt")
    switch.set(numbers)
    found = processor([image], return_tensors="pt")
    assert (found["rows"], found["cols"]) == (expected["rows"], expected["cols"]) == ([[3]], [[4]])
    assert found["pixel_values"].shape == (1, 13, 3, 512, 512)
    assert torch.equal(as_encoded(found), as_encoded(expected))
    assert ("pixel_attention_mask" in found) == (10 not in numbers)
    assert (found["pixel_values"].dtype == torch.uint8) == (8 in numbers)
    if 10 not in numbers:
        assert torch.equal(found["pixel_attention_mask"], expected["pixel_attention_mask"])


@pytest.mark.parametrize("size", _SIZES, ids=str)
@pytest.mark.parametrize(
    ("module", "name"), [(idefics3, "Idefics3ImageProcessor"), (smolvlm, "SmolVLMImageProcessor")]
)
def test_images_of_every_shape_give_the_engine_s_pixels(
    switch: RecipeSwitch, module: Any, name: str, size: tuple[int, int]
) -> None:
    """Landscape, portrait, larger than the limit, tiny, and squares, in both processors."""
    processor, image = processor_of(module, name), noise(*size)
    switch.set([])
    expected = processor([image], return_tensors="pt")
    switch.set(_NUMBERS)
    found = processor([image], return_tensors="pt")
    assert found["pixel_values"].dtype == torch.uint8
    assert (found["rows"], found["cols"]) == (expected["rows"], expected["cols"])
    assert torch.equal(as_encoded(found), as_encoded(expected))


def test_several_images_of_a_prompt_keep_their_order(switch: RecipeSwitch) -> None:
    """Two landscapes and a portrait: 13 tiles each, 39 in the order of the prompt."""
    processor = processor_of(idefics3, "Idefics3ImageProcessor")
    images = [noise(480, 640, 1), noise(640, 480, 2), noise(480, 640, 3)]
    switch.set([])
    expected = processor([images], return_tensors="pt")
    switch.set(_NUMBERS)
    found = processor([images], return_tensors="pt")
    assert found["rows"] == expected["rows"] == [[3, 4, 3]]
    assert found["pixel_values"].shape[1] == 39
    assert torch.equal(as_encoded(found), as_encoded(expected))


@pytest.mark.parametrize(
    "options", [{"do_image_splitting": False}, {"do_normalize": False}, {"do_pad": False}], ids=str
)
def test_a_processor_that_is_set_otherwise_goes_the_engine_s_own_way(
    switch: RecipeSwitch, options: dict[str, bool]
) -> None:
    """Same keys, types and values as without recipes."""
    processor = processor_of(idefics3, "Idefics3ImageProcessor", **options)
    switch.set([])
    expected = processor([noise(480, 640)], return_tensors="pt")
    switch.set(_NUMBERS)
    found = processor([noise(480, 640)], return_tensors="pt")
    assert found.keys() == expected.keys()
    assert torch.equal(found["pixel_values"], expected["pixel_values"])


def test_pixels_of_another_mean_are_not_left_to_the_worker(switch: RecipeSwitch) -> None:
    """The worker knows a mean of 0.5 alone: with 0.4 the tiles are normalized where the config is."""
    processor = processor_of(idefics3, "Idefics3ImageProcessor", image_mean=[0.4] * 3)
    switch.set([])
    expected = processor([noise(480, 640)], return_tensors="pt")
    switch.set(_NUMBERS)
    found = processor([noise(480, 640)], return_tensors="pt")
    assert torch.equal(found["pixel_values"], expected["pixel_values"])


def test_each_recipe_is_accepted_with_what_it_needs_and_refused_without() -> None:
    """The others need recipe 1: the engine's padding would turn uint8 tiles into float32 and copy them again."""
    recipes = load_recipes()
    check_together(_NUMBERS, recipes, Family.IDEFICS3)
    for number in (8, 10, 11):
        with pytest.raises(RecipeMisfit, match=rf"recipe {number} .* needs recipe 1$"):
            check_together([number], recipes, Family.IDEFICS3)


def test_without_recipe_1_the_engine_makes_tiles_and_mask_itself(switch: RecipeSwitch) -> None:
    """A set that no command accepts, but that a switch can hold: as without recipes."""
    processor, image = processor_of(idefics3, "Idefics3ImageProcessor"), noise(480, 640)
    switch.set([])
    expected = processor([image], return_tensors="pt")
    switch.set((8, 10, 11))
    found = processor([image], return_tensors="pt")
    assert found.keys() == expected.keys()
    assert torch.equal(found["pixel_values"], expected["pixel_values"])


class _Encoder:
    """Stands for the model: keeps what its vision encoder was given."""

    def __init__(self) -> None:
        self.embeddings = self
        self.patch_embedding = self
        self.weight = torch.empty(0, dtype=torch.bfloat16)
        self.vision_model = self
        self.given: dict[str, Any] = {}

    def __call__(self, **given: Any) -> str:
        self.given = given
        return "features"


def test_a_mask_of_the_engine_s_own_is_scanned_as_before_and_the_all_true_one_is_not() -> None:
    """An expanded mask has strides of 0; one that somebody built has not, and may hide padding."""
    pixels, encoder = torch.zeros(2, 3, 32, 32), _Encoder()
    built = torch.ones(2, 32, 32, dtype=torch.bool)
    whole = torch.ones((), dtype=torch.bool).expand(2, 32, 32)
    call = PatchedCall(lambda *_, **__: "engine's own way", 1 << 10)
    assert dense_features(call, encoder, pixels, pixel_attention_mask=built) == "engine's own way"
    assert dense_features(call, encoder, pixels, pixel_attention_mask=whole) == "features"
    assert encoder.given["pixel_values"].dtype == torch.bfloat16
    assert len(encoder.given["pixel_values"]) == 2, "a black tile is no padding"
