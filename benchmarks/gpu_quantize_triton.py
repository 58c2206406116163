"""Rows of activations to FP8 in one kernel; loaded only where there is a GPU, for Triton comes with its torch."""

from typing import Any

import torch
import triton
import triton.language as tl

FP8_MAX = tl.constexpr(torch.finfo(torch.float8_e4m3fn).max)
SMALLEST_SCALE = tl.constexpr(1e-12)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def quantize_per_token_fp8(  # type: ignore[no-untyped-def]
    values, quantized, scales, columns, block: tl.constexpr
):
    """One program per row: its largest absolute value becomes the largest of FP8."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, block)
    inside = column < columns
    value = tl.load(values + row * columns + column, mask=inside, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(value), axis=0) / FP8_MAX, SMALLEST_SCALE)
    tl.store(quantized + row * columns + column, (value / scale).to(tl.float8e4nv), mask=inside)
    tl.store(scales + row, scale)


def quantize_rows(values: Any) -> tuple[Any, Any]:
    """(rows, columns) of bfloat16 as FP8, and a float32 scale per row, (rows, 1)."""
    rows, columns = values.shape
    quantized = torch.empty_like(values, dtype=torch.float8_e4m3fn)
    scales = torch.empty((rows, 1), dtype=torch.float32, device=values.device)
    quantize_per_token_fp8[(rows,)](
        values, quantized, scales, columns, block=triton.next_power_of_2(columns), num_warps=8
    )
    return quantized, scales
