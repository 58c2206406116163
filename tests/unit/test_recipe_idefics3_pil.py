"""Recipes 1, 6, 8, 10 and 11 on SmolVLM and Idefics3 where transformers processes with PIL: the engine's pixels.

It does beside torchvision before 0.27, which vLLM 0.26 comes with.
"""

import inspect
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="the models' extra is not installed")
pytest.importorskip("vllm", reason="vLLM is not installed")
idefics3 = pytest.importorskip("transformers.models.idefics3.image_processing_pil_idefics3")
smolvlm = pytest.importorskip("transformers.models.smolvlm.image_processing_pil_smolvlm")

from transformers.image_processing_backends import PilBackend  # noqa: E402

from tests.unit.idefics3_tiles import as_encoded, noise, processor_of  # noqa: E402
from vlmprof.patching import Family, PatchSet, Recipe, RecipeSwitch, Removes  # noqa: E402
from vlmprof.patching.registry import load_recipes  # noqa: E402
from vlmprof.patching.versions import NamedVersions  # noqa: E402
from vlmprof_recipes import effects  # noqa: E402
from vlmprof_recipes.idefics3_inputs import normalized  # noqa: E402
from vlmprof_recipes.idefics3_patches import PIL_PREPROCESS  # noqa: E402

_PROCESSORS = [(idefics3, "Idefics3ImageProcessorPil"), (smolvlm, "SmolVLMImageProcessorPil")]
_NUMBERS = (1, 8, 10, 11)
_SETS = [(1, *others) for size in range(4) for others in combinations(_NUMBERS[1:], size)]
_SIZES = [(480, 640), (640, 480), (1080, 1920), (37, 100), (512, 512), (1, 1), (20, 1800)]


def _of_pil(recipe: Recipe) -> Recipe:
    patches = tuple(each for each in recipe.patches_for(Family.IDEFICS3) if each in PIL_PREPROCESS)
    assert patches == PIL_PREPROCESS
    return replace(recipe, patches={Family.IDEFICS3: patches}, fits={})


@pytest.fixture(scope="module")
def switch() -> Iterator[RecipeSwitch]:
    """The recipes' patches of PIL's processors, installed in the real transformers and all off.

    Of the row for vLLM 0.26, whatever is installed here: the processors are transformers'.
    """
    switch, recipes = RecipeSwitch.private(), load_recipes(NamedVersions({"vllm": "0.26.0"}))
    patches = PatchSet([_of_pil(recipes[number]) for number in (1, 6, 8, 10, 11)], switch, Family.IDEFICS3)
    patches.check()
    patches.apply()
    yield switch
    switch.set([])
    counts = patches.counts()
    patches.undo()
    assert all(each.calls for each in counts.values()), "both processors"
    failures = {target: each.failures for target, each in counts.items() if each.failures}
    assert failures == {}, "the engine's own way would hide a recipe that fails"


