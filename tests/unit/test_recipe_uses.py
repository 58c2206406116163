"""Which recipes a run may call its own: those that did something, in the real processor and the real worker."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the models' extra is not installed")
pytest.importorskip("vllm", reason="vLLM is not installed")
idefics3 = pytest.importorskip("transformers.models.idefics3.image_processing_idefics3")

from vllm.model_executor.models.idefics3 import Idefics3ForConditionalGeneration  # noqa: E402

from tests.unit.idefics3_tiles import noise, processor_of  # noqa: E402
from vlmprof.patching import Family, PatchedCall, PatchSet, RecipeSwitch  # noqa: E402
from vlmprof.patching.registry import load_recipes  # noqa: E402
from vlmprof_recipes import internvl_inputs  # noqa: E402
from vlmprof_recipes.idefics3_inputs import UINT8_PIXELS, dense_features  # noqa: E402
from vlmprof_recipes.whole_images import IMAGES, SIZES  # noqa: E402

_NUMBERS = (1, 3, 6, 8, 10, 11)


class _Uses:
    """Which recipes did their work, and why others gave way."""

    def __init__(self) -> None:
        self.acted: set[int] = set()
        self.reasons: dict[int, set[str]] = {}
        self._of_call: set[int] = set()

    def add_calls(self, mask: int) -> None:
        self._of_call = _numbers(mask)
        self.acted |= self._of_call

    def add_failures(self, mask: int) -> None:
        raise AssertionError("no recipe fails here")

    def add_gave_way(self, mask: int, reason: str) -> None:
        self.acted -= _numbers(mask)
        for number in _numbers(mask):
            self.reasons.setdefault(number, set()).add(reason)


def _numbers(mask: int) -> set[int]:
    return {number for number in range(64) if mask >> number & 1}


@pytest.fixture
def uses() -> _Uses:
    return _Uses()


@pytest.fixture
def switch(uses: _Uses) -> Iterator[RecipeSwitch]:
    switch = RecipeSwitch.private()
    recipes = load_recipes()
    patches = PatchSet([recipes[number] for number in _NUMBERS], switch, Family.IDEFICS3, ledger=uses)
    patches.apply()
    yield switch
    patches.undo()


@pytest.mark.parametrize(
    ("on", "acted"),
    [
        ((1, 6, 8, 10, 11), {1, 8, 10, 11}),
        ((1, 6, 10), {1, 6, 10}),
        ((1, 8, 11), {1, 8, 11}),
        ((1, 3, 8), {1, 8}),
        (_NUMBERS, {1, 3, 8, 10, 11}),
    ],
    ids=str,
)
def test_the_processor_credits_the_recipes_that_made_its_tiles(
    switch: RecipeSwitch, uses: _Uses, on: tuple[int, ...], acted: set[int]
) -> None:
    """8 leaves 6 nothing to do, and 3 sends no whole image without all that it needs."""
    switch.set(on)
    processor_of(idefics3, "Idefics3ImageProcessor")([noise(480, 640)], return_tensors="pt")
    assert uses.acted == acted
    assert set(uses.reasons) == set(on) - acted


def test_a_processor_that_gives_way_credits_nobody(switch: RecipeSwitch, uses: _Uses) -> None:
    """Every recipe that was on says why."""
    switch.set(_NUMBERS)
    processor = processor_of(idefics3, "Idefics3ImageProcessor", do_normalize=False)
    processor([noise(480, 640)], return_tensors="pt")
    assert uses.acted == set()
    reason = "images that are not RGB, or a processor with other settings"
    assert uses.reasons == {number: {reason} for number in _NUMBERS}


@pytest.mark.parametrize(
    ("masked", "acted"), [(False, {8, 10}), (True, {8})], ids=["without a mask", "with one"]
)
def test_the_worker_credits_the_recipes_that_a_request_came_by(
    switch: RecipeSwitch, uses: _Uses, masked: bool, acted: set[int]
) -> None:
    """On a CPU uint8 tiles are normalized in float32: 6 has no part in it, and 3 sent none."""
    switch.set(_NUMBERS)
    weight = torch.empty(0, dtype=torch.bfloat16)
    embedding = SimpleNamespace(patch_embedding=SimpleNamespace(weight=weight))
    model = SimpleNamespace(
        config=SimpleNamespace(vision_config=SimpleNamespace(image_size=64)),
        model=SimpleNamespace(vision_model=SimpleNamespace(embeddings=embedding)),
    )
    sent = {UINT8_PIXELS: torch.zeros(2, 3, 64, 64, dtype=torch.uint8), "num_patches": torch.tensor([2])}
    if masked:
        sent["pixel_attention_mask"] = torch.ones(2, 64, 64, dtype=torch.int64)
    parse: Any = Idefics3ForConditionalGeneration._parse_and_validate_image_input
    parse(model, **sent)
    assert uses.acted == acted


def _used(replacement: Any, on: tuple[int, ...], *args: Any, **kwargs: Any) -> set[int]:
    call = PatchedCall(lambda *_, **__: None, sum(1 << number for number in on))
    replacement(call, *args, **kwargs)
    return _numbers(call.used)


_UINT8 = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
_FLOAT = _UINT8.to(torch.bfloat16)
_SIZES = torch.tensor([[32, 32, 1, 1, 32, 32, 1]])


@pytest.mark.parametrize(
    ("sent", "used"),
    [
        ({"pixel_values_flat_uint8": _UINT8}, {8}),
        ({"pixel_values_flat": _FLOAT}, set()),
        ({IMAGES: _UINT8.flatten(), SIZES: _SIZES}, {3}),
    ],
    ids=["uint8", "the engine's", "whole"],
)
def test_internvl_s_worker_credits_the_recipe_that_a_request_came_by(
    sent: dict[str, Any], used: set[int]
) -> None:
    """3, 6, 8 and 14 share the patch and are on."""
    on = (3, 6, 8, 14)
    assert _used(internvl_inputs.chat_keywords, on, None, **sent) == used
    assert _used(internvl_inputs.modality, on, None, sent) == used
    assert _used(internvl_inputs.with_mapping, on, None, sent) == used


def test_internvl_s_features_are_of_recipe_14_where_tiles_are_still_uint8() -> None:
    """Without it they are normalized in float32 on a CPU, which is no work of 6."""
    weight = SimpleNamespace(weight=torch.empty(0, dtype=torch.bfloat16))
    model = SimpleNamespace(vision_model=SimpleNamespace(embeddings=SimpleNamespace(patch_embedding=weight)))
    assert _used(internvl_inputs.chat_features, (6, 8, 14), model, _UINT8) == {14}
    assert _used(internvl_inputs.chat_features, (6, 8), model, _UINT8) == set()
    assert _used(internvl_inputs.chat_features, (6, 8, 14), model, _FLOAT) == set()


def test_smolvlm_s_features_are_of_recipe_10_where_no_mask_was_sent() -> None:
    """And of 14 where tiles are still uint8; a mask of somebody's own goes the engine's way."""
    encoder: Any = lambda **_: None  # noqa: E731 - a function that has attributes
    encoder.embeddings = SimpleNamespace(patch_embedding=SimpleNamespace(weight=torch.empty(0)))
    model = SimpleNamespace(vision_model=encoder)
    absent = torch.ones((), dtype=torch.bool).expand(1, 32, 32)
    on = (3, 10, 14)
    assert _used(dense_features, on, model, _FLOAT, absent) == {10}
    assert _used(dense_features, on, model, _UINT8, absent) == {10, 14}
    assert _used(dense_features, on, model, _UINT8, absent.clone()) == set()
