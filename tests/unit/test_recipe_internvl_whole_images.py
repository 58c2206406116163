"""Recipes 3 and 6 on InternVL3 in its two forms: tiles that the worker makes, and bfloat16's tolerance."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="the models' extra is not installed")
pytest.importorskip("vllm", reason="vLLM is not installed")

from vllm.model_executor.models.internvl import InternVLChatModel  # noqa: E402
from vllm.multimodal.utils import group_and_batch_mm_kwargs  # noqa: E402
from vllm.transformers_utils.processors.internvl import InternVLImageProcessor  # noqa: E402

from tests.unit.engine_processor import engine_processor, fields, processed  # noqa: E402
from vlmprof.errors import RecipeMisfit  # noqa: E402
from vlmprof.patching import Family, PatchedCall, PatchSet, RecipeSwitch  # noqa: E402
from vlmprof.patching.registry import check_together, load_recipes  # noqa: E402
from vlmprof.patching.switch import mask_of  # noqa: E402
from vlmprof_recipes.internvl_inputs import chat_keywords, hf_keywords  # noqa: E402
from vlmprof_recipes.internvl_whole_images import tiles_of  # noqa: E402
from vlmprof_recipes.pixel_arithmetic import IMAGENET, in_bfloat16  # noqa: E402
from vlmprof_recipes.whole_images import IMAGES, SIZES  # noqa: E402

if not load_recipes()[3].patches_for(Family.INTERNVL_CHAT):
    pytest.skip("recipes 3 and 6 have no patches for InternVL before vLLM 0.31", allow_module_level=True)

_FAMILIES = (Family.INTERNVL_CHAT, Family.INTERNVL_HF)
_CHECKPOINTS = {Family.INTERNVL_CHAT: "InternVL3-2B", Family.INTERNVL_HF: "InternVL3-2B-hf"}
_PIXELS = {Family.INTERNVL_CHAT: "pixel_values_flat", Family.INTERNVL_HF: "pixel_values"}
_KEYWORDS = {Family.INTERNVL_CHAT: chat_keywords, Family.INTERNVL_HF: hf_keywords}
_TILES = {Family.INTERNVL_CHAT: (1, 2, 8, 11), Family.INTERNVL_HF: (1, 8, 11)}
_INSTALLED = {Family.INTERNVL_CHAT: (1, 2, 3, 6, 7, 8, 11), Family.INTERNVL_HF: (1, 3, 6, 7, 8, 11)}
_SIZES = [(640, 480), (480, 640), (1600, 900), (37, 100), (1, 1), (448, 448), (1800, 40), (40, 1800)]

Rig = tuple[Family, RecipeSwitch, Any]


@pytest.fixture(scope="module", params=_FAMILIES, ids=str)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A form's family, its recipes' switch and the engine's processor of a checkpoint of it."""
    family: Family = request.param
    switch = RecipeSwitch.private()
    patches = PatchSet([load_recipes()[number] for number in _INSTALLED[family]], switch, family)
    patches.check()
    patches.apply()
    yield family, switch, engine_processor(_CHECKPOINTS[family], tmp_path_factory.mktemp(family.name))
    failures = {target: counts.failures for target, counts in patches.counts().items() if counts.failures}
    patches.undo()
    assert failures == {}, "the engine's own way would hide a recipe that fails"


def _image(width: int, height: int, seed: int = 0) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8), "RGB")


def _prepared(rig: Rig, images: list[Any], *numbers: int) -> Any:
    _, switch, processor = rig
    switch.set(numbers)
    return processed(processor, images)


def _whole(rig: Rig, images: list[Any]) -> Any:
    return _prepared(rig, images, 3, *_TILES[rig[0]])


def _made(request: Any, image: int = 0) -> Any:
    """The worker's tiles of one image of a prompt; a field of sizes has its dimension of images taken off."""
    sent = fields(request, image)
    return tiles_of(sent[IMAGES], sent[SIZES][None])


def _ranges(request: Any) -> list[tuple[int, int]]:
    return [(each.offset, each.length) for each in request["mm_placeholders"]["image"]]