def _image(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(noise(height, width, seed).permute(1, 2, 0).numpy(), "RGB")


def _processed(switch: RecipeSwitch, processor: Any, images: Any, *numbers: int) -> Any:
    switch.set(numbers)
    return processor(images, return_tensors="pt")


@pytest.mark.parametrize("numbers", _SETS, ids=str)
def test_every_set_of_recipes_gives_the_engine_s_pixels(
    switch: RecipeSwitch, numbers: tuple[int, ...]
) -> None:
    """A 640x480 image is 13 tiles; normalized ones are float32 and equal, uint8 ones are equal as bfloat16."""
    processor = processor_of(*_PROCESSORS[0])
    expected = _processed(switch, processor, [_image(480, 640)])
    found = _processed(switch, processor, [_image(480, 640)], *numbers)
    assert (found["rows"], found["cols"]) == (expected["rows"], expected["cols"]) == ([[3]], [[4]])
    assert torch.equal(as_encoded(found), as_encoded(expected))
    assert ("pixel_attention_mask" in found) == (10 not in numbers)
    if 8 in numbers:
        assert found["pixel_values"].dtype == torch.uint8
    else:
        assert torch.equal(found["pixel_values"], expected["pixel_values"])
    if 10 not in numbers:
        assert torch.equal(found["pixel_attention_mask"], expected["pixel_attention_mask"])


@pytest.mark.parametrize("size", _SIZES, ids=str)
@pytest.mark.parametrize(("module", "name"), _PROCESSORS)
def test_images_of_every_shape_give_the_engine_s_pixels(
    switch: RecipeSwitch, module: Any, name: str, size: tuple[int, int]
) -> None:
    """Landscape, portrait, larger than the limit, tiny, one tile, a pixel and a strip, in both processors."""
    processor = processor_of(module, name)
    expected = _processed(switch, processor, [_image(*size)])
    found = _processed(switch, processor, [_image(*size)], *_NUMBERS)
    assert (found["rows"], found["cols"]) == (expected["rows"], expected["cols"])
    assert torch.equal(as_encoded(found), as_encoded(expected))


def test_several_images_of_a_prompt_keep_their_order(switch: RecipeSwitch) -> None:
    """Two landscapes and a portrait: 39 tiles in the order of the prompt."""
    processor = processor_of(*_PROCESSORS[0])
    images = [_image(480, 640, 1), _image(640, 480, 2), _image(480, 640, 3)]
    expected = _processed(switch, processor, [images])
    found = _processed(switch, processor, [images], *_NUMBERS)
    assert found["rows"] == expected["rows"] == [[3, 4, 3]]
    assert torch.equal(as_encoded(found), as_encoded(expected))


def test_tiles_normalized_in_bfloat16_are_a_step_from_the_engine_s_at_most(switch: RecipeSwitch) -> None:
    """Between a half and 1 a step of bfloat16 is 2 ** -8: 0.0039."""
    processor = processor_of(*_PROCESSORS[0])
    expected = _processed(switch, processor, [_image(480, 640)])
    found = _processed(switch, processor, [_image(480, 640)], 1, 6, 11)
    assert found["pixel_values"].dtype == torch.bfloat16
    assert 0 < (as_encoded(found).float() - as_encoded(expected).float()).abs().max() <= 2**-8


def test_the_worker_s_arithmetic_is_numpy_s_but_for_a_unit_in_the_last_place_of_float32() -> None:
    """All 256 values: rescaled, less a half and divided by it; or less 127.5 and divided by that."""
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(3, 0)
    processor = processor_of(*_PROCESSORS[0])
    own = torch.from_numpy(processor.normalize(processor.rescale(values, 1 / 255), [0.5] * 3, [0.5] * 3))
    found = normalized(torch.from_numpy(values)[None], torch.float32)[0]
    assert torch.equal(own.to(torch.bfloat16), found.to(torch.bfloat16))
    assert torch.equal(own.to(torch.float16), found.to(torch.float16))
    assert 0 < (own - found).abs().max() <= 2**-24


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
def test_an_image_that_is_not_rgb_is_converted_or_refused_by_the_engine(
    switch: RecipeSwitch, mode: str
) -> None:
    processor = processor_of(*_PROCESSORS[0])
    image = _image(48, 64).convert("L").convert(mode) if mode == "I;16" else _image(48, 64).convert(mode)
    expected = _processed(switch, processor, [image])
    found = _processed(switch, processor, [image], *_NUMBERS)
    assert (found["rows"], found["cols"]) == (expected["rows"], expected["cols"])
    assert torch.equal(as_encoded(found), as_encoded(expected))


@pytest.mark.parametrize(
    "options",
    [
        {"do_image_splitting": False},
        {"do_normalize": False},
        {"image_mean": [0.4] * 3},
        {"resample": 3},
        {"size": {"longest_edge": 1000}},
    ],
    ids=str,
)
def test_a_processor_that_is_set_otherwise_gives_the_engine_s_values(
    switch: RecipeSwitch, options: dict[str, Any]
) -> None:
    """What the worker could not normalize is normalized here; steps that are left out go the engine's own way."""
    processor = processor_of(*_PROCESSORS[0], **options)
    expected = _processed(switch, processor, [_image(480, 640)])
    found = _processed(switch, processor, [_image(480, 640)], *_NUMBERS)
    assert torch.equal(as_encoded(found), as_encoded(expected))


def test_float_arrays_go_the_engine_s_own_way(switch: RecipeSwitch) -> None:
    processor = processor_of(*_PROCESSORS[0])
    image = np.random.default_rng(0).random((3, 64, 64)).astype(np.float32)
    expected = _processed(switch, processor, [image])
    found = _processed(switch, processor, [image], *_NUMBERS)
    assert found.keys() == expected.keys()
    assert torch.equal(found["pixel_values"], expected["pixel_values"])


def test_claims_about_pil_are_of_lines_that_its_processors_have() -> None:
    """A claim about a line that no longer is there is not made, and a saving not predicted."""
    claims = [
        effect
        for by_family in (effects.REDUCE_TRANSFORM, effects.UINT8, effects.REMOVE_MASK)
        for effect in by_family[Family.IDEFICS3]
        if isinstance(effect, Removes) and "Pil" in effect.function
    ]
    assert len(claims) >= 6
    owners = {name: getattr(module, name) for module, name in _PROCESSORS} | {"PilBackend": PilBackend}
    for claim in claims:
        for function in claim.function.split("|"):
            owner, name = function.split(".")
            assert claim.at in inspect.getsource(getattr(owners[owner], name)), function
