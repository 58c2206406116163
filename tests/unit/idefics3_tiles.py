"""SmolVLM's and Idefics3's image processors, images for them, and what the worker makes of their output."""

from typing import Any

import torch

from vlmprof_recipes.idefics3_inputs import normalized


def processor_of(module: Any, name: str, **options: Any) -> Any:
    """An image processor with the sizes of SmolVLM, which return rows and columns."""
    settings = {
        "size": {"longest_edge": 2048},
        "max_image_size": {"longest_edge": 512},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "return_row_col_info": True,
    }
    return getattr(module, name)(**settings | options)


def noise(height: int, width: int, seed: int = 0) -> Any:
    """A uint8 image in which no two neighbours are alike."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def as_encoded(encoding: Any) -> Any:
    """Pixels as the worker has them before the encoder: bfloat16, normalized there where they came as uint8."""
    pixels = encoding["pixel_values"][0]
    return normalized(pixels, torch.bfloat16) if pixels.dtype == torch.uint8 else pixels.to(torch.bfloat16)
