"""Pixels of one prompt against those without recipes, and the worker's own code on the way to them."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the models' extra is not installed")

from vlmprof.model.verification import Pixels, PixelsCompared, PixelsMismatched, PixelsUnseen  # noqa: E402
from vlmprof.patching import Family, PatchSet, RecipeSwitch  # noqa: E402
from vlmprof.patching.registry import load_recipes  # noqa: E402
from vlmprof.patching.verify_processor import ProcessedPrompt, compared_pixels  # noqa: E402
from vlmprof.patching.verify_worker import WorkerModel, joined  # noqa: E402

_EDGE, _IMAGE_TOKEN = 32, 7


def _compared(expected: Any, found: Any) -> Pixels:
    return compared_pixels(ProcessedPrompt(pixels=(expected,)), ProcessedPrompt(pixels=(found,)))


def test_equal_pixels_differ_by_nothing() -> None:
    zeros = torch.zeros(2, 3, 8, 8, dtype=torch.bfloat16)
    assert _compared(zeros, zeros.clone()) == PixelsCompared(max_difference=0.0, mean_difference=0.0)


def test_the_largest_and_the_mean_difference_are_of_all_values() -> None:
    """0.5 in one of four values: 0.125 in the mean."""
    found = torch.tensor([0.0, 0.5, 0.0, 0.0])
    assert _compared(torch.zeros(4), found) == PixelsCompared(max_difference=0.5, mean_difference=0.125)


def test_pixels_of_another_dtype_or_width_are_a_mismatch_that_names_both() -> None:
    """200s in float32 where the engine has zeros in bfloat16, and one column less."""
    zeros = torch.zeros(2, 3, 8, 8, dtype=torch.bfloat16)
    assert _compared(zeros, torch.full((2, 3, 8, 8), 200.0)) == PixelsMismatched(
        found="float32 [2, 3, 8, 8]", expected="bfloat16 [2, 3, 8, 8]"
    )
    assert _compared(zeros, zeros[..., :7]) == PixelsMismatched(
        found="bfloat16 [2, 3, 8, 7]", expected="bfloat16 [2, 3, 8, 8]"
    )


def test_pixels_that_never_come_are_a_mismatch_and_none_at_all_are_unseen() -> None:
    """A worker that does not know what it was sent encodes nothing."""
    expected = ProcessedPrompt(pixels=(torch.zeros(1, 3, 8, 8),))
    assert compared_pixels(expected, ProcessedPrompt()) == PixelsMismatched(
        found="none", expected="float32 [1, 3, 8, 8]"
    )
    assert isinstance(compared_pixels(ProcessedPrompt(), ProcessedPrompt()), PixelsUnseen)


def test_pixels_that_are_no_numbers_are_not_equal() -> None:
    found = _compared(torch.zeros(2), torch.tensor([0.0, float("nan")]))
    assert found == PixelsUnseen(reason="they differ by no finite number")


def test_an_error_in_the_worker_is_told_from_a_refusal() -> None:
    expected = ProcessedPrompt(pixels=(torch.zeros(1),))
    refused = compared_pixels(expected, ProcessedPrompt(refused="ValueError: no"))
    failed = compared_pixels(expected, ProcessedPrompt(worker_error="KeyError: 'x'"))
    assert refused == PixelsUnseen(reason="the prompt was refused")
    assert failed == PixelsUnseen(reason="the worker fails with recipes: KeyError: 'x'")


def test_how_tiles_are_batched_is_no_difference() -> None:
    """2 tiles and 1 beside 3, but 1 of another dtype stays apart."""
    tiles = torch.rand(3, 3, 8, 8)
    [together] = joined([tiles[:2], tiles[2:]])
    assert torch.equal(together, tiles)
    assert len(joined([tiles, tiles.to(torch.bfloat16)])) == 2


_MODELS = {
    Family.IDEFICS3: ("idefics3", "Idefics3ForConditionalGeneration", "pixel_values", "num_patches"),
    Family.INTERNVL_CHAT: ("internvl", "InternVLChatModel", "pixel_values_flat", "image_num_patches"),
    Family.INTERNVL_HF: (
        "interns1",
        "InternS1ForConditionalGeneration",
        "pixel_values",
        "image_num_patches",
    ),
}
_NORMALIZED = {
    Family.IDEFICS3: "vlmprof_recipes.idefics3_inputs.normalized",
    Family.INTERNVL_CHAT: "vlmprof_recipes.internvl_inputs.normalized_after_rescaling",
    Family.INTERNVL_HF: "vlmprof_recipes.internvl_inputs.normalized_with_rescaling",
}


@pytest.fixture(params=_MODELS, ids=str)
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@pytest.fixture
def switch(family: Family) -> Iterator[RecipeSwitch]:
    """Recipes 1, 8, 10 and 14 of a family, installed and off."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    switch, known = RecipeSwitch.private(), load_recipes()
    patches = PatchSet([known[number] for number in (1, 8, 10, 14)], switch, family)
    patches.apply()
    yield switch
    failures = {target: counts.failures for target, counts in patches.counts().items() if counts.failures}
    patches.undo()
    assert failures == {}, "an ended walk to the encoder is no failed recipe"


