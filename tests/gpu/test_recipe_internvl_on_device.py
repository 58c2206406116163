"""Recipes 3, 6 and 8 of InternVL3 on a GPU: tiles are made and normalized to the same values as on the CPU."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the models' extra is not installed")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"),
]

from tests.unit.idefics3_tiles import noise  # noqa: E402
from vlmprof_recipes.internvl_inputs import (  # noqa: E402
    normalized_after_rescaling,
    normalized_with_rescaling,
)
from vlmprof_recipes.internvl_whole_images import tiles_of  # noqa: E402
from vlmprof_recipes.pixel_arithmetic import IMAGENET, in_bfloat16  # noqa: E402
from vlmprof_recipes.whole_images import packed  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("normalized", [normalized_after_rescaling, normalized_with_rescaling])
def test_the_device_normalizes_every_value_of_every_channel_as_the_cpu_does(
    normalized: Any, dtype: Any
) -> None:
    """256 values in each of three channels; a reciprocal in the place of a division would round otherwise."""
    tiles = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16).contiguous()
    assert torch.equal(normalized(tiles.cuda(), dtype).cpu(), normalized(tiles, dtype))


def test_the_device_makes_the_cpu_s_tiles() -> None:
    """4 x 3 tiles and the whole of a 640x480 image, and the one tile of a small one."""
    images = packed([noise(480, 640), noise(50, 50)])
    sizes = torch.tensor([[480, 640, 3, 4, 448, 448, 13], [50, 50, 1, 1, 448, 448, 1]])
    on_device = tiles_of(images.cuda(), sizes).cpu()
    assert torch.equal(on_device, tiles_of(images, sizes))
    assert on_device.shape == (14, 3, 448, 448)


def test_the_device_normalizes_in_bfloat16_as_the_cpu_does() -> None:
    """A product and a sum, each rounded once: 256 values in each of three channels."""
    tiles = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16).contiguous()
    assert torch.equal(in_bfloat16(tiles.cuda(), IMAGENET).cpu(), in_bfloat16(tiles, IMAGENET))
