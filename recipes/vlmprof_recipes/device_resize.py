"""Resize of uint8 images on any device, to the very values of torchvision's on the CPU.

On CUDA the library has no Lanczos, and its bicubic computes in floating point and rounds once. On the CPU it
resizes columns, then rows, with weights that are rounded to int16, and rounds to uint8 after each pass. Two
matrix products with those integers as floating-point numbers, each large enough to hold every sum, do the same
wherever there is a matrix product.

Source: ATen/native/cpu/UpSampleKernel.cpp, `_compute_index_ranges_int16_weights` and the filters' `aa_filter`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

_INT16_BITS = 15
_MOST_BITS = 22
_WHITE = 255
_EXACT_IN_FLOAT32 = 1 << 24
_EXACT_PRODUCTS = ("ieee", "none")
"""Settings of torch's float32 products that round no operand; `none` is its default."""


@dataclass(frozen=True, slots=True)
class Filter:
    """How far and how much a pixel counts.

    Attributes:
        name: as torchvision's InterpolationMode has it.
        support: in pixels of the smaller image, to either side.
        weigh: distances in those pixels, float64, to weights.
    """

    name: str
    support: int
    weigh: Callable[[torch.Tensor], torch.Tensor]


def _lanczos(distance: torch.Tensor) -> torch.Tensor:
    return torch.sinc(distance) * torch.sinc(distance / 3) * (distance.abs() < 3)


def _bicubic(distance: torch.Tensor) -> torch.Tensor:
    x, a = distance.abs(), -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


LANCZOS = Filter("lanczos", 3, _lanczos)
BICUBIC = Filter("bicubic", 2, _bicubic)


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of one pass: integers [to, from], each the weight times 2 to the power of `bits`."""

    matrix: torch.Tensor
    bits: int

    @property
    def fits_float32(self) -> bool:
        """Whether no sum of a pass, half a unit included, exceeds what float32 holds exactly."""
        largest = int(self.matrix.abs().sum(1).max()) * _WHITE + (1 << self.bits) // 2
        return largest < _EXACT_IN_FLOAT32


def resized(image: torch.Tensor, size: tuple[int, int], resampling: Filter) -> torch.Tensor:
    """A uint8 image [..., channels, height, width] at another height and width."""
    height, width = size
    if image.shape[-1] != width:
        weights, scale = _on_device(resampling, image.shape[-1], width, image.device, _rounds_operands())
        image = _rounded(image.to(weights.dtype) @ weights.T, scale)
    if image.shape[-2] != height:
        weights, scale = _on_device(resampling, image.shape[-2], height, image.device, _rounds_operands())
        image = _rounded(weights @ image.to(weights.dtype), scale)
    return image


def weights_of(resampling: Filter, n_from: int, n_to: int) -> Weights:
    """Weights that make `n_to` pixels of `n_from`."""
    scale = n_from / n_to
    widening = max(scale, 1.0)
    center = (torch.arange(n_to, dtype=torch.float64)[:, None] + 0.5) * scale
    # As in C, an integer is what is left after the point is cut off.
    first = (center - resampling.support * widening + 0.5).trunc().clamp(min=0)
    end = (center + resampling.support * widening + 0.5).trunc().clamp(max=n_from)
    at = torch.arange(n_from, dtype=torch.float64)[None]
    distance = (at - center + 0.5) / widening
    lobes = resampling.weigh(distance) * ((at >= first) & (at < end))
    exact = lobes / lobes.sum(1, keepdim=True)
    bits = _bits(float(exact.max()))
    scaled = exact * (1 << bits)
    return Weights((scaled + 0.5 * scaled.sign()).trunc(), bits)


def _bits(largest: float) -> int:
    """The most bits after the point with which the largest weight is still an int16."""
    for bits in range(_MOST_BITS):
        if int(0.5 + largest * (1 << bits + 1)) >= 1 << _INT16_BITS:
            return bits
    return _MOST_BITS


@lru_cache(maxsize=256)
def _on_device(
    resampling: Filter, n_from: int, n_to: int, device: torch.device, rounds_operands: bool
) -> tuple[torch.Tensor, float]:
    weights = weights_of(resampling, n_from, n_to)
    dtype = torch.float32 if weights.fits_float32 and not rounds_operands else torch.float64
    return weights.matrix.to(device, dtype), 2.0**-weights.bits


def _rounds_operands() -> bool:
    """Whether a float32 product may round its operands to the 11 bits of TF32.

    `allow_tf32` says the same but raises where the process has set both the old and the new of torch's settings,
    as vLLM does with VLLM_BATCH_INVARIANT=1 beside VLLM_FLOAT32_MATMUL_PRECISION=high.
    """
    return torch.backends.cuda.matmul.fp32_precision not in _EXACT_PRODUCTS


def _rounded(sums: torch.Tensor, scale: float) -> torch.Tensor:
    return (sums * scale + 0.5).floor_().clamp_(0, _WHITE).to(torch.uint8)
