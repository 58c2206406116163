"""Recipes 1 and 7 on Qwen3-VL: patches, ids and ranges are those of the engine."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="the models' extra is not installed")
pytest.importorskip("vllm", reason="vLLM is not installed")

from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor  # noqa: E402
from vllm.multimodal.media import ImageMediaIO  # noqa: E402

from tests.unit.engine_processor import engine_processor, fields, processed  # noqa: E402
from tests.unit.shared_data import shared_file  # noqa: E402
from vlmprof.errors import RecipeMisfit  # noqa: E402
from vlmprof.patching import Family, PatchSet, RecipeSwitch  # noqa: E402
from vlmprof.patching.registry import check_together, load_recipes  # noqa: E402

_FAMILY = Family.QWEN3_VL
_NUMBERS = (1, 7)
_SETS = [numbers for size in (1, 2) for numbers in combinations(_NUMBERS, size)]
_SIZES = [(640, 480), (480, 640), (1920, 1080), (37, 100), (3, 3), (448, 448), (1800, 20)]
_ODD = ["CMYK_color_no_profile", "palette_color", "logo.png", "tower_grayscale", "Landscape_6"]


@pytest.fixture(scope="module")
def patches() -> Iterator[tuple[RecipeSwitch, PatchSet]]:
    """The recipes of this file, installed in the real vLLM and transformers and all off."""
    switch = RecipeSwitch.private()
    patches = PatchSet([load_recipes()[number] for number in _NUMBERS], switch, _FAMILY)
    patches.check()
    patches.apply()
    yield switch, patches
    counts = patches.counts()
    patches.undo()
    failures = {target: each.failures for target, each in counts.items() if each.failures}
    assert failures == {}, "the engine's own way would hide a recipe that fails"


@pytest.fixture
def switch(patches: tuple[RecipeSwitch, PatchSet]) -> RecipeSwitch:
    """Every test starts with all recipes off."""
    patches[0].set([])
    return patches[0]


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return engine_processor("Qwen3-VL-2B", tmp_path_factory.mktemp("qwen3_vl") / "made")


def _image(width: int, height: int, seed: int = 0) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8), "RGB")


def _assert_same(found: Any, expected: Any) -> None:
    """Equal ids, ranges, fields and values of two prepared prompts."""
    assert found["prompt_token_ids"] == expected["prompt_token_ids"]
    ranges = [
        [(each.offset, each.length) for each in request["mm_placeholders"]["image"]]
        for request in (found, expected)
    ]
    assert ranges[0] == ranges[1]
    for image in range(len(ranges[0])):
        sent, wanted = fields(found, image), fields(expected, image)
        assert sent.keys() == wanted.keys()
        assert all(torch.equal(sent[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("numbers", _SETS, ids=str)
def test_every_set_of_recipes_gives_the_engine_s_prompt_and_patches(
    switch: RecipeSwitch, patches: tuple[RecipeSwitch, PatchSet], processor: Any, numbers: tuple[int, ...]
) -> None:
    """A 640x480 image is 40 x 30 patches of 2 x 3 x 16 x 16 bytes, four of them a token; recipes are called."""
    before = sum(each.calls for each in patches[1].counts().values())
    expected = processed(processor, [_image(640, 480)])
    switch.set(numbers)
    found = processed(processor, [_image(640, 480)])
    _assert_same(found, expected)
    assert fields(found)["pixel_values"].shape == (1200, 1536)
    assert fields(found)["pixel_values"].dtype == torch.uint8
    calls = sum(each.calls for each in patches[1].counts().values()) - before
    assert calls >= len(numbers) + 1, "each recipe's function, and the cache key"


@pytest.mark.parametrize("size", _SIZES, ids=str)
def test_images_of_every_shape_give_the_engine_s_patches(
    switch: RecipeSwitch, processor: Any, size: tuple[int, int]
) -> None:
    """Landscape, portrait, large, tiny, square and a strip."""
    expected = processed(processor, [_image(*size)])
    switch.set(_NUMBERS)
    _assert_same(processed(processor, [_image(*size)]), expected)


def test_several_images_of_a_prompt_keep_their_order(switch: RecipeSwitch, processor: Any) -> None:
    """Two of one size and one of another."""
    images = [_image(640, 480, 1), _image(480, 640, 2), _image(640, 480, 3)]
    expected = processed(processor, images)
    switch.set(_NUMBERS)
    _assert_same(processed(processor, images), expected)


@pytest.mark.parametrize("fragment", _ODD)
def test_odd_files_are_decoded_and_processed_as_by_the_engine(
    switch: RecipeSwitch, processor: Any, fragment: str
) -> None:
    """CMYK, palette, alpha, gray, rotated by EXIF: from the file's bytes."""
    image = ImageMediaIO().load_bytes(shared_file("images", fragment).read_bytes())
    expected = processed(processor, [image])
    switch.set(_NUMBERS)
    _assert_same(processed(processor, [image]), expected)


@pytest.mark.parametrize("options", [{}, {"do_rescale": False, "do_normalize": False}], ids=str)
@pytest.mark.parametrize("patch_size", [14, 16])
def test_floats_and_rows_of_other_lengths_go_the_engine_s_own_way(
    switch: RecipeSwitch, options: dict[str, bool], patch_size: int
) -> None:
    """14 bytes of a row do not move as one; neither do 16 floats."""
    processor = Qwen2VLImageProcessor(patch_size=patch_size, **options)
    expected = processor(images=[_image(640, 480)], return_tensors="pt")
    switch.set(_NUMBERS)
    found = processor(images=[_image(640, 480)], return_tensors="pt")
    assert torch.equal(found["pixel_values"], expected["pixel_values"])
    assert torch.equal(found["image_grid_thw"], expected["image_grid_thw"])


def test_a_video_keeps_its_text(switch: RecipeSwitch, processor: Any) -> None:
    """The engine cuts the expanded ids of a video out of it; images alone need none."""
    switch.set(_NUMBERS)
    assert processor._get_hf_mm_text({"video": 1, "image": 1}) is not None
    assert processor._get_hf_mm_text({"image": 2}) is None


def test_recipes_that_the_engine_has_already_are_refused() -> None:
    """uint8 pixels and tensor processing are upstream in Qwen3-VL, and there are no tiles to split."""
    recipes = load_recipes()
    check_together(_NUMBERS, recipes, _FAMILY)
    for number, reason in ((2, "upstream"), (8, "upstream"), (11, "not applicable")):
        with pytest.raises(RecipeMisfit, match=f"to Qwen3-VL: {reason}"):
            check_together([number], recipes, _FAMILY)
