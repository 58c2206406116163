"""A worker's replacement that fails: the engine understands nothing that it was sent, and serves all the same."""

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the models' extra is not installed")
pytest.importorskip("vllm", reason="vLLM is not installed")

from transformers.models.got_ocr2.image_processing_got_ocr2 import GotOcr2ImageProcessor  # noqa: E402
from vllm.model_executor.models.idefics3 import (  # noqa: E402
    Idefics3ForConditionalGeneration,
    Idefics3Model,
)
from vllm.model_executor.models.interns1 import InternS1ForConditionalGeneration  # noqa: E402
from vllm.model_executor.models.internvl import InternVLChatModel  # noqa: E402
from vllm.v1.worker.utils import sanity_check_mm_encoder_outputs  # noqa: E402

from vlmprof.patching import Family, PatchedCall, PatchSet, RecipeSwitch  # noqa: E402
from vlmprof.patching.patch_set import _Counter, _replaced  # noqa: E402
from vlmprof.patching.registry import load_recipes  # noqa: E402
from vlmprof_recipes import (  # noqa: E402
    folded_embeddings,
    idefics3_inputs,
    idefics3_whole_images,
    internvl_hf_tiles,
    internvl_inputs,
    internvl_whole_images,
)
from vlmprof_recipes.pixel_arithmetic import HALF, IMAGENET, Scale  # noqa: E402
from vlmprof_recipes.whole_images import IMAGES, SIZES, packed  # noqa: E402

_INSTALLED = {
    Family.IDEFICS3: (1, 3, 6, 8, 10, 11),
    Family.INTERNVL_CHAT: (1, 2, 3, 6, 8, 11),
    Family.INTERNVL_HF: (1, 3, 6, 8, 11),
}