@pytest.fixture
def worker(family: Family, switch: RecipeSwitch, monkeypatch: pytest.MonkeyPatch) -> WorkerModel:
    """A family's model for tiles of 32 x 32."""
    import importlib

    from vllm.model_executor.model_loader import utils

    module, name, *_ = _MODELS[family]
    of_class = getattr(importlib.import_module(f"vllm.model_executor.models.{module}"), name)
    monkeypatch.setattr(utils, "get_model_cls", lambda config: of_class)
    edges = (_EDGE, _EDGE) if family is Family.INTERNVL_HF else _EDGE
    vision = SimpleNamespace(image_size=edges, patch_size=16)
    config = SimpleNamespace(dtype=torch.bfloat16, hf_config=SimpleNamespace(vision_config=vision))
    return WorkerModel(config, family)


def _sent(family: Family, tiles: Any, suffix: str = "") -> list[Any]:
    """One image's tiles as the API server sends them."""
    from transformers import BatchFeature
    from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems

    *_, pixels, count = _MODELS[family]
    counts = torch.tensor([len(tiles)])
    by_tile = MultiModalFieldConfig.flat_from_sizes("image", counts)
    fields = {
        pixels + suffix: (tiles, by_tile),
        count: (counts, MultiModalFieldConfig.batched("image")),
        "image_token_id": (torch.tensor(_IMAGE_TOKEN), MultiModalFieldConfig.shared("image", 1)),
        "pixel_attention_mask": (torch.ones(len(tiles), _EDGE, _EDGE, dtype=torch.int64), by_tile),
    }
    unused = "image_token_id" if family is Family.IDEFICS3 else "pixel_attention_mask"
    del fields[unused]
    if suffix:
        fields.pop("pixel_attention_mask", None)
    items = MultiModalKwargsItems.from_hf_inputs(
        BatchFeature({name: value for name, (value, _) in fields.items()}),
        {name: config for name, (_, config) in fields.items()},
    )
    return list(items["image"])


def _tiles(count: int = 2) -> Any:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, _EDGE, _EDGE), dtype=torch.uint8, generator=generator)


def test_the_engine_s_pixels_reach_the_encoder_as_they_were_sent(family: Family, worker: WorkerModel) -> None:
    """No recipe is on; two images of 2 and 1 tiles are one batch."""
    pixels = torch.rand(3, 3, _EDGE, _EDGE).to(torch.bfloat16)
    items = [*_sent(family, pixels[:2]), *_sent(family, pixels[2:])]
    [found] = worker.encoder_pixels(items)
    assert torch.equal(found, pixels)


def test_uint8_tiles_are_normalized_by_the_recipe_s_own_function(
    family: Family, worker: WorkerModel, switch: RecipeSwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong there shows: here it makes 3 of every value."""
    switch.set([1, 8, 10])
    items = _sent(family, _tiles(), "_uint8")
    [right] = worker.encoder_pixels(items)
    assert (right.dtype, right.shape) == (torch.bfloat16, _tiles().shape)
    assert right.float().mean().abs() < 0.5, "uniform noise, normalized"
    monkeypatch.setattr(_NORMALIZED[family], lambda tiles, dtype: torch.full(tiles.shape, 3.0, dtype=dtype))
    [wrong] = worker.encoder_pixels(items)
    assert torch.equal(wrong, torch.full_like(wrong, 3.0))


def test_tiles_that_the_patch_embedding_normalizes_reach_the_encoder_as_uint8(
    family: Family, worker: WorkerModel, switch: RecipeSwitch
) -> None:
    """Under recipe 14; after it was switched off the worker normalizes what was sent under it."""
    switch.set([1, 8, 10, 14])
    items = _sent(family, _tiles(), "_uint8")
    [raw] = worker.encoder_pixels(items)
    assert torch.equal(raw, _tiles())
    switch.set([])
    [normalized] = worker.encoder_pixels(items)
    assert normalized.dtype == torch.bfloat16


def test_an_error_of_the_worker_s_code_is_raised(
    family: Family, worker: WorkerModel, switch: RecipeSwitch
) -> None:
    """Tiles one column too narrow, which the engine itself refuses to encode."""
    if family is Family.IDEFICS3:
        items = _sent(family, torch.zeros(1, 3, _EDGE, _EDGE - 1, dtype=torch.bfloat16))
    else:
        items = _sent(family, _tiles()[..., :-1], "_uint8")
    with pytest.raises(ValueError, match="shape"):
        worker.encoder_pixels(items)
