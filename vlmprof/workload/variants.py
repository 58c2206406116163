"""Variants of a picture: the same file to every decoder, other pixels to every cache.

Engines know a picture again by a hash of its file or of its pixels, so a variant must differ in both, and
must cost about as much to decode. It keeps format, mode, size, EXIF orientation and colour profile:

* JPEG is encoded again with the file's own quantization tables, sampling and progression;
* WebP stays lossy or lossless; a lossy WebP or AVIF takes, of three qualities, the one nearest in size;
* everything else is stored without loss; a format that Pillow cannot write becomes PNG.

Lossless variants differ from the file in one pixel by one level, palette images in one palette colour by
one level, lossy variants in a few blocks of 16x16 pixels by the fewest levels that survive the encoder.
"""

import io
from collections.abc import Callable
from functools import lru_cache
from operator import ne
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageSequence, JpegImagePlugin

Encoder = Callable[[Image.Image], bytes]
Box = tuple[int, int, int, int]

_BLOCK = 16
_STRENGTHS = (1, 2, 4, 8, 16, 32, 64)
_QUALITIES = (60, 75, 90)
_HALF_SCALE = 128
_DEEP_MODES = ("I", "F")
_TOO_SMALL = "the picture is too small for so many variants"


def pixel_variant(content: bytes, number: int) -> bytes:
    """Encode a picture again with a change of its own for each number.

    Args:
        content: an image file that Pillow decodes.
        number: from 1; two numbers give two files with different pixels.

    Raises:
        OSError, ValueError: Pillow cannot encode the picture, or no change of it survives encoding.
    """
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        picture = opened.copy()
        encode, lossy = _encoder(opened, content)
    if lossy:
        return _block_variant(picture, encode, number)
    if picture.mode == "P":
        return encode(_recoloured(picture, number - 1))
    return encode(_with_one_pixel_moved(picture, number - 1))


def _encoder(opened: Image.Image, content: bytes) -> tuple[Encoder, bool]:
    """How to write this picture in the way its file was written, and whether that loses pixels."""
    Image.init()
    image_format = "JPEG" if opened.format == "MPO" else opened.format
    if image_format not in Image.SAVE:
        image_format = "PNG"
    options: dict[str, Any] = {key: opened.info[key] for key in ("exif", "icc_profile") if key in opened.info}
    lossy = image_format in ("JPEG", "AVIF") or (image_format == "WEBP" and b"VP8L" not in content)
    if image_format == "JPEG":
        options |= _jpeg_options(opened)
    elif lossy:
        options["quality"] = _quality_nearest_in_size(content, image_format)
    elif image_format == "WEBP":
        options |= {"lossless": True, "exact": True}
    elif image_format == "TIFF":
        options["compression"] = opened.info.get("compression")
    if image_format != "JPEG" and getattr(opened, "n_frames", 1) > 1:
        options |= {"save_all": True, "append_images": _later_frames(opened)}
    return lambda picture: _encoded(picture, image_format, options), lossy


def _jpeg_options(opened: Image.Image) -> dict[str, Any]:
    assert isinstance(opened, JpegImagePlugin.JpegImageFile)
    return {
        "qtables": opened.quantization,
        "subsampling": JpegImagePlugin.get_sampling(opened),
        "progressive": bool(opened.info.get("progressive")),
    }


def _later_frames(opened: Image.Image) -> list[Image.Image]:
    return [frame.copy() for frame in ImageSequence.Iterator(opened)][1:]


