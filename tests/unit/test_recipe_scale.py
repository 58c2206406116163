"""Which images and which normalization the recipes know."""

import pytest

torch = pytest.importorskip("torch", reason="the models' extra is not installed")
Image = pytest.importorskip("PIL.Image")

from vlmprof_recipes.hf_normalization import has_scale  # noqa: E402
from vlmprof_recipes.pixel_arithmetic import HALF, IMAGENET  # noqa: E402
from vlmprof_recipes.plain_images import is_rgb  # noqa: E402


def test_a_processor_s_scale_is_known_by_mean_deviation_and_factor() -> None:
    """Lists as configs have them, or tuples; all three must be what the worker will take."""
    options = {"image_mean": [0.5, 0.5, 0.5], "image_std": (0.5, 0.5, 0.5), "rescale_factor": 1 / 255}
    assert has_scale(options, HALF)
    assert not has_scale(options, IMAGENET)
    assert not has_scale(options | {"rescale_factor": 1 / 127.5}, HALF)
    assert not has_scale(options | {"image_std": [0.5, 0.5, 0.4]}, HALF)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_only_plain_rgb_images_are_treated(mode: str) -> None:
    """An array might be of any scale."""
    assert is_rgb(Image.new("RGB", (2, 2)))
    assert not is_rgb(Image.new(mode, (2, 2)))
    assert not is_rgb(torch.zeros(3, 2, 2, dtype=torch.uint8).numpy())