@pytest.mark.parametrize("size", _SIZES, ids=str)
def test_the_worker_makes_the_processor_s_tiles(rig: Rig, size: tuple[int, int]) -> None:
    """Landscape, portrait, large, tiny, one pixel, one tile, and strips: equal tiles, ids, ranges and counts."""
    expected = _prepared(rig, [_image(*size)], *_TILES[rig[0]])
    found = _whole(rig, [_image(*size)])
    assert fields(found)[IMAGES].numel() == size[0] * size[1] * 3
    assert torch.equal(_made(found), fields(expected)[_PIXELS[rig[0]] + "_uint8"])
    assert torch.equal(fields(found)["image_num_patches"], fields(expected)["image_num_patches"])
    assert found["prompt_token_ids"] == expected["prompt_token_ids"]
    assert _ranges(found) == _ranges(expected)


def test_tiles_for_folded_weights_are_the_same_with_a_pixel_s_colours_beside_one_another(rig: Rig) -> None:
    """Of two images in one tensor too: recipe 14 unfolds them row by row."""
    family = rig[0]
    found = _whole(rig, [_image(640, 480, 1), _image(400, 400, 2)])
    ((_, _, batch),) = group_and_batch_mm_kwargs([("image", item) for item in found["mm_kwargs"]["image"]])
    apart, beside = (
        _KEYWORDS[family](call, None, **batch)[_PIXELS[family]] for call in (_engine(), _engine(14))
    )
    assert apart.is_contiguous()
    assert beside.permute(0, 2, 3, 1).is_contiguous()
    assert torch.equal(apart, beside)


def test_several_images_of_a_prompt_are_sent_whole_and_batched_as_they_are(rig: Rig) -> None:
    """13 tiles, 1 tile, 13 tiles: of three sizes, in one tensor of bytes."""
    family = rig[0]
    images = [_image(640, 480, 1), _image(400, 400, 2), _image(480, 640, 3)]
    expected, found = _prepared(rig, images, *_TILES[family]), _whole(rig, images)
    ((_, count, batch),) = group_and_batch_mm_kwargs(
        [("image", item) for item in found["mm_kwargs"]["image"]]
    )
    made = _KEYWORDS[family](_engine(), None, **batch)
    assert count == 3
    assert {IMAGES, SIZES} <= set(batch)
    assert set(made) & {IMAGES, SIZES} == set()
    assert _ranges(found) == _ranges(expected)
    tiles = [fields(expected, index)[_PIXELS[family] + "_uint8"] for index in range(3)]
    assert [len(each) for each in tiles] == [13, 1, 13]
    assert torch.equal(made[_PIXELS[family]], torch.cat(tiles))


def _engine(*numbers: int) -> PatchedCall:
    """A call, with some recipes on, of an engine's function that gives back what it is given."""
    return PatchedCall(lambda _model, **inputs: inputs, mask_of(numbers))


def test_an_image_with_more_bytes_than_its_tiles_is_sent_as_tiles_with_all_of_its_prompt(rig: Rig) -> None:
    """1900x1900 pixels are 10.8 MB, 10 tiles 6 MB; the small one beside it alone would have gone whole."""
    family = rig[0]
    images = [_image(1900, 1900, 1), _image(400, 400, 2)]
    expected, found = _prepared(rig, images, *_TILES[family]), _whole(rig, images)
    for index in range(2):
        assert IMAGES not in fields(found, index)
        name = _PIXELS[family] + "_uint8"
        assert torch.equal(fields(found, index)[name], fields(expected, index)[name])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_that_the_engine_converts_are_sent_as_it_converted_them(rig: Rig, mode: str) -> None:
    """Gray, alpha, palette and CMYK are RGB before they get to the processor."""
    image = _image(64, 48).convert(mode)
    expected, found = _prepared(rig, [image], *_TILES[rig[0]]), _whole(rig, [image])
    assert torch.equal(_made(found), fields(expected)[_PIXELS[rig[0]] + "_uint8"])


@pytest.mark.parametrize("rig", [Family.INTERNVL_HF], indirect=True, ids=str)
def test_an_array_goes_the_engine_s_own_way_with_all_others_of_its_prompt(rig: Rig) -> None:
    """A float array has no uint8 tiles: the image beside it is not sent whole either."""
    images = [_image(64, 48), np.random.default_rng(0).random((3, 64, 64)).astype(np.float32)]
    expected, found = _prepared(rig, images), _whole(rig, images)
    for index in range(2):
        assert fields(found, index).keys() == fields(expected, index).keys()
        assert torch.equal(fields(found, index)["pixel_values"], fields(expected, index)["pixel_values"])


