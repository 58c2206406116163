"""Recipes 3, 8 and 14 on a GPU: the same pixels as on the CPU, and embeddings within bfloat16's error.

That recipe 3's resize gives torchvision's pixels on the CPU is shown in `tests/unit`, with a torchvision that has
Lanczos' filter for tensors; here the device need only agree with the CPU, whatever torchvision is installed.
"""

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the models' extra is not installed")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"),
]

from tests.unit.idefics3_tiles import noise  # noqa: E402
from vlmprof_recipes import idefics3_whole_images  # noqa: E402
from vlmprof_recipes.device_resize import BICUBIC, LANCZOS, Filter, resized  # noqa: E402
from vlmprof_recipes.folded_embeddings import embed, fold  # noqa: E402
from vlmprof_recipes.idefics3_inputs import normalized  # noqa: E402
from vlmprof_recipes.idefics3_whole_images import tiles_of  # noqa: E402
from vlmprof_recipes.whole_images import packed  # noqa: E402

_SIZES = [
    ((480, 640), (1536, 2048)),
    ((1536, 2048), (512, 512)),
    ((37, 100), (758, 2048)),
    ((3000, 17), (2048, 12)),
]


@pytest.fixture(params=[False, True], ids=["ieee", "tf32"])
def matrix_products(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whether products may round to TF32: no plain attribute, which `monkeypatch` would take it for."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = request.param
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.usefixtures("matrix_products")
@pytest.mark.parametrize("resampling", [LANCZOS, BICUBIC], ids=lambda each: each.name)
@pytest.mark.parametrize(("before", "after"), _SIZES, ids=str)
def test_the_device_resizes_to_the_cpu_s_pixels(
    before: tuple[int, int], after: tuple[int, int], resampling: Filter
) -> None:
    """No pixel differs, also where the engine lets products round to TF32: those are made in float64."""
    image = noise(*before)
    on_device = resized(image.cuda(), after, resampling).cpu()
    assert torch.equal(on_device, resized(image, after, resampling))


def test_the_device_makes_the_cpu_s_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """13 tiles of a 640x480 image: 3 rows of 4, and the whole; as many of a portrait beside it."""
    sizes = torch.tensor([[480, 640, 1536, 2048, 1536, 2048, 512], [30, 20, 2048, 1365, 2048, 1536, 512]])
    images = packed([noise(480, 640), noise(30, 20)])
    on_device = tiles_of(images.cuda(), sizes).cpu()
    monkeypatch.setattr(idefics3_whole_images, "resized", resized)  # in the place of torchvision's
    assert torch.equal(on_device, tiles_of(images, sizes))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_the_device_normalizes_to_the_cpu_s_values(dtype: Any) -> None:
    """A division by a tensor is a division there too."""
    tiles = noise(512, 512)[None]
    assert torch.equal(normalized(tiles.cuda(), dtype).cpu(), normalized(tiles, dtype))


def test_folded_embeddings_are_as_near_to_float64_as_those_of_normalized_tiles() -> None:
    """Both multiply in bfloat16, in which centred values are exact and normalized ones are not."""
    tiles = noise(512, 512)[None].cuda()
    convolution = torch.nn.Conv2d(3, 64, 16, stride=16).cuda().to(torch.bfloat16)
    weight, bias = convolution.weight.double(), convolution.bias.double()
    with torch.inference_mode():
        exact = torch.nn.functional.conv2d((tiles.double() - 127.5) / 127.5, weight, bias, stride=16)
        engines = convolution(normalized(tiles, torch.bfloat16)).double() - exact
        found = embed(tiles, fold(convolution.weight, convolution.bias, torch.bfloat16), 16)
        folded = found.double() - exact.flatten(2).transpose(1, 2)
    assert folded.norm() <= 1.5 * engines.norm()
