"""Screenshots beside golden ones: what a person would call another picture, and what is another machine's font."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

BLOCK = 8
# Letters drawn half a pixel elsewhere move the mean of a block by less than this, of 255; a bar or a line of text
# that is not where it was moves it by more.
TOLERATED_LEVELS = 26
TOLERATED_SHARE = 0.004
_COLOURS = 96

Blocks = npt.NDArray[np.float64]


def different_share(actual: Image.Image, golden: Image.Image) -> float:
    """The share of 8 x 8 blocks whose mean colour differs; 1 where the pictures are not even of one size."""
    if actual.size != golden.size:
        return 1.0
    apart = np.abs(_block_means(actual) - _block_means(golden)).max(axis=2)
    return float((apart > TOLERATED_LEVELS).mean())


def _block_means(picture: Image.Image) -> Blocks:
    pixels = np.asarray(picture.convert("RGB"), np.float64)
    height, width = (side // BLOCK * BLOCK for side in pixels.shape[:2])
    blocks = pixels[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    means: Blocks = blocks.mean(axis=(1, 3))
    return means


def check_screen(png: bytes, golden: Path, kept: Path, *, update: bool) -> None:
    """Hold a screenshot against its golden picture.

    Args:
        kept: where the screenshot is left for whoever looks into a failure.
        update: write the golden picture instead.
    """
    actual = Image.open(io.BytesIO(png)).convert("RGB")
    if update:
        golden.parent.mkdir(parents=True, exist_ok=True)
        actual.quantize(_COLOURS, dither=Image.Dither.NONE).save(golden, optimize=True)
    assert golden.exists(), (
        f"no golden picture {golden.name}: run pytest --update-golden and look at what it drew"
    )
    share = different_share(actual, Image.open(golden))
    if share > TOLERATED_SHARE:
        actual.save(kept)
    assert share <= TOLERATED_SHARE, f"{share:.1%} of {golden.name} is another picture: {kept}"
