"""Generated photographs, folders of files, and variants of a picture."""

import io
import statistics
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from vlmprof.errors import FileUnreadable, UsageError
from vlmprof.workload.images import folder_images, generated_images
from vlmprof.workload.variants import pixel_variant

REAL_IMAGES = Path(__file__).parents[3] / "shared" / "data" / "images"
ORIENTATION = 0x0112

real_images = pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="the folder of real image files is absent")


def test_generated_images_are_the_same_for_a_seed_and_differ_by_index_and_seed() -> None:
    """Two sources of one seed give the same three files; another seed gives three others."""
    once = [image.content for image in generated_images(3, seed=5)]
    again = [image.content for image in generated_images(3, seed=5)]
    other = [image.content for image in generated_images(3, seed=6)]
    assert once == again
    assert len({*once, *other}) == 6


def test_generated_images_cost_what_coco_photographs_cost() -> None:
    """Median of 31 JPEGs at 640x480 within 130..170 kB, sampled 4:4:4 as COCO's are."""
    images = list(generated_images(31, seed=0))
    assert 130_000 < statistics.median(image.info.size_bytes for image in images) < 170_000
    with Image.open(io.BytesIO(images[0].content)) as picture:
        assert isinstance(picture, JpegImagePlugin.JpegImageFile)
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (640, 480))
        assert JpegImagePlugin.get_sampling(picture) == 0
    assert images[0].info.size_bytes == len(images[0].content)


def test_generated_images_take_odd_sizes() -> None:
    """33x17 has no even half; its chroma is still stretched over every pixel."""
    image = generated_images(1, seed=0, width=33, height=17)[0]
    with Image.open(io.BytesIO(image.content)) as picture:
        assert picture.size == (33, 17) == (image.info.width, image.info.height)


def test_a_data_url_holds_the_bytes_and_their_type() -> None:
    image = generated_images(1, seed=0, width=64, height=48)[0]
    head, payload = image.data_url.split(",")
    assert head == "data:image/jpeg;base64"
    assert b64decode(payload) == image.content


def test_an_index_beyond_the_source_is_an_error() -> None:
    with pytest.raises(IndexError):
        generated_images(2, seed=0)[2]


@pytest.mark.parametrize(("count", "seed", "width"), [(-1, 0, 640), (1, -1, 640), (1, 0, 15)])
def test_impossible_generated_images_are_refused(count: int, seed: int, width: int) -> None:
    with pytest.raises(UsageError):
        generated_images(count, seed, width)


def test_a_folder_gives_its_files_untouched_in_order_of_names(tmp_path: Path) -> None:
    for name, width in (("b.jpg", 20), ("a.png", 30), ("c.gif", 40)):
        Image.new("RGB", (width, 10)).save(tmp_path / name)
    images = folder_images(tmp_path)
    assert [image.info.name for image in images] == ["a.png", "b.jpg", "c.gif"]
    assert [image.mime for image in images] == ["image/png", "image/jpeg", "image/gif"]
    assert [image.info.width for image in images] == [30, 20, 40]
    assert [image.content for image in images] == [path.read_bytes() for path in sorted(tmp_path.iterdir())]


def test_unreadable_files_are_skipped_with_name_and_reason(tmp_path: Path) -> None:
    """A JPEG cut in half opens but does not decode; text and an empty file are no images; hidden: no word."""
    whole = generated_images(1, seed=0, width=64, height=64)[0].content
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "notes.txt").write_text("nothing to see")
    (tmp_path / "whole.jpg").write_bytes(whole)
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "below").mkdir()
    images = folder_images(tmp_path)
    assert [image.info.name for image in images] == ["whole.jpg"]
    reasons = {skipped.name: skipped.reason for skipped in images.skipped}
    assert list(reasons) == ["cut.jpg", "empty.jpg", "notes.txt"]
    assert "truncated" in reasons["cut.jpg"]
    assert reasons["empty.jpg"] == "empty file"
    assert str(images.skipped[2]) == "notes.txt: not an image that Pillow knows"


def test_files_beyond_the_count_are_not_opened(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    images = folder_images(tmp_path, count=1)
    assert len(images) == 1
    assert images.skipped == ()


def test_repeated_files_keep_their_names_and_get_other_pixels(tmp_path: Path) -> None:
    """Two files for five images: two untouched, two first variants, one second variant."""
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (40, 40), "gray").save(tmp_path / name)
    images = folder_images(tmp_path, count=5)
    assert [image.info.name for image in images] == ["a.png", "b.jpg", "a.png#2", "b.jpg#2", "a.png#3"]
    assert len({_pixels(image.content) for image in images if image.info.name.startswith("a")}) == 3
    assert images.description == f"{tmp_path}: 2 files, digest {images.digest}, repeated with other pixels"


