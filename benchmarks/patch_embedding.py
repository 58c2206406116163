"""What recipes 6, 14 and 15 do to SmolVLM's patch embedding: its error against float64, and processor time.

    python -m benchmarks.patch_embedding [--hidden 64 768] [--repeats 7]

The weights are random, the photo a synthetic one of 13 tiles as the processor makes them of 640x480. Times are
of one thread's processor time, so that other programs on the machine hardly count.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.nn.functional import conv2d

from benchmarks.record import write_results
from vlmprof_recipes.folded_embeddings import embed, fold
from vlmprof_recipes.idefics3_inputs import normalized
from vlmprof_recipes.pixel_arithmetic import HALF, in_bfloat16
from vlmprof_recipes.vision_float32 import multiplies_bfloat16

PATCH, EDGE, TILES = 16, 512, 13
# One tile shows the error; float64 has no fast kernels.
TILES_OF_ERROR = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 768])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        rows = [row for hidden in options.hidden for row in figures_of(hidden, options.repeats)]
    kernels = "has" if multiplies_bfloat16() else "lacks"
    write_results(
        "patch_embedding", {"bfloat16_kernels": multiplies_bfloat16(), "rows": rows}, table(rows, kernels)
    )


def figures_of(hidden: int, repeats: int) -> Iterator[dict[str, Any]]:
    """One row for each way of embedding, at one width of the encoder."""
    weight, bias, tiles = inputs(hidden)
    interleaved = tiles.contiguous(memory_format=torch.channels_last)
    of_error = tiles[:TILES_OF_ERROR]
    exact = convolved((of_error.double() - 127.5) / 127.5, weight.double(), bias.double())
    for way, embedded in ways(weight, bias).items():
        given = interleaved if way.startswith("3 and 14") else tiles
        error = (embedded(given[:TILES_OF_ERROR]).double() - exact).norm() / exact.norm()
        yield {
            "hidden": hidden,
            "way": way,
            "relative_rms_error": float(error),
            "processor_ms": processor_ms(partial(embedded, given), repeats),
        }


def inputs(hidden: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weight and bias in bfloat16, with the spread of SigLIP's, and tiles of smooth colours with some noise."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(hidden, 3, PATCH, PATCH, generator=generator) * 0.02
    bias = torch.randn(hidden, generator=generator) * 0.1
    slope = torch.linspace(20, 220, EDGE)
    noise = torch.randn(TILES, 3, EDGE, EDGE, generator=generator) * 12
    tiles = ((slope[:, None] + slope) / 2 + noise).clamp(0, 255).to(torch.uint8)
    return weight.bfloat16(), bias.bfloat16(), tiles


def ways(weight: torch.Tensor, bias: torch.Tensor) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """From uint8 tiles to patch embeddings: the engine's way with recipe 8, and what the recipes change."""
    wide, wide_bias = weight.float(), bias.float()
    folded, folded_wide = fold(weight, bias, torch.bfloat16), fold(weight, bias, torch.float32)
    bfloat16 = torch.bfloat16
    return {
        "recipe 8: normalized in float32, bfloat16 product": lambda tiles: convolved(
            normalized(tiles, bfloat16), weight, bias
        ),
        "6: normalized in bfloat16, bfloat16 product": lambda tiles: convolved(
            in_bfloat16(tiles, HALF), weight, bias
        ),
        "15: float32 product": lambda tiles: convolved(normalized(tiles, bfloat16).float(), wide, wide_bias),
        "14: folded, bfloat16 product": lambda tiles: embed(tiles, folded, PATCH),
        "14: folded, float32 product": lambda tiles: embed(tiles, folded_wide, PATCH).to(bfloat16),
        "14 and 15: folded, float32 kept": lambda tiles: embed(tiles, folded_wide, PATCH),
        "3 and 14: folded, bfloat16 product, colours interleaved": lambda tiles: embed(tiles, folded, PATCH),
    }


def convolved(pixels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The engine's embedding, which is a matrix product, [tiles, patches, hidden]."""
    if pixels.dtype == torch.float64:
        return conv2d(pixels, weight, bias, stride=PATCH).flatten(2).transpose(1, 2)
    unfolded = pixels.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).permute(0, 2, 3, 1, 4, 5)
    patches = unfolded.reshape(len(pixels), -1, weight[0].numel())
    return torch.nn.functional.linear(patches, weight.flatten(1), bias)


def processor_ms(call: Callable[[], object], repeats: int) -> float:
    """Median processor time of a call; the first, which makes kernels, does not count."""
    call()
    times_ns = []
    for _ in range(repeats):
        begun_ns = time.process_time_ns()
        call()
        times_ns.append(time.process_time_ns() - begun_ns)
    return statistics.median(times_ns) / 1e6


def table(rows: list[dict[str, Any]], kernels: str) -> str:
    lines = [
        f"13 tiles of 512x512, one thread, processor time; this processor {kernels} bfloat16 kernels.",
        "",
        "| hidden | way | relative RMS error | ms |",
        "|---|---|---|---|",
    ]
    for row in rows:
        error, spent = row["relative_rms_error"], row["processor_ms"]
        lines.append(f"| {row['hidden']} | {row['way']} | {error:.2g} | {spent:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