@pytest.mark.parametrize("rig", [Family.INTERNVL_CHAT], indirect=True, ids=str)
def test_vllm_s_processor_gets_palettes_its_own_way_with_all_others_of_a_prompt(rig: Rig) -> None:
    """PIL resizes a palette by nearest neighbour: as tiles, and the image beside it too."""
    processor = InternVLImageProcessor(224, 1, 12, True, True)
    images = [_image(64, 48), _image(64, 48).convert("P")]
    rig[1].set([])
    expected = processor(images, return_tensors="pt")
    rig[1].set([3, *_TILES[rig[0]]])
    found = processor(images, return_tensors="pt")
    assert found.keys() == expected.keys()
    assert torch.equal(found["pixel_values_flat"], expected["pixel_values_flat"])


def test_keys_of_the_caches_differ_between_tiles_and_whole_images(rig: Rig) -> None:
    """A cached item of one kind never answers for the other."""
    tiles, whole = _prepared(rig, [_image(64, 48)], *_TILES[rig[0]]), _whole(rig, [_image(64, 48)])
    assert tiles["mm_hashes"]["image"] != whole["mm_hashes"]["image"]
    assert whole["mm_hashes"]["image"] == _whole(rig, [_image(64, 48)])["mm_hashes"]["image"]


def test_recipe_6_is_a_step_of_bfloat16_from_the_engine_s(rig: Rig) -> None:
    """Between 2 and 4 a step of bfloat16 is 2 ** -6; normalized pixels lie between -2.2 and 2.7."""
    name = _PIXELS[rig[0]]
    expected = fields(_prepared(rig, [_image(640, 480)], 1))[name]
    found = fields(_prepared(rig, [_image(640, 480)], 1, 6))[name]
    assert found.dtype == expected.dtype == torch.bfloat16
    assert 0 < (found.float() - expected.float()).abs().max() <= 2**-6


def test_centred_values_are_nearly_as_near_to_float64_as_float32_rounded_once() -> None:
    """Of all 256 values in each channel: 0.0027 and 0.0017; the product is rounded, then the sum."""
    tiles = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    mean, std = (torch.tensor(each).double().view(3, 1, 1) for each in (IMAGENET.mean, IMAGENET.std))
    exact = (tiles.double() / 255 - mean) / std
    found = (in_bfloat16(tiles, IMAGENET).double() - exact).norm() / exact.norm()
    once = (exact.to(torch.bfloat16).double() - exact).norm() / exact.norm()
    assert found <= 1.75 * once


def test_a_need_that_the_model_does_not_have_is_none() -> None:
    """Neither form has a mask (10); the HF-native one resizes tensors (2) by itself."""
    recipes = load_recipes()
    check_together((1, 2, 3, 8, 11), recipes, Family.INTERNVL_CHAT)
    check_together((1, 3, 8, 11), recipes, Family.INTERNVL_HF)
    with pytest.raises(RecipeMisfit, match=r"needs recipe 2$"):
        check_together((1, 3, 8, 11), recipes, Family.INTERNVL_CHAT)


@pytest.mark.parametrize("rig", [Family.INTERNVL_CHAT], indirect=True, ids=str)
def test_cuda_graphs_make_the_tiles_of_chosen_images_alone(rig: Rig) -> None:
    """Of three images the third and the first, in that order; asking for the modality makes none."""
    images = [_image(64, 48, 1), _image(400, 400, 2), _image(640, 480, 3)]
    tiles, whole = _prepared(rig, images, *_TILES[rig[0]]), _whole(rig, images)
    ((_, _, batch),) = group_and_batch_mm_kwargs([("image", item) for item in whole["mm_kwargs"]["image"]])
    model = InternVLChatModel.__new__(InternVLChatModel)
    assert model.get_input_modality(batch) == "image"
    chosen = model.select_encoder_cudagraph_items(batch, [2, 0])
    expected = [fields(tiles, index)["pixel_values_flat_uint8"] for index in (2, 0)]
    assert torch.equal(chosen["pixel_values_flat"], torch.cat(expected))
    assert chosen["image_num_patches"] == [len(each) for each in expected]