@pytest.fixture(params=tuple(_INSTALLED), ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Iterator[Family]:
    """A family whose recipes are installed, and all off: what was sent says what to do."""
    family: Family = request.param
    patches = _installed(family, RecipeSwitch.private())
    yield family
    patches.undo()


def _installed(family: Family, switch: RecipeSwitch) -> PatchSet:
    recipes = load_recipes()
    patches = PatchSet([recipes[number] for number in _INSTALLED[family]], switch, family)
    patches.apply()
    return patches


def _failing(*_args: Any, **_kwargs: Any) -> Any:
    raise RuntimeError("CUDA out of memory")


def _noise(*shape: int) -> Any:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _expected(tiles: Any, scale: Scale) -> Any:
    """bfloat16 of what is exact in float64."""
    mean, std = (torch.tensor(each).double().view(3, 1, 1) for each in (scale.mean, scale.std))
    return ((tiles.double() / 255 - mean) / std).to(torch.bfloat16)


class _Encoder(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Stands for a vision encoder: 16 features of a tile's mean, and what it was given."""

    def __init__(self) -> None:
        super().__init__()
        weight = SimpleNamespace(weight=torch.empty(0, dtype=torch.bfloat16))
        self.embeddings = SimpleNamespace(
            patch_embedding=weight, patch_embeddings=SimpleNamespace(projection=weight)
        )
        self.given: Any = None

    def forward(self, pixel_values: Any, patch_attention_mask: Any = None) -> Any:
        self.given = pixel_values
        return pixel_values.float().mean((1, 2, 3))[:, None, None].expand(-1, 5, 2)


def _idefics3(encoder: _Encoder) -> Any:
    inner = Idefics3Model.__new__(Idefics3Model)
    torch.nn.Module.__init__(inner)
    inner.vision_model, inner.connector = encoder, torch.nn.Identity()
    inner.patch_size = 16
    inner.config = SimpleNamespace(vision_config=SimpleNamespace(patch_size=16))
    model = Idefics3ForConditionalGeneration.__new__(Idefics3ForConditionalGeneration)
    torch.nn.Module.__init__(model)
    model.config = SimpleNamespace(vision_config=SimpleNamespace(image_size=64))
    model.model = inner
    return model


def _internvl(family: Family, encoder: _Encoder) -> Any:
    chat = family is Family.INTERNVL_CHAT
    model_class: Any = InternVLChatModel if chat else InternS1ForConditionalGeneration
    model = model_class.__new__(model_class)
    torch.nn.Module.__init__(model)
    model.config = SimpleNamespace(
        vision_config=SimpleNamespace(image_size=64 if chat else (64, 64)),
        text_config=SimpleNamespace(hidden_size=8),
    )
    model.downsample_ratio, model.ps_version = 0.5, "v2"
    setattr(model, "vision_model" if chat else "vision_tower", encoder)
    setattr(model, "mlp1" if chat else "multi_modal_projector", torch.nn.Identity())
    return model


def _served(family: Family, **sent: Any) -> tuple[Any, Any]:
    """Embeddings of the real `embed_multimodal`, and the pixels that the encoder was given."""
    encoder = _Encoder()
    if family is Family.IDEFICS3:
        model = _idefics3(encoder)
        known = {"num_patches": torch.tensor([3])}
    else:
        model = _internvl(family, encoder)
        known = {"image_num_patches": torch.tensor([3]), "image_token_id": torch.tensor(1)}
    return model.embed_multimodal(**sent, **known), encoder.given


_UINT8 = {
    Family.IDEFICS3: idefics3_inputs.UINT8_PIXELS,
    Family.INTERNVL_CHAT: "pixel_values_flat_uint8",
    Family.INTERNVL_HF: "pixel_values_uint8",
}


def _module(family: Family) -> Any:
    return idefics3_inputs if family is Family.IDEFICS3 else internvl_inputs


def _scale(family: Family) -> Scale:
    return HALF if family is Family.IDEFICS3 else IMAGENET


def test_uint8_tiles_that_the_recipe_fails_to_normalize_are_normalized_plainly(
    family: Family, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two requests, both served with the engine's pixels; the log has the failure once."""
    monkeypatch.setattr(_module(family), "_normalized", _failing)
    tiles = _noise(3, 3, 64, 64)
    with caplog.at_level(logging.WARNING, "vlmprof"):
        found, given = _served(family, **{_UINT8[family]: tiles})
        _served(family, **{_UINT8[family]: tiles})
    sanity_check_mm_encoder_outputs(found, 1)
    assert torch.equal(given, _expected(tiles, _scale(family)))
    assert sum("failed" in record.getMessage() for record in caplog.records) == 1


def test_whole_images_whose_tiles_the_recipe_fails_to_make_get_them_plainly(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first resize fails, as on a device without memory; the second, on the CPU, does not."""
    image = _noise(3, 60, 60)
    if family is Family.IDEFICS3:
        module: Any = idefics3_whole_images
        sizes = torch.tensor([[60, 60, 128, 64, 128, 64, 64]])
    else:
        module = internvl_whole_images
        sizes = torch.tensor([[60, 60, 2, 1, 64, 64, 3]])
    sent = {IMAGES: packed([image]), SIZES: sizes}
    expected = module.tiles_of(sent[IMAGES], sent[SIZES])
    resized, calls = module.resized, []

    def failing_first(*args: Any) -> Any:
        calls.append(args)
        return _failing() if len(calls) == 1 else resized(*args)

    monkeypatch.setattr(module, "resized", failing_first)
    found, given = _served(family, **sent)
    sanity_check_mm_encoder_outputs(found, 1)
    assert torch.equal(given, _expected(expected, _scale(family)))


def test_cuda_graphs_are_filled_plainly_where_the_recipe_fails(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items are chosen and buffers filled as the engine would have of its own tiles."""
    if family is Family.INTERNVL_HF:
        pytest.skip("this model has no CUDA graphs of its encoder")
    for name in ("_normalized", "_known", "_completed"):
        monkeypatch.setattr(_module(family), name, _failing, raising=False)
    tiles, is_idefics3 = _noise(3, 3, 64, 64), family is Family.IDEFICS3
    model = _idefics3(_Encoder()) if is_idefics3 else _internvl(family, _Encoder())
    if is_idefics3:
        model.model.get_position_ids = lambda mask: mask
    counts = {"num_patches" if is_idefics3 else "image_num_patches": torch.tensor([1, 2])}
    chosen = model.select_encoder_cudagraph_items({_UINT8[family]: tiles, **counts}, [1])
    buffers = model.prepare_encoder_cudagraph_replay_buffers(chosen, 2, 1)
    name = "pixel_values" if is_idefics3 else "pixel_values_flat"
    assert torch.equal(buffers.values[name], _expected(tiles[1:], _scale(family)))


@pytest.mark.parametrize("numbers", [(14,), ()], ids=["on", "off"])
def test_tiles_that_recipe_14_fails_to_embed_are_embedded_by_the_engine(
    family: Family, monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...]
) -> None:
    """Its function gets them normalized: as they are it would take them for pixels of 0 to 255."""
    monkeypatch.setattr(folded_embeddings, "_embedded", _failing)
    weight = SimpleNamespace(weight=torch.empty(0, dtype=torch.bfloat16))
    embeddings = SimpleNamespace(patch_embedding=weight, projection=weight)
    (patch,) = (each for each in load_recipes()[14].patches_for(family) if "folded" in each.replacement)
    embed = _replaced(
        patch,
        lambda _embeddings, pixels, *_: pixels,
        RecipeSwitch.private(numbers),
        1 << 14,
        counter=_Counter(),
        ledger=None,
    )
    mask = (torch.ones(2, 2, 2, dtype=torch.bool),) if family is Family.IDEFICS3 else ()
    tiles = _noise(2, 3, 32, 32)
    expected = _expected(tiles, _scale(family))
    assert torch.equal(embed(embeddings, tiles, *mask), expected)
    assert embed(embeddings, expected, *mask) is expected


def test_features_of_uint8_tiles_that_the_recipe_fails_to_encode_are_of_normalized_ones() -> None:
    """Recipe 14 left them uint8 for the encoder, which the engine would have taken for pixels of 0 to 255."""
    model = SimpleNamespace(vision_model=_Encoder())
    call, tiles = PatchedCall(lambda _model, pixels, **_: pixels, 1 << 14), _noise(2, 3, 32, 32)
    found = idefics3_inputs.plain_features(call, model, tiles, pixel_attention_mask=None)
    assert torch.equal(found, _expected(tiles, HALF))


@pytest.mark.parametrize("numbers", [(1,), (1, 8)], ids=str)
def test_one_image_that_fails_gets_tiles_of_the_type_that_the_others_have(
    monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...]
) -> None:
    """HF-native InternVL's images are processed one by one and joined: uint8 beside float32 would be float32."""
    processor = GotOcr2ImageProcessor(
        size={"height": 448, "width": 448},
        crop_to_patches=True,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
        resample=3,
    )
    patches = _installed(Family.INTERNVL_HF, RecipeSwitch.private(numbers))
    try:
        expected = processor(images=_noise(3, 480, 640), return_tensors="pt")["pixel_values"]
        monkeypatch.setattr(internvl_hf_tiles, "_tiles", _failing)
        found = processor(images=_noise(3, 480, 640), return_tensors="pt")["pixel_values"]
    finally:
        patches.undo()
    assert found.dtype == expected.dtype == (torch.uint8 if 8 in numbers else torch.float32)
    assert torch.equal(found, expected)