def test_other_pictures_in_the_same_folder_are_known_by_their_names_and_sizes(tmp_path: Path) -> None:
    """A file of another size, then one of another name; a count that leaves the folder as it is changes nothing."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 40), "gray").save(tmp_path / name)
    before = folder_images(tmp_path)
    assert folder_images(tmp_path, count=5).digest == before.digest
    Image.new("RGB", (40, 200), "gray").save(tmp_path / "b.png")
    resized = folder_images(tmp_path)
    (tmp_path / "b.png").rename(tmp_path / "c.png")
    assert len({before.digest, resized.digest, folder_images(tmp_path).digest}) == 3


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, Path.touch])
def test_a_folder_without_images_is_unreadable(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    """Absent, empty, and not a folder at all."""
    folder = tmp_path / "images"
    make(folder)
    with pytest.raises(FileUnreadable, match=str(folder)) as refused:
        folder_images(folder)
    assert refused.value.hint


def test_a_picture_too_small_to_be_repeated_so_often_is_skipped(tmp_path: Path) -> None:
    """A bilevel picture of one pixel is black or white: two images, of which a third would repeat one."""
    Image.new("1", (1, 1)).save(tmp_path / "dot.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "large.png")
    assert len({image.content for image in folder_images(tmp_path, count=4)}) == 4
    images = folder_images(tmp_path, count=6)
    assert [str(skipped) for skipped in images.skipped] == [
        "dot.png: the picture is too small for so many variants"
    ]
    assert len({image.content for image in images}) == 6


def test_a_folder_of_broken_images_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"broken")
    with pytest.raises(FileUnreadable, match=r"a\.jpg: not an image that Pillow knows"):
        folder_images(tmp_path)


def test_no_image_from_a_folder_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        folder_images(tmp_path, count=0)


def test_a_file_that_goes_during_the_run_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    images = folder_images(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileUnreadable, match=r"a\.png"):
        images[0]


@real_images
def test_every_real_file_decodes_and_varies() -> None:
    """28 files, CMYK, palette, EXIF-rotated, progressive and WebP among them; a second round varies each."""
    images = folder_images(REAL_IMAGES, count=2 * len(list(REAL_IMAGES.iterdir())))
    assert images.skipped == ()
    once, twice = images.files, list(images)[len(images.files) :]
    assert len(twice) == len(once)
    for path, variant in zip(once, twice, strict=True):
        _assert_same_kind_other_pixels(path.read_bytes(), variant.content)


@real_images
def test_a_jpegs_variant_keeps_tables_sampling_progression_and_orientation() -> None:
    for name in ("*tower_progressive.jpg", "*Landscape_6.jpg", "*CMYK_color_no_profile.jpg", "*75612.jpg"):
        content = next(REAL_IMAGES.glob(name)).read_bytes()
        before, after = Image.open(io.BytesIO(content)), Image.open(io.BytesIO(pixel_variant(content, 1)))
        assert isinstance(before, JpegImagePlugin.JpegImageFile)
        assert isinstance(after, JpegImagePlugin.JpegImageFile)
        assert after.quantization == before.quantization
        assert after.info.get("progressive") == before.info.get("progressive")
        assert after.getexif().get(ORIENTATION) == before.getexif().get(ORIENTATION)


@real_images
def test_a_jpegs_variant_changes_one_block_by_little() -> None:
    """Variants 1 and 2 shift block 0 and block 1: they differ in two blocks of 16x16 at most."""
    content = next(REAL_IMAGES.glob("*75612.jpg")).read_bytes()
    first, second = (np.asarray(_opened(pixel_variant(content, number)), np.int16) for number in (1, 2))
    changed = np.abs(first - second).max(axis=2)
    assert 0 < changed.max() <= 16
    assert np.count_nonzero(changed) <= 2 * 16 * 16


def _saved(picture: Image.Image, image_format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    picture.save(content, image_format, **options)
    return content.getvalue()


def _small_pictures() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    seen_through = Image.fromarray(rng.integers(0, 256, (20, 30, 4), dtype=np.uint8))
    palette = colour.quantize(16)
    return {
        "bilevel PNG": _saved(colour.convert("1"), "PNG"),
        "gray and alpha PNG": _saved(seen_through.convert("LA"), "PNG"),
        "alpha PNG": _saved(seen_through, "PNG"),
        "transparent PNG": _saved(Image.new("RGBA", (5, 5)), "PNG"),
        "palette PNG with a transparent colour": _saved(palette, "PNG", transparency=3),
        "palette PNG with alphas": _saved(palette, "PNG", transparency=bytes([0, 9, 0, 255])),
        "transparent GIF": _saved(Image.new("P", (3, 3)), "GIF", transparency=0),
        "one-colour GIF": _saved(Image.new("P", (3, 3)), "GIF"),
        "animated GIF": _saved(palette, "GIF", save_all=True, append_images=[palette.rotate(180)]),
        "BMP": _saved(colour, "BMP"),
        "LZW TIFF": _saved(colour, "TIFF", compression="tiff_lzw"),
        "CMYK TIFF": _saved(colour.convert("CMYK"), "TIFF"),
        "16-bit PNG": _saved(Image.fromarray(rng.integers(0, 2**16, (20, 30), dtype=np.uint16)), "PNG"),
        "float TIFF": _saved(colour.convert("F"), "TIFF"),
        "lossless WebP": _saved(seen_through, "WEBP", lossless=True),
        "lossy WebP with alpha": _saved(seen_through, "WEBP"),
        "tiny JPEG": _saved(colour.crop((0, 0, 5, 5)), "JPEG"),
        "black JPEG": _saved(Image.new("RGB", (5, 5)), "JPEG"),
        "coarse JPEG": _saved(colour.resize((48, 40)), "JPEG", quality=1),
    }


@pytest.mark.parametrize("kind", _small_pictures())
def test_forty_variants_of_any_picture_have_forty_different_pixels(kind: str) -> None:
    """Nor do they equal the picture itself: 41 files, 41 sets of pixels."""
    content = _small_pictures()[kind]
    variants = [pixel_variant(content, number) for number in range(1, 41)]
    _assert_same_kind_other_pixels(content, variants[0])
    assert len({content, *variants}) == 41
    assert len({_pixels(each) for each in (content, *variants)}) == 41


def test_a_picture_too_small_for_so_many_variants_says_so() -> None:
    """One block at quality 1, where the mean moves in steps of 255 / 8 levels: ten would leave the scale."""
    content = _saved(Image.new("RGB", (5, 5), "gray"), "JPEG", quality=1)
    with pytest.raises(ValueError, match="variants"):
        pixel_variant(content, 10)


def test_variants_are_the_same_each_time() -> None:
    content = _small_pictures()["coarse JPEG"]
    assert pixel_variant(content, 3) == pixel_variant(content, 3)


def test_a_phones_multi_picture_jpeg_varies_as_a_jpeg() -> None:
    picture = Image.effect_noise((32, 32), 50).convert("RGB")
    content = _saved(picture, "MPO", save_all=True, append_images=[picture])
    assert _opened(pixel_variant(content, 1)).format == "JPEG"


def test_a_format_that_pillow_cannot_write_becomes_png() -> None:
    """An XPM of one black pixel: read by Pillow, never written."""
    content = b'/* XPM */\nstatic char *x[] = {\n"1 1 1 1",\n"a c #000000",\n"a"\n};\n'
    assert _opened(pixel_variant(content, 1)).format == "PNG"


def test_a_variant_changes_no_pixel_that_transparency_hides() -> None:
    """Only the last pixel of three is opaque: on white, the variant shows the change."""
    picture = Image.new("RGBA", (3, 1))
    picture.putpixel((2, 0), (10, 20, 30, 255))
    variant = _opened(pixel_variant(_saved(picture, "PNG"), 1))
    assert variant.getpixel((2, 0)) == (11, 21, 31, 255)
    assert variant.getpixel((0, 0)) == (0, 0, 0, 0)


def _opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def _pixels(content: bytes) -> tuple[bytes, bytes]:
    """What an engine that hashes pixels would hash: those of the picture, its palette's colours included."""
    image = _opened(content)
    return image.tobytes(), bytes(image.getpalette() or [])


def _assert_same_kind_other_pixels(before: bytes, after: bytes) -> None:
    original, variant = _opened(before), _opened(after)
    assert (variant.format, variant.mode, variant.size) == (original.format, original.mode, original.size)
    assert variant.getexif().get(ORIENTATION) == original.getexif().get(ORIENTATION)
    assert _pixels(after) != _pixels(before)
