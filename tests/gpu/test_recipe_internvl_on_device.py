"""Recipe 8 of InternVL3 on a GPU: tiles are normalized to the same values as on the CPU."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the models' extra is not installed")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"),
]

from vlmprof_recipes.internvl_inputs import (  # noqa: E402
    normalized_after_rescaling,
    normalized_with_rescaling,
)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("normalized", [normalized_after_rescaling, normalized_with_rescaling])
def test_the_device_normalizes_every_value_of_every_channel_as_the_cpu_does(
    normalized: Any, dtype: Any
) -> None:
    """256 values in each of three channels; a reciprocal in the place of a division would round otherwise."""
    tiles = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16).contiguous()
    assert torch.equal(normalized(tiles.cuda(), dtype).cpu(), normalized(tiles, dtype))
