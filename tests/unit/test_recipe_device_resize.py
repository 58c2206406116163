"""Recipe 3's resize by matrix products: the very values of torchvision's on the CPU."""

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the models' extra is not installed")
functional = pytest.importorskip("torchvision.transforms.v2.functional")

from vlmprof_recipes.device_resize import (  # noqa: E402
    BICUBIC,
    LANCZOS,
    Filter,
    _rounds_operands,
    resized,
    weights_of,
)

_SIZES = [
    ((480, 640), (1536, 2048)),
    ((640, 480), (2048, 1536)),
    ((1536, 2048), (512, 512)),
    ((1080, 1920), (1152, 2048)),
    ((37, 100), (758, 2048)),
    ((512, 512), (512, 512)),
    ((3000, 17), (2048, 12)),
    ((480, 640), (1344, 1792)),
    ((480, 640), (448, 448)),
    ((1080, 1920), (896, 1792)),
    ((1, 1), (448, 448)),
]


def _image(height: int, width: int) -> Any:
    """Noise in one half and black and white stripes, which make Lanczos overshoot, in the other."""
    image = torch.randint(
        0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    image[..., : width // 2] = 0
    image[:, ::3, : width // 2] = 255
    return image


@pytest.mark.parametrize("resampling", [LANCZOS, BICUBIC], ids=lambda each: each.name)
@pytest.mark.parametrize(("before", "after"), _SIZES, ids=str)
def test_matrix_products_give_torchvision_s_pixels(
    before: tuple[int, int], after: tuple[int, int], resampling: Filter
) -> None:
    """Up, down, one axis up and the other down, and no change at all: no pixel differs."""
    pytest.importorskip(
        "torchvision", "0.27", reason="earlier ones do not resize tensors with Lanczos' filter"
    )
    image = _image(*before)
    mode = functional.InterpolationMode(resampling.name)
    expected = functional.resize(image, list(after), interpolation=mode, antialias=True)
    assert torch.equal(resized(image, after, resampling), expected)


@pytest.mark.parametrize(("n_from", "n_to"), [(640, 2048), (2048, 512), (4000, 100)])
def test_weights_are_integers_of_16_bits_that_add_up_to_one(n_from: int, n_to: int) -> None:
    """Rounding moves a sum of 6 to 241 weights by half a unit each at most."""
    weights = weights_of(LANCZOS, n_from, n_to)
    assert torch.equal(weights.matrix, weights.matrix.round())
    assert weights.matrix.abs().max() < 1 << 15
    taps = int((weights.matrix != 0).sum(1).max())
    assert (weights.matrix.sum(1) - (1 << weights.bits)).abs().max() <= taps / 2


def test_float32_is_left_where_it_could_not_hold_a_sum() -> None:
    """640 to 2048: weights below 2**15 of 14 bits, sums near 2**22. 4000 to 100: 20 bits, sums near 2**28."""
    assert weights_of(LANCZOS, 640, 2048).fits_float32
    assert not weights_of(LANCZOS, 4000, 100).fits_float32


@pytest.fixture
def products() -> Iterator[Any]:
    """torch's settings of CUDA's products, put back afterwards."""
    settings = torch.backends.cuda.matmul
    before = settings.fp32_precision
    yield settings
    torch.set_float32_matmul_precision("highest")
    settings.fp32_precision = before


@pytest.mark.parametrize(
    ("legacy", "current", "rounds"),
    [("highest", "ieee", False), ("high", "ieee", False), ("high", "tf32", True), ("highest", "none", False)],
)
def test_what_products_round_is_read_whichever_settings_were_made(
    products: Any, legacy: str, current: str, rounds: bool
) -> None:
    """The second: VLLM_BATCH_INVARIANT=1 beside VLLM_FLOAT32_MATMUL_PRECISION=high; `allow_tf32` raises there."""
    torch.set_float32_matmul_precision(legacy)
    products.fp32_precision = current
    assert _rounds_operands() == rounds
    image = _image(37, 100)
    assert resized(image, (64, 64), BICUBIC).shape == (3, 64, 64)
