"""Pictures that cost what photographs cost: a JPEG generator after the statistics of COCO's photographs.

A JPEG's decoding time follows its size and sampling, so these imitate what 20 COCO photographs measure:
luma's amplitude spectrum falls as 1/f^1.2 (0.96 to 1.5), its standard deviation is about 60 levels,
chroma's 8 to 30 and smoother, sampling 4:4:4, and 640x480 pixels at quality 92 take about 150 kB.
"""

import io
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

FloatPlane = npt.NDArray[np.float32]

JPEG_QUALITY = 92
_LUMA_SLOPES = (1.1, 1.5)
_LUMA_LEVELS = (35.0, 65.0)
_CHROMA_SLOPE = 1.4
_CHROMA_LEVELS = np.float32(9)
_SHAPES = (5, 12)


def coco_like_jpeg(seed: int, index: int, width: int, height: int) -> bytes:
    """Draw picture `index` of the series `seed`.

    Objects of flat colour with hard edges lie over one another, and a texture of natural spectrum, weaker
    on some objects than on others, lies over them all. The same arguments give the same bytes on the same
    versions of numpy and Pillow.
    """
    rng = np.random.default_rng([seed, index])
    scene, contrast = _objects(rng, width, height)
    strength = np.asarray(contrast, np.float32) / np.float32(255)
    planes = [
        _levels(np.asarray(flat, np.float32) + strength * texture)
        for flat, texture in zip(scene.split(), _textures(rng, width, height), strict=True)
    ]
    picture = Image.merge("YCbCr", planes)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return content.getvalue()


def _objects(rng: np.random.Generator, width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """Overlapping ellipses and polygons: their colours as Y, Cb, Cr, and how strongly each is textured."""
    scene = Image.new("RGB", (width, height), _colour(rng))
    contrast = Image.new("L", (width, height), 255)
    draw_colour, draw_contrast = ImageDraw.Draw(scene), ImageDraw.Draw(contrast)
    for _ in range(rng.integers(*_SHAPES)):
        colour, strength = _colour(rng), int(rng.integers(60, 256))
        corners = _corners(rng, width, height)
        if len(corners) == 2:
            draw_colour.ellipse(corners, fill=colour)
            draw_contrast.ellipse(corners, fill=strength)
        else:
            draw_colour.polygon(corners, fill=colour)
            draw_contrast.polygon(corners, fill=strength)
    return scene, contrast


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """A muted colour as Y, Cb, Cr; blue and red differences lean against each other, as under daylight."""
    blue = rng.normal(0, 14)
    red = -0.5 * blue + rng.normal(0, 10)
    return int(rng.integers(40, 216)), round(128 + blue), round(128 + red)


def _corners(rng: np.random.Generator, width: int, height: int) -> list[tuple[int, int]]:
    """Two corners of an ellipse's box, or three to six of a polygon, a tenth to half the picture wide."""
    centre = rng.uniform(0, 1, 2) * (width, height)
    reach = rng.uniform(0.05, 0.25, 2) * (width, height)
    count = int(rng.integers(2, 7))
    if count == 2:
        points = np.array([centre - reach, centre + reach])
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, count))
        points = centre + reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [(round(x), round(y)) for x, y in points.tolist()]


def _textures(rng: np.random.Generator, width: int, height: int) -> list[FloatPlane]:
    """Differences of natural spectrum in Y, Cb and Cr, each of shape (height, width)."""
    luma = _natural_field(rng, width, height, rng.uniform(*_LUMA_SLOPES))
    luma *= np.float32(rng.uniform(*_LUMA_LEVELS))
    # Chroma has little detail of its own: it is drawn at half the size and stretched.
    blue, other = (_natural_field(rng, -(-width // 2), -(-height // 2), _CHROMA_SLOPE) for _ in range(2))
    red = np.float32(0.85) * other - np.float32(0.5) * blue
    return [luma, *(_stretched(_CHROMA_LEVELS * plane, width, height) for plane in (blue, red))]


def _stretched(plane: FloatPlane, width: int, height: int) -> FloatPlane:
    stretched = Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(stretched, np.float32)


def _levels(plane: FloatPlane) -> Image.Image:
    return Image.fromarray(np.clip(plane, 0, 255).astype(np.uint8))


def _natural_field(rng: np.random.Generator, width: int, height: int, slope: float) -> FloatPlane:
    """Gaussian noise whose amplitude falls as 1/f^slope, mean 0, standard deviation 1."""
    noise = rng.standard_normal((height, width // 2 + 1, 2), dtype=np.float32).view(np.complex64)[..., 0]
    spectrum = noise * np.exp(np.float32(-slope) * _log_frequency(width, height))
    spectrum[0, 0] = 0
    field: FloatPlane = np.fft.irfft2(spectrum, s=(height, width)).astype(np.float32, copy=False)
    field /= field.std()
    return field


@lru_cache(maxsize=8)
def _log_frequency(width: int, height: int) -> FloatPlane:
    """Natural logarithm of each frequency of `irfft2`, cycles per pixel; 0 for the mean, which is dropped."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    log_frequency: FloatPlane = np.log(frequency).astype(np.float32)
    return log_frequency
