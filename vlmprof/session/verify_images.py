"""The images that recipes are verified on: ordinary ones, and every odd kind that a user may send."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vlmprof.errors import FileUnreadable
from vlmprof.workload.images import generated_images

_ORDINARY = 2
_MOST_OF_FOLDER = 40
_EXIF_ORIENTATION = 0x0112
_FOR_SERVERS = ("cmyk.jpg", "rgba.png", "truncated.jpg")


PromptImages = list[Path]
"""The images of one prompt, in order."""


@dataclass(frozen=True, slots=True)
class VerificationImages:
    """Prompts to verify with: `all` in the processor, `some` in a server, where each takes a second."""

    all: list[PromptImages]
    some: list[PromptImages]


def write_images(folder: Path, named: Path | None) -> VerificationImages:
    """Each image alone, then several in one prompt; those that are made here are written into a folder.

    Args:
        named: the user's images, beside the odd ones; generated photographs where there is none.

    Raises:
        FileUnreadable: the user's folder has no files.
    """
    ordinary = _files_of(named) if named is not None else _written(folder, _photographs())
    photo = Image.open(io.BytesIO(generated_images(1, 2)[0].content)).convert("RGB")
    odd = _written(folder, odd_images(photo))
    singles = [[path] for path in (*ordinary, *odd)]
    several = [[ordinary[0], odd[0]], ordinary[:3]]
    few = [[ordinary[0]], *([path] for path in odd if path.name in _FOR_SERVERS)]
    return VerificationImages([*singles, *several], [*few, several[0]])


def _files_of(named: Path) -> list[Path]:
    files = sorted(path for path in named.iterdir() if path.is_file()) if named.is_dir() else []
    if not files:
        raise FileUnreadable(f"no files in {named}", hint="name a folder of pictures with --images")
    return files[:_MOST_OF_FOLDER]


def _written(folder: Path, images: Iterator[tuple[str, bytes]]) -> list[Path]:
    paths = []
    for name, content in images:
        path = folder / name
        path.write_bytes(content)
        paths.append(path)
    return paths


def _photographs() -> Iterator[tuple[str, bytes]]:
    for image in generated_images(_ORDINARY, 0):
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