def _encoded(picture: Image.Image, image_format: str, options: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    picture.save(content, image_format, **options)
    return content.getvalue()


@lru_cache(maxsize=64)
def _quality_nearest_in_size(content: bytes, image_format: str) -> int:
    """The quality, which the file does not tell, that gives about as many bytes as the file has."""
    with Image.open(io.BytesIO(content)) as opened:
        picture = opened.copy()
    sizes = {quality: len(_encoded(picture, image_format, {"quality": quality})) for quality in _QUALITIES}
    return min(sizes, key=lambda quality: abs(sizes[quality] - len(content)))


def _block_variant(picture: Image.Image, encode: Encoder, number: int) -> bytes:
    """Shift some blocks by the fewest levels that change the decoded pixels of each.

    The blocks are those of the number's binary digits, so that two numbers differ in a whole block; a
    picture with too few blocks shifts them by more levels on a later round.
    """
    places = _opaque_places(picture, _BLOCK)
    later_round, blocks = divmod(number - 1, 2 ** len(places) - 1)
    boxes = [_block(picture, place) for at, place in enumerate(places.tolist()) if (blocks + 1) >> at & 1]
    unchanged = _decoded(encode(picture), boxes)
    for strength in _STRENGTHS:
        content = encode(_with_boxes_shifted(picture, boxes, strength))
        if all(map(ne, _decoded(content, boxes), unchanged)):
            # A strength that survives is at least half a step of the encoder: twice that is another step.
            levels = strength * (1 + 2 * later_round)
            return encode(_with_boxes_shifted(picture, boxes, levels)) if later_round else content
    raise ValueError(f"no variant {number} survives the encoder")


def _block(picture: Image.Image, place: list[int]) -> Box:
    left, top = (_BLOCK * (at // _BLOCK) for at in place)
    return left, top, min(left + _BLOCK, picture.width), min(top + _BLOCK, picture.height)


def _with_boxes_shifted(picture: Image.Image, boxes: list[Box], levels: int) -> Image.Image:
    shifted = picture.copy()
    for box in boxes:
        shifted.paste(_shifted(picture.crop(box), levels), box)
    return shifted


def _decoded(content: bytes, boxes: list[Box]) -> list[bytes]:
    with Image.open(io.BytesIO(content)) as image:
        return [image.crop(box).tobytes() for box in boxes]


def _with_one_pixel_moved(picture: Image.Image, change: int) -> Image.Image:
    places = _opaque_places(picture, 1)
    left, top = places[change % len(places)].tolist()
    box = (left, top, left + 1, top + 1)
    picture.paste(_shifted(picture.crop(box), 1 + change // len(places)), box)
    return picture


def _recoloured(picture: Image.Image, change: int) -> Image.Image:
    """Move one channel of one palette colour that the picture uses; its indices stay as they are."""
    palette = picture.getpalette() or []
    used = _visible_colours(picture)
    entry, channel = divmod(change % (3 * len(used)), 3)
    at = 3 * used[entry] + channel
    palette[at] += _step(palette[at], 1 + change // (3 * len(used)))
    picture.putpalette(palette)
    return picture


def _visible_colours(picture: Image.Image) -> list[int]:
    """Palette indices that the picture uses and does not make transparent; all that it uses if it does."""
    used: list[int] = np.unique(np.asarray(picture)).tolist()
    transparent = picture.info.get("transparency")
    alphas = transparent if isinstance(transparent, bytes) else b""
    hidden: set[Any] = {index for index, alpha in enumerate(alphas) if alpha == 0} or {transparent}
    return [index for index in used if index not in hidden] or used


def _opaque_places(picture: Image.Image, step: int) -> npt.NDArray[np.int64]:
    """Points of a grid that show: a change under full transparency would be lost on a white background.

    Returns:
        (n, 2): left and top of the middle of each cell of `step` pixels; of all where none is opaque.
    """
    rows = np.arange(min(step // 2, picture.height // 2), picture.height, step)
    columns = np.arange(min(step // 2, picture.width // 2), picture.width, step)
    shows: npt.NDArray[np.bool_] = np.ones((len(rows), len(columns)), np.bool_)
    if picture.mode in ("RGBA", "LA", "PA"):
        opaque = np.asarray(picture.getchannel("A"))[np.ix_(rows, columns)] == 255
        shows = opaque if opaque.any() else shows
    row, column = np.nonzero(shows)
    return np.stack([columns[column], rows[row]], axis=1)


def _shifted(patch: Image.Image, levels: int) -> Image.Image:
    """All colour channels of a patch moved by some levels, away from the nearer end of the scale."""
    if patch.mode == "1":
        if levels > 1:
            raise ValueError(_TOO_SMALL)
        return patch.point(lambda value: 255 - value)
    if patch.mode.startswith(_DEEP_MODES):
        # Of 16 bits the upper 8 survive the engine's conversion to RGB.
        values = np.asarray(patch)
        return Image.fromarray(values + values.dtype.type(256 * levels))
    bands = [
        band if name == "A" else _shifted_band(band, levels)
        for name, band in zip(patch.getbands(), patch.split(), strict=True)
    ]
    return Image.merge(patch.mode, bands)


def _shifted_band(band: Image.Image, levels: int) -> Image.Image:
    step = _step(float(np.asarray(band).mean()), levels)
    return band.point([min(max(value + step, 0), 255) for value in range(256)])


def _step(value: float, levels: int) -> int:
    """Towards the farther end of the scale, which must be as far as the step: half-way at most."""
    if levels >= _HALF_SCALE:
        raise ValueError(_TOO_SMALL)
    return levels if value < _HALF_SCALE else -levels
