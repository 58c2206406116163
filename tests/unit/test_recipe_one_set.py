"""A switch that is turned while a request is prepared: its images and its cache keys are of one set of recipes."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="the models' extra is not installed")
pytest.importorskip("vllm", reason="vLLM is not installed")

from tests.unit.engine_processor import engine_processor, fields, processed  # noqa: E402
from vlmprof.patching import Family, PatchSet, RecipeSwitch  # noqa: E402
from vlmprof.patching.registry import load_recipes  # noqa: E402

_NUMBERS = (1, 8)


def _image(seed: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (480, 640, 3), dtype=np.uint8), "RGB")


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return engine_processor("InternVL3-2B-hf", tmp_path_factory.mktemp("one_set"))


@pytest.mark.parametrize(("before", "after"), [(_NUMBERS, ()), ((), _NUMBERS)], ids=["off", "on"])
def test_a_request_is_prepared_with_the_recipes_that_were_on_when_it_came(
    processor: Any, monkeypatch: pytest.MonkeyPatch, before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    """Cutting the first image into tiles turns the switch: no tile and no key differs; the next request's do."""
    switch, images = RecipeSwitch.private(before), [_image(1), _image(2)]
    recipes = load_recipes()
    patches = PatchSet([recipes[number] for number in _NUMBERS], switch, Family.INTERNVL_HF)
    patches.apply()
    try:
        expected = processed(processor, images)
        image_processor = type(processor.info.get_hf_processor().image_processor)
        crop = image_processor.crop_image_to_patches

        def turning(*args: Any, **kwargs: Any) -> Any:
            switch.set(after)
            return crop(*args, **kwargs)

        monkeypatch.setattr(image_processor, "crop_image_to_patches", turning)
        found = processed(processor, images)
        assert switch.mask == RecipeSwitch.private(after).mask
        assert found["mm_hashes"] == expected["mm_hashes"]
        assert processed(processor, images)["mm_hashes"] != expected["mm_hashes"]
    finally:
        patches.undo()
    for index in range(2):
        assert fields(found, index).keys() == fields(expected, index).keys()
        for name, value in fields(expected, index).items():
            assert torch.equal(fields(found, index)[name], value)
