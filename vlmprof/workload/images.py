"""Where the images of a run come from: a generator of COCO-like JPEGs, or the files of a folder."""

import hashlib
import io
import os
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from PIL import Image, UnidentifiedImageError

from vlmprof.errors import FileUnreadable, UsageError
from vlmprof.model.request import ImageInfo
from vlmprof.workload.coco_like import coco_like_jpeg
from vlmprof.workload.variants import pixel_variant

_SMALLEST_SIDE = 16
_REPEATED_SEED = 1 << 20


@dataclass(frozen=True, slots=True)
class WorkloadImage:
    """One image as a request carries it: the file's bytes and its media type, as `"image/jpeg"`."""

    info: ImageInfo
    content: bytes
    mime: str

    @property
    def data_url(self) -> str:
        """The image inside the request: `"data:image/jpeg;base64,..."`."""
        return f"data:{self.mime};base64,{b64encode(self.content).decode('ascii')}"


class ImageSource(Protocol):
    """A deterministic series of images, every one with pixels of its own.

    Images are made or read when they are asked for, which takes 5 to 50 ms: ask before a request is timed.
    """

    @property
    def description(self) -> str:
        """Where the images come from, for run.json."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> WorkloadImage: ...

    def repeated(self, index: int) -> WorkloadImage:
        """The picture of an index once more, with pixels that no index of the series has."""

    def __iter__(self) -> Iterator[WorkloadImage]: ...


@dataclass(frozen=True, slots=True)
class GeneratedImages:
    """COCO-like JPEGs, drawn anew each time they are asked for; see `coco_like`."""

    count: int
    seed: int
    width: int
    height: int

    @property
    def description(self) -> str:
        return f"generated {self.width}x{self.height} JPEG, seed {self.seed}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> WorkloadImage:
        _check_index(index, self.count)
        content = coco_like_jpeg(self.seed, index, self.width, self.height)
        info = ImageInfo(f"generated-{self.seed}-{index:05d}.jpg", self.width, self.height, len(content))
        return WorkloadImage(info, content, "image/jpeg")

    def __iter__(self) -> Iterator[WorkloadImage]:
        return (self[index] for index in range(self.count))

    def repeated(self, index: int) -> WorkloadImage:
        """Drawn from a seed of its own: generated pictures are alike in size and spectrum."""
        _check_index(index, self.count)
        return GeneratedImages(self.count, self.seed + _REPEATED_SEED, self.width, self.height)[index]


def generated_images(count: int, seed: int, width: int = 640, height: int = 480) -> GeneratedImages:
    """A series of generated photographs, about 150 kB each at 640x480, every one different.

    Raises:
        UsageError: a count or seed below 0, or a side below 16 pixels.
    """
    if count < 0 or seed < 0 or min(width, height) < _SMALLEST_SIDE:
        raise UsageError(
            f"cannot generate {count} images of {width}x{height} pixels from seed {seed}",
            hint=f"count and seed from 0, sides from {_SMALLEST_SIDE} pixels",
        )
    return GeneratedImages(count, seed, width, height)


@dataclass(frozen=True, slots=True)
class SkippedImage:
    """A file of the folder that no request will carry, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class FolderImages:
    """Files of a folder in order of their names, repeated as variants when there are too few.

    The first round sends each file's own bytes, untouched. Image `i` of a later round is `pixel_variant`
    number `i // len(files)` of file `i % len(files)`: same format, mode, size and orientation, other
    pixels, so that neither a cache keyed by the file nor one keyed by its pixels can answer for it.

    Attributes:
        digest: of the files' names and sizes, by which other pictures in the same folder are known.
    """

    folder: Path
    files: tuple[Path, ...]
    skipped: tuple[SkippedImage, ...]
    count: int
    digest: str

    @property
    def description(self) -> str:
        return f"{self.folder}: {len(self.files)} files, digest {self.digest}" + (
            ", repeated with other pixels" if self.count > len(self.files) else ""
        )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> WorkloadImage:
        """Read, and on a later round vary, one file.

        Raises:
            FileUnreadable: the file has changed or gone since the folder was checked, or is too small a
                picture for so many variants.
        """
        _check_index(index, self.count)
        return self._variant(index, *divmod(index, len(self.files)))

    def repeated(self, index: int) -> WorkloadImage:
        """The same file's variant from after the series' last round.

        Raises:
            FileUnreadable: as for an index.
        """
        _check_index(index, self.count)
        repeat, file_index = divmod(index, len(self.files))
        rounds = -(-self.count // len(self.files))
        return self._variant(index, rounds + repeat, file_index)

    def _variant(self, index: int, repeat: int, file_index: int) -> WorkloadImage:
        path = self.files[file_index]
        try:
            content = path.read_bytes()
            if repeat == 0:
                return _described(path.name, content)
            return _described(f"{path.name}#{repeat + 1}", pixel_variant(content, repeat))
        except (OSError, ValueError) as error:
            raise FileUnreadable(
                f"{path}: image {index} of the run cannot be had: {error}",
                hint="leave the folder as it is during a run, or put more files into it",
            ) from error

    def __iter__(self) -> Iterator[WorkloadImage]:
        return (self[index] for index in range(self.count))


def folder_images(folder: Path, count: int | None = None, *, repeatable: bool = False) -> FolderImages:
    """Open and decode the files of a folder, and tell which ones cannot be used.

    Args:
        folder: not searched below its top; hidden files are passed over.
        count: how many images the run needs; files beyond them are not opened. None: each file once.
        repeatable: whether `repeated` will be asked for.

    Returns:
        The images that decode and, where files must be repeated, of which a variant can be made; the other
        files, each with its reason, in `skipped`.

    Raises:
        FileUnreadable: the folder cannot be listed, or holds no image that decodes.
        UsageError: a count below 1.
    """
    if count is not None and count < 1:
        raise UsageError(f"cannot take {count} images from {folder}", hint="ask for at least one")
    files, skipped = _usable(_listed(folder), _decode, count)
    if repeatable or (count is not None and count > len(files)):
        rounds = -(-(count or len(files)) // max(len(files), 1))
        last_round = 2 * rounds - 1 if repeatable else rounds - 1
        files, not_varied = _usable(files, partial(pixel_variant, number=last_round), None)
        skipped += not_varied
    if not files:
        reasons = "; ".join(map(str, skipped[:3]))
        raise FileUnreadable(
            f"{folder} holds no image that can be decoded" + (f" ({reasons})" if reasons else ""),
            hint="pass a folder that has JPEG, PNG or WebP files in it, not in folders below it",
        )
    return FolderImages(
        folder, tuple(files), tuple(skipped), len(files) if count is None else count, _digest(files)
    )


def _digest(files: Sequence[Path]) -> str:
    """Twelve hexadecimal digits of names and sizes; reading all bytes of a large folder would take too long."""
    listed = "".join(f"{file.name}\0{file.stat().st_size}\n" for file in files)
    return hashlib.sha256(os.fsencode(listed)).hexdigest()[:12]


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise FileUnreadable(
            f"{folder} cannot be read as a folder of images: {error.strerror}",
            hint="pass --images an existing folder that you may read, or leave it out to generate images",
        ) from error


def _usable(
    paths: Sequence[Path], check: Callable[[bytes], object], limit: int | None
) -> tuple[list[Path], list[SkippedImage]]:
    """The first `limit` files that pass a check of their bytes, and those before them that do not."""
    files: list[Path] = []
    skipped: list[SkippedImage] = []
    for path in paths:
        if len(files) == limit:
            break
        try:
            check(path.read_bytes())
        except Exception as error:  # noqa: BLE001 - damaged input makes Pillow's decoders raise anything
            skipped.append(SkippedImage(path.name, _reason(path, error)))
        else:
            files.append(path)
    return files, skipped


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "empty file" if path.stat().st_size == 0 else "not an image that Pillow knows"
    return str(error) or type(error).__name__


def _decode(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        image.load()


def _described(name: str, content: bytes) -> WorkloadImage:
    with Image.open(io.BytesIO(content)) as image:
        # A phone's multi-picture JPEG is an ordinary JPEG to whoever reads its first picture.
        image_format = "JPEG" if image.format == "MPO" else image.format or ""
        info = ImageInfo(name, image.width, image.height, len(content))
    return WorkloadImage(info, content, Image.MIME.get(image_format, "application/octet-stream"))


def _check_index(index: int, count: int) -> None:
    if not 0 <= index < count:
        raise IndexError(f"image {index} of {count}")
