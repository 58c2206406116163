"""The images that recipes are verified on: ordinary ones, and every odd kind that a user may send."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from vlmprof.errors import FileUnreadable
from vlmprof.workload.images import SkippedImage, generated_images

_PHOTOGRAPHS = 2
_ORDINARY_MODE = "RGB"
_MOST_OF_FOLDER = 40
_EXIF_ORIENTATION = 0x0112
_HINT = "name a folder of pictures with --images"
_FOR_SERVERS = ("cmyk.jpg", "rgba.png", "truncated.jpg")


PromptImages = list[Path]
"""The images of one prompt, in order."""


@dataclass(frozen=True, slots=True)
class VerificationImages:
    """Prompts to verify with.

    Attributes:
        all: for the processor; some: for a server, where each takes a second. Both begin with an ordinary photo.
        skipped: the user's files that are no pictures.
    """

    all: list[PromptImages]
    some: list[PromptImages]
    skipped: list[SkippedImage] = field(default_factory=list)


def write_images(folder: Path, named: Path | None) -> VerificationImages:
    """Each image alone, then several in one prompt; those that are made here are written into a folder.

    The ordinary photo among them is the user's first RGB picture, or a generated one where there is none.

    Args:
        named: the user's images, beside the odd ones; generated photographs where there is none.

    Raises:
        FileUnreadable: the user's folder cannot be listed, or holds no picture.
    """
    own, skipped = _pictures_of(named) if named is not None else ([], [])
    photos = [each.path for each in own if each.mode == _ORDINARY_MODE]
    others = [each.path for each in own if each.mode != _ORDINARY_MODE]
    ordinary = [*(photos or _written(folder, _photographs())), *others]
    photo = Image.open(io.BytesIO(generated_images(1, 2)[0].content)).convert(_ORDINARY_MODE)
    odd = _written(folder, odd_images(photo))
    singles = [[path] for path in (*ordinary, *odd)]
    several = [[ordinary[0], odd[0]], ordinary[:3]]
    few = [[ordinary[0]], *([path] for path in odd if path.name in _FOR_SERVERS)]
    return VerificationImages([*singles, *several], [*few, several[0]], skipped)


@dataclass(frozen=True, slots=True)
class _Picture:
    """A file that Pillow decodes, and the mode of what it finds there, as `"RGB"`."""

    path: Path
    mode: str


def _pictures_of(named: Path) -> tuple[list[_Picture], list[SkippedImage]]:
    """The first pictures of a folder in order of their names, and the files before them that are none.

    Raises:
        FileUnreadable: the folder cannot be listed, or holds no picture.
    """
    try:
        files = sorted(path for path in named.iterdir() if path.is_file())
    except OSError as error:
        raise FileUnreadable(f"{named} cannot be read as a folder: {error.strerror}", hint=_HINT) from error
    pictures: list[_Picture] = []
    skipped: list[SkippedImage] = []
    for path in files:
        if len(pictures) == _MOST_OF_FOLDER:
            break
        try:
            with Image.open(path) as image:
                image.load()
                pictures.append(_Picture(path, image.mode))
        except Exception as error:  # noqa: BLE001 - damaged input makes Pillow's decoders raise anything
            skipped.append(SkippedImage(path.name, _reason(error)))
    if not pictures:
        reasons = "; ".join(map(str, skipped[:3]))
        raise FileUnreadable(f"no pictures in {named}" + (f" ({reasons})" if reasons else ""), hint=_HINT)
    return pictures, skipped


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow knows"
    return str(error) or type(error).__name__


def _written(folder: Path, images: Iterator[tuple[str, bytes]]) -> list[Path]:
    paths = []
    for name, content in images:
        path = folder / name
        path.write_bytes(content)
        paths.append(path)
    return paths


def _photographs() -> Iterator[tuple[str, bytes]]:
    for image in generated_images(_PHOTOGRAPHS, 0):
        yield image.info.name, image.content
    yield "portrait.jpg", generated_images(1, 1, width=480, height=640)[0].content


def odd_images(photo: Image.Image) -> Iterator[tuple[str, bytes]]:
    """Modes, shapes and damage: what a fast path may not treat and what the engine itself refuses.

    Args:
        photo: an RGB image, which most of them show.

    Returns:
        Names of files and what is in them.
    """
    yield from _odd_modes(photo)
    rotated = Image.Exif()
    rotated[_EXIF_ORIENTATION] = 6
    yield "rotated.jpg", _encoded(photo, "JPEG", exif=rotated)
    yield "progressive.jpg", _encoded(photo, "JPEG", progressive=True)
    yield "black.png", _encoded(Image.new("RGB", photo.size), "PNG")
    yield "thin.png", _encoded(photo.resize((700, 9)), "PNG")
    yield "one-row.png", _encoded(photo.resize((300, 1)), "PNG")
    yield "one-column.png", _encoded(photo.resize((1, 150)), "PNG")
    yield "one-pixel.png", _encoded(photo.resize((1, 1)), "PNG")
    yield "large.jpg", _encoded(photo.resize((3000, 2000)), "JPEG")
    yield "truncated.jpg", _truncated(_encoded(photo, "JPEG"))
    yield "truncated.png", _truncated(_encoded(photo, "PNG"))
    yield "no-image.jpg", b"this is no image"


def _odd_modes(photo: Image.Image) -> Iterator[tuple[str, bytes]]:
    """Colours that are not three bytes, and files with more than one picture."""
    upside_down = {"save_all": True, "append_images": [photo.rotate(180)]}
    yield "gray.jpg", _encoded(photo.convert("L"), "JPEG")
    yield "gray-alpha.png", _encoded(photo.convert("LA"), "PNG")
    yield "cmyk.jpg", _encoded(photo.convert("CMYK"), "JPEG")
    yield "rgba.png", _encoded(photo.convert("RGBA"), "PNG")
    yield "palette.png", _encoded(photo.quantize(64), "PNG")
    yield "transparent-palette.png", _encoded(photo.quantize(64), "PNG", transparency=0)
    yield "16-bit.png", _encoded(photo.convert("L").convert("I;16"), "PNG")
    yield "one-bit.png", _encoded(photo.convert("1"), "PNG")
    yield "float.tiff", _encoded(photo.convert("F"), "TIFF")
    yield "ycbcr.tiff", _encoded(photo.convert("YCbCr"), "TIFF")
    yield "animated.gif", _encoded(photo, "GIF", **upside_down)
    yield "animated.png", _encoded(photo, "PNG", **upside_down)


def _truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
