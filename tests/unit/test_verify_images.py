"""The images that recipes are verified on: a user's folder is not always one of photographs."""

import io
from pathlib import Path

import pytest
from PIL import Image

from vlmprof.errors import FileUnreadable
from vlmprof.session.verify_images import write_images


def _save(path: Path, mode: str = "RGB") -> Path:
    Image.new(mode, (64, 48)).save(path)
    return path


@pytest.fixture
def user(tmp_path: Path) -> Path:
    folder = tmp_path / "user"
    folder.mkdir()
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_the_first_picture_in_rgb_is_the_ordinary_one_and_what_is_none_is_named(
    user: Path, scratch: Path
) -> None:
    """A .DS_Store, a note and a gray picture come first by name, and a truncated one does not decode."""
    (user / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (user / "a note.txt").write_text("holiday")
    gray, photo = _save(user / "b gray.png", "L"), _save(user / "c photo.png")
    whole = io.BytesIO()
    Image.effect_noise((64, 48), 50).convert("RGB").save(whole, "JPEG")
    (user / "d truncated.jpg").write_bytes(whole.getvalue()[:-200])
    images = write_images(scratch, user)
    assert images.some[0] == [photo]
    assert images.some[-1][0] == photo
    assert images.all[:2] == [[photo], [gray]]
    assert images.all[-1] == [photo, gray]
    assert [each.name for each in images.skipped] == [".DS_Store", "a note.txt", "d truncated.jpg"]
    assert str(images.skipped[0]) == ".DS_Store: not an image that Pillow knows"


def test_a_generated_photo_stands_in_where_no_picture_is_rgb(user: Path, scratch: Path) -> None:
    """The user's picture is verified too."""
    gray = _save(user / "gray.png", "L")
    images = write_images(scratch, user)
    with Image.open(images.some[0][0]) as first:
        assert (first.mode, images.some[0][0].parent) == ("RGB", scratch)
    assert [gray] in images.all


def test_without_a_folder_photographs_are_generated(scratch: Path) -> None:
    images = write_images(scratch, None)
    assert images.skipped == []
    with Image.open(images.some[0][0]) as first:
        assert first.mode == "RGB"


def test_a_folder_without_a_picture_is_refused_with_the_reasons(user: Path, scratch: Path) -> None:
    (user / ".DS_Store").write_bytes(b"Bud1")
    with pytest.raises(FileUnreadable, match=r"no pictures in .*\.DS_Store: not an image"):
        write_images(scratch, user)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(FileUnreadable, match="cannot be read as a folder: No such file"):
        write_images(scratch, tmp_path / "absent")
