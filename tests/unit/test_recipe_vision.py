"""Recipes 14 and 15: the worker's patch embedding and vision encoder, near to float64 and switched by the call."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the models' extra is not installed")

from vlmprof.patching import PatchedCall  # noqa: E402
from vlmprof.patching.switch import mask_of  # noqa: E402
from vlmprof_recipes import folded_embeddings, vision_float32, weight_changes  # noqa: E402
from vlmprof_recipes.folded_embeddings import embed, fold  # noqa: E402
from vlmprof_recipes.pixel_arithmetic import HALF, IMAGENET, Scale  # noqa: E402
from vlmprof_recipes.vision_float32 import in_float32  # noqa: E402

_PATCH, _EDGE, _HIDDEN = 16, 64, 32


def _call(original: Any, *numbers: int) -> PatchedCall:
    """A call with some recipes on, of a module's own forward."""
    return PatchedCall(original, mask_of(numbers))


def _tiles(count: int) -> Any:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, _EDGE, _EDGE), dtype=torch.uint8, generator=generator)


def _convolution(dtype: Any, *, bias: bool = True) -> Any:
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, _HIDDEN, _PATCH, stride=_PATCH, bias=bias).to(dtype)


def _normalized(tiles: Any, scale: Scale = HALF) -> Any:
    """In float64."""
    mean, std = (torch.tensor(each, dtype=torch.float64).view(-1, 1, 1) for each in (scale.mean, scale.std))
    return (tiles.double() / 255 - mean) / std


def _expected(tiles: Any, convolution: Any, scale: Scale = HALF) -> Any:
    """[tiles, patches, hidden] in float64: normalized, then convolved."""
    normalized = _normalized(tiles, scale)
    bias = None if convolution.bias is None else convolution.bias.double()
    embedded = torch.nn.functional.conv2d(normalized, convolution.weight.double(), bias, stride=_PATCH)
    return embedded.flatten(2).transpose(1, 2)


def _relative_rms(found: Any, expected: Any) -> float:
    return float(((found.double() - expected).norm() / expected.norm()).detach())


