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
from vllm.multimodal.processing import ProcessorInputs, TimingContext  # noqa: E402

from tests.unit.engine_processor import engine_processor, fields, processed  # noqa: E402
from tests.unit.shared_data import shared_file  # noqa: E402
from vlmprof.errors import RecipeMisfit  # noqa: E402
from vlmprof.patching import Family, Need, PatchSet, RecipeSwitch  # noqa: E402
from vlmprof.patching.registry import check_together, load_recipes  # noqa: E402

_FAMILY = Family.QWEN3_VL
_RECIPES = load_recipes()
# vLLM 0.26 normalizes in the processor: of float32 patches recipe 1 has nothing to gain.
_NUMBERS = tuple(number for number in (1, 7) if _RECIPES[number].patches_for(_FAMILY))
_UINT8_UPSTREAM = _RECIPES[8].standing[_FAMILY].need is Need.UPSTREAM
_SETS = [numbers for size in (1, 2) for numbers in combinations(_NUMBERS, size)]
_SIZES = [(640, 480), (480, 640), (1920, 1080), (37, 100), (3, 3), (448, 448), (1800, 20)]
_ODD = ["CMYK_color_no_profile", "palette_color", "logo.png", "tower_grayscale", "Landscape_6"]


@pytest.fixture(scope="module")
def patches() -> Iterator[tuple[RecipeSwitch, PatchSet]]:
    """The recipes of this file, installed in the real vLLM and transformers and all off."""
    switch = RecipeSwitch.private()
    patches = PatchSet([_RECIPES[number] for number in _NUMBERS], switch, _FAMILY)
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


def _processed_video(processor: Any) -> Any:
    """Four gray frames of 64 x 64, as the engine prepares them."""
    frames = np.full((4, 64, 64, 3), 128, dtype=np.uint8)
    metadata = {"fps": 2.0, "total_num_frames": 4, "duration": 2.0, "frames_indices": [0, 1, 2, 3]}
    items = processor.info.parse_mm_data({"video": [(frames, metadata)]})
    text = processor.dummy_inputs.get_dummy_text({"video": 1})
    prompt = processor.info.get_tokenizer().encode(text)
    return processor.apply(ProcessorInputs(prompt, items), TimingContext(enabled=False))


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
    """A 640x480 image is 40 x 30 patches of 2 x 3 x 16 x 16 values, four of them a token; recipes are called."""
    before = sum(each.calls for each in patches[1].counts().values())
    expected = processed(processor, [_image(640, 480)])
    switch.set(numbers)
    found = processed(processor, [_image(640, 480)])
    _assert_same(found, expected)
    assert fields(found)["pixel_values"].shape == (1200, 1536)
    assert fields(found)["pixel_values"].dtype == (torch.uint8 if _UINT8_UPSTREAM else torch.bfloat16)
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


def test_a_video_keeps_its_text(
    switch: RecipeSwitch, processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine cuts the expanded ids of a video out of it; images alone need none."""
    texts: list[Any] = []
    call = type(processor.info.ctx).call_hf_processor

    def spy(context: Any, hf_processor: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
        texts.append(data.get("text"))
        return call(context, hf_processor, data, *args, **kwargs)

    monkeypatch.setattr(type(processor.info.ctx), "call_hf_processor", spy)
    switch.set(_NUMBERS)
    processed(processor, [_image(64, 64), _image(64, 64)])
    assert texts == [None]
    _processed_video(processor)
    assert all(texts[1:])


def test_recipes_that_the_engine_has_already_are_refused() -> None:
    """Tensor processing is upstream, as are uint8 pixels in later vLLM, and there are no tiles to split."""
    check_together(_NUMBERS, _RECIPES, _FAMILY)
    uint8 = "upstream" if _UINT8_UPSTREAM else "needed, .* no patch here"
    for number, reason in ((2, "upstream"), (8, uint8), (11, "not applicable")):
        with pytest.raises(RecipeMisfit, match=f"to Qwen3-VL: {reason}"):
            check_together([number], _RECIPES, _FAMILY)
