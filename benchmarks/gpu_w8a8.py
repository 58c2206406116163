"""FP8 W8A8 in a model of transformers, written plainly: the decoder's linear layers by `torch._scaled_mm`.

As llm-compressor's FP8_DYNAMIC has it: weights with a scale per output channel, activations with a scale per token
that is found when they arrive; the vision encoder, the connector and the head stay as they are. Layers with the
same input (queries, keys and values; gate and up) quantize it once, as an engine that fuses them does.
"""

from typing import Any

import torch
from torch import nn

FP8 = torch.float8_e4m3fn
FP8_MAX = torch.finfo(FP8).max
_SMALLEST_SCALE = 1e-12
_MULTIPLE = 16
"""`torch._scaled_mm` takes no other sizes of a matrix."""


class ActivationQuantizer:
    """Quantizes rows, and remembers the last ones for the layers that share them."""

    def __init__(self) -> None:
        self._values: Any = None
        self._quantized: tuple[Any, Any] | None = None

    def rows(self, values: Any) -> tuple[Any, Any]:
        """(..., columns) as FP8 rows, and a scale per row."""
        if self._quantized is None or values is not self._values:
            flat = values.reshape(-1, values.shape[-1]).contiguous()
            self._values, self._quantized = values, _quantize_on_device(flat)
        return self._quantized

    def forget(self) -> None:
        """Let the last rows go: activations of a long prompt are large."""
        self._values = self._quantized = None


class W8A8Linear(nn.Module):  # type: ignore[misc]
    """A linear layer whose weight and input are FP8 and whose output is of the input's type."""

    def __init__(self, linear: nn.Linear, quantizer: ActivationQuantizer) -> None:
        super().__init__()
        weight, scale = quantize_rows(linear.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", scale.t().contiguous())
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._quantizer = quantizer

    def forward(self, values: Any) -> Any:
        rows, scales = self._quantizer.rows(values)
        product = torch._scaled_mm(
            rows,
            self.weight.t(),
            scale_a=scales,
            scale_b=self.weight_scale,
            bias=self.bias,
            out_dtype=values.dtype,
            use_fast_accum=rows.is_cuda,
        )
        return product.view(*values.shape[:-1], self.out_features)


def quantize_rows(values: Any) -> tuple[Any, Any]:
    """(rows, columns) as FP8, and the float32 scale of each row, (rows, 1), by torch's own kernels."""
    wide = values.float()
    scales = (wide.abs().amax(dim=-1, keepdim=True) / FP8_MAX).clamp(min=_SMALLEST_SCALE)
    return (wide / scales).to(FP8), scales


def quantize_decoder(text_model: Any) -> int:
    """Replace the linear layers of a decoder's blocks in place.

    Returns:
        How many there were; those of sizes that FP8 products do not take stay as they are.
    """
    replaced = 0
    for block in text_model.layers:
        quantizer = ActivationQuantizer()
        for parent in list(block.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear) and _fits(child):
                    setattr(parent, name, W8A8Linear(child, quantizer))
                    replaced += 1
        block.register_forward_hook(lambda *_, quantizer=quantizer: quantizer.forget())
    return replaced


def why_not_w8a8(device: str) -> str:
    """Why this device has no FP8 products; empty where it has."""
    if device == "cpu":
        return ""
    major, minor = torch.cuda.get_device_capability()
    if (major, minor) < (8, 9):
        return f"FP8 needs compute capability 8.9, this GPU has {major}.{minor}"
    return ""


def _fits(linear: nn.Linear) -> bool:
    return bool(linear.in_features % _MULTIPLE == 0 and linear.out_features % _MULTIPLE == 0)


def _quantize_on_device(flat: Any) -> tuple[Any, Any]:
    if not flat.is_cuda:
        return quantize_rows(flat)
    from benchmarks.gpu_quantize_triton import quantize_rows as quantize_in_one_kernel

    return quantize_in_one_kernel(flat)