@pytest.mark.parametrize("scale", [HALF, IMAGENET], ids=["half", "imagenet"])
@pytest.mark.parametrize("bias", [True, False])
def test_folded_weights_embed_uint8_tiles_as_normalized_ones(bias: bool, scale: Scale) -> None:
    """In float64 nothing is rounded but the weights: the two differ by what a double holds of them."""
    convolution, tiles = _convolution(torch.float64, bias=bias), _tiles(3)
    with torch.inference_mode():
        found = embed(tiles, fold(convolution.weight, convolution.bias, torch.float64, scale), _PATCH)
    assert found.shape == (3, (_EDGE // _PATCH) ** 2, _HIDDEN)
    assert _relative_rms(found, _expected(tiles, convolution, scale)) < 1e-12


def test_tiles_are_embedded_alike_however_their_colours_lie() -> None:
    """Apart, beside one another, or cut out of something larger."""
    convolution, tiles = _convolution(torch.float64), _tiles(3)
    folded = fold(convolution.weight, convolution.bias, torch.float64, IMAGENET)
    larger = torch.zeros(3, 3, _EDGE, 2 * _EDGE, dtype=torch.uint8)
    larger[..., _EDGE:] = tiles
    with torch.inference_mode():
        apart = embed(tiles, folded, _PATCH)
        beside = embed(tiles.contiguous(memory_format=torch.channels_last), folded, _PATCH)
        cut = embed(larger[..., _EDGE:], folded, _PATCH)
    assert _relative_rms(beside, apart) < 1e-12
    assert torch.equal(cut, apart)


def test_black_and_white_tiles_are_the_two_ends_of_the_scale() -> None:
    """0 is normalized to -1 and 255 to 1: embeddings are bias less and plus the sum of the weights."""
    convolution = _convolution(torch.float64)
    ends = torch.stack([torch.zeros(3, _EDGE, _EDGE), torch.full((3, _EDGE, _EDGE), 255.0)]).to(torch.uint8)
    with torch.inference_mode():
        black, white = embed(ends, fold(convolution.weight, convolution.bias, torch.float64), _PATCH)
    total = convolution.weight.detach().flatten(1).sum(1)
    assert torch.allclose(black[0], convolution.bias.detach() - total)
    assert torch.allclose(white[0], convolution.bias.detach() + total)


def test_float32_is_nearer_to_float64_than_the_engine_s_bfloat16() -> None:
    """The engine rounds the pixels and each sum to bfloat16, of 8 bits."""
    convolution, tiles = _convolution(torch.bfloat16), _tiles(4)
    expected = _expected(tiles, convolution)
    with torch.inference_mode():
        pixels = ((tiles.float() - 127.5) / 127.5).to(torch.bfloat16)
        engines = convolution(pixels).flatten(2).transpose(1, 2)
        found = embed(tiles, fold(convolution.weight, convolution.bias, torch.float32), _PATCH)
    assert _relative_rms(found, expected) < 1e-5 < _relative_rms(engines, expected)


class _Embeddings(torch.nn.Module):  # type: ignore[misc, name-defined]
    """As far as the recipe sees of the engine's embeddings: a convolution and positions."""

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        self.patch_embedding = _convolution(dtype)
        self.patch_size = _PATCH
        self.position_embedding = torch.nn.Embedding((_EDGE // _PATCH) ** 2, _HIDDEN).to(dtype)

    def get_position_ids(self, mask: Any) -> Any:
        return torch.arange(mask[0].numel())[None].expand(len(mask), -1)

    def forward(self, pixel_values: Any, patch_attention_mask: Any) -> Any:
        embedded = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        return embedded + self.position_embedding(self.get_position_ids(patch_attention_mask))


def _whole(count: int) -> Any:
    return torch.ones(count, _EDGE // _PATCH, _EDGE // _PATCH, dtype=torch.bool)


def test_uint8_tiles_are_embedded_with_positions_and_others_by_the_engine() -> None:
    """In float32 the sums differ by their order alone."""
    embeddings, tiles = _Embeddings(torch.float32), _tiles(2)
    call: Any = _call(lambda module, *args: module(*args))
    normalized = (tiles.float() - 127.5) / 127.5
    with torch.inference_mode():
        engines = folded_embeddings.idefics3(call, embeddings, normalized, _whole(2))
        found = folded_embeddings.idefics3(call, embeddings, tiles, _whole(2))
    assert torch.equal(engines, embeddings(normalized, _whole(2)))
    assert found.dtype == torch.float32
    assert torch.allclose(found, engines, atol=1e-5)


class _InternEmbeddings(torch.nn.Module):  # type: ignore[misc, name-defined]
    """vLLM's of InternVLChat, as far as the recipe sees of them: class embedding, convolution, positions."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding, self.patch_size = _convolution(torch.float32), _PATCH
        self.class_embedding = torch.nn.Parameter(torch.randn(1, 1, _HIDDEN))
        self.position_embedding = torch.nn.Parameter(torch.randn(1, (_EDGE // _PATCH) ** 2 + 1, _HIDDEN))

    def _get_position_embedding(self, rows: int, columns: int) -> Any:
        assert (rows, columns) == (_EDGE // _PATCH, _EDGE // _PATCH)
        return self.position_embedding

    def forward(self, pixel_values: Any) -> Any:
        embedded = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(embedded), 1, -1)
        return torch.cat([first, embedded], dim=1) + self.position_embedding


def test_internvl_chat_embeds_uint8_tiles_behind_its_class_embedding() -> None:
    embeddings, tiles = _InternEmbeddings(), _tiles(2)
    call: Any = _call(lambda module, *args: module(*args))
    normalized = _normalized(tiles, IMAGENET).float()
    with torch.inference_mode():
        engines = folded_embeddings.internvl_chat(call, embeddings, normalized)
        found = folded_embeddings.internvl_chat(call, embeddings, tiles)
    assert torch.equal(engines, embeddings(normalized))
    assert torch.allclose(found, engines, atol=1e-4)


class _Projection(torch.nn.Module):  # type: ignore[misc, name-defined]
    """vLLM's patch embeddings of HF-native InternVL: a convolution, and how many patches there are."""

    def __init__(self) -> None:
        super().__init__()
        self.projection, self.patch_size = _convolution(torch.float32), (_PATCH, _PATCH)

    def forward(self, pixel_values: Any) -> Any:
        embedded = self.projection(pixel_values)
        return embedded.flatten(2).transpose(1, 2), (embedded.shape[2], embedded.shape[3])


def test_hf_native_internvl_embeds_uint8_tiles_and_counts_the_patches() -> None:
    embeddings, tiles = _Projection(), _tiles(2)
    call: Any = _call(lambda module, *args: module(*args))
    normalized = _normalized(tiles, IMAGENET).float()
    with torch.inference_mode():
        engines, patches = folded_embeddings.internvl_hf(call, embeddings, normalized)
        found, found_patches = folded_embeddings.internvl_hf(call, embeddings, tiles)
    assert torch.equal(engines, embeddings(normalized)[0])
    assert torch.allclose(found, engines, atol=1e-4)
    assert found_patches == patches == (_EDGE // _PATCH, _EDGE // _PATCH)


def test_tiles_are_embedded_with_the_weights_that_were_loaded_last() -> None:
    """Weights that were set to nought: what is left is the bias, 0, once the engine was asked to reload.

    Values copied into the parameter itself are noticed without that.
    """
    embeddings, tiles = _Projection(), _tiles(1)
    call: Any = _call(lambda module, *args: module(*args))
    weight, bias = embeddings.projection.weight, embeddings.projection.bias
    with torch.inference_mode():
        assert folded_embeddings.internvl_hf(call, embeddings, tiles)[0].any()
        bias.copy_(torch.zeros(_HIDDEN))
        weight.data.copy_(torch.zeros_like(weight))
        weight_changes.weights_may_change()
        assert not folded_embeddings.internvl_hf(call, embeddings, tiles)[0].any()
        weight.copy_(torch.ones_like(weight))
        assert folded_embeddings.internvl_hf(call, embeddings, tiles)[0].any()


def test_weights_are_folded_once_for_as_long_as_nobody_changes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests, then a bias that takes the place of the first one."""
    folds: list[Any] = []

    def counted(*given: Any) -> Any:
        folds.append(given)
        return fold(*given)

    monkeypatch.setattr(folded_embeddings, "fold", counted)
    embeddings, tiles = _Projection(), _tiles(1)
    call: Any = _call(lambda module, *args: module(*args))
    for _ in range(2):
        folded_embeddings.internvl_hf(call, embeddings, tiles)
    assert len(folds) == 1
    embeddings.projection.bias = torch.nn.Parameter(torch.ones(_HIDDEN))
    folded_embeddings.internvl_hf(call, embeddings, tiles)
    assert len(folds) == 2


@pytest.fixture
def without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision_float32, "multiplies_bfloat16", lambda: False)


def _seen(layer: Any, *numbers: int) -> tuple[list[Any], Any]:
    """Types of weight and input during a call with these recipes on, and what the call returned."""
    seen: list[Any] = []

    def forward(module: Any, features: Any) -> Any:
        seen.extend([module.weight.dtype, features.dtype])
        return module(features)

    call: Any = _call(forward, *numbers)
    with torch.inference_mode():
        found = in_float32(call, layer, torch.ones(2, 8, dtype=torch.bfloat16))
    return seen, found


@pytest.mark.usefixtures("without_bfloat16")
def test_a_module_is_called_in_float32_while_the_recipe_is_on_and_left_as_it_was() -> None:
    """The weight tensor after the call is the very one from before, and the result has the engine's type."""
    layer = torch.nn.Linear(8, 4).to(torch.bfloat16)
    storage = layer.weight.data_ptr()
    assert _seen(layer, 15)[0] == [torch.float32, torch.float32]
    assert (layer.weight.dtype, layer.weight.data_ptr()) == (torch.bfloat16, storage)
    assert _seen(layer, 15)[1].dtype == torch.bfloat16
    assert _seen(layer)[0] == [torch.bfloat16, torch.bfloat16]


@pytest.mark.usefixtures("without_bfloat16")
@pytest.mark.parametrize("in_place", [True, False])
def test_a_module_is_called_with_the_weights_that_were_loaded_last(in_place: bool) -> None:
    """Eight ones times weights of 0 and then of 1; without a bias that is 0 and 8.

    Into the parameter itself, or past it as the engine reloads, which says so.
    """
    layer = torch.nn.Linear(8, 4, bias=False).to(torch.bfloat16)
    for value in (0.0, 1.0):
        with torch.inference_mode():
            (layer.weight if in_place else layer.weight.data).fill_(value)
        if not in_place:
            weight_changes.weights_may_change()
        found = _seen(layer, 15)[1]
        assert torch.equal(found, torch.full((2, 4), 8 * value, dtype=torch.bfloat16))
        assert torch.equal(layer.weight, torch.full((4, 8), value, dtype=torch.bfloat16))


@pytest.mark.usefixtures("without_bfloat16")
def test_weights_are_widened_once_for_as_long_as_nobody_changes_them() -> None:
    """Putting them in their place and back is no change."""
    layer = torch.nn.Linear(8, 4).to(torch.bfloat16)
    wide = [vision_float32._float32_weights(layer)[0].wide.data_ptr()]
    for _ in range(2):
        _seen(layer, 15)
        wide.append(vision_float32._float32_weights(layer)[0].wide.data_ptr())
    assert len(set(wide)) == 1


@pytest.mark.usefixtures("without_bfloat16")
def test_weights_are_put_back_when_the_module_raises() -> None:
    """The engine's own way, which is taken next, finds its own weights."""
    layer = torch.nn.Linear(8, 4).to(torch.bfloat16)

    def fail(*_args: Any) -> Any:
        raise ValueError("broken")

    call: Any = _call(fail, 15)
    with pytest.raises(ValueError, match="broken"):
        in_float32(call, layer, torch.ones(2, 8))
    assert layer.weight.dtype == torch.bfloat16


@pytest.mark.usefixtures("without_bfloat16")
def test_a_weight_that_the_engine_packed_away_leaves_the_module_alone() -> None:
    """oneDNN's packed weights leave an empty parameter: there is nothing to widen."""
    layer = torch.nn.Linear(8, 4).to(torch.bfloat16)
    layer.spare = torch.nn.Parameter(torch.empty(0, dtype=torch.bfloat16))
    assert _seen(layer, 15)[0] == [torch.bfloat16, torch.bfloat16]


def test_a_processor_with_bfloat16_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where oneDNN has kernels, float32 would be the slower one."""
    monkeypatch.setattr(vision_float32, "multiplies_bfloat16", lambda: True)
    layer = torch.nn.Linear(8, 4).to(torch.bfloat16)
    assert _seen(layer, 15)[0] == [torch.bfloat16, torch.bfloat16]
