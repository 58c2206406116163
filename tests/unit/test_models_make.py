"""Making a checkpoint's folder: whole, the same every time, or not at all."""

import errno
import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from vlmprof.errors import FileUnreadable, UsageError
from vlmprof.models import folder, make_checkpoint, tokenizer

_CORPUS = tokenizer._corpus

Usage = namedtuple("Usage", ["total", "used", "free"])


@pytest.fixture(autouse=True)
def short_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five modules instead of six hundred to train on."""
    monkeypatch.setattr(tokenizer, "_corpus", lambda: _CORPUS()[:5])


def _make(out: Path, **options: Any) -> None:
    make_checkpoint("SmolVLM-256M", out, scale="small", **options)


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    """All nine files, weights and tokenizer included, byte for byte."""
    _make(tmp_path / "first", seed=7)
    _make(tmp_path / "second", seed=7)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert len(files) == 9
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_made_folder_says_what_it_is(tmp_path: Path) -> None:
    _make(tmp_path / "made")
    marker = json.loads((tmp_path / "made" / folder.MARKER).read_text())
    assert marker["name"] == "SmolVLM-256M"
    assert marker["weights"] == "random"
    assert json.loads((tmp_path / "made" / "config.json").read_text())["image_token_id"] == 49190


def test_the_result_describes_the_folder(tmp_path: Path) -> None:
    """The tokens' ids do not depend on the scale, the weights' size does: `weights_bytes` is the file's."""
    info = make_checkpoint("smolvlm-256m", tmp_path / "made", scale="small", seed=2)
    assert (info.name, info.scale, info.seed, info.path) == ("SmolVLM-256M", "small", 2, tmp_path / "made")
    assert info.weights_bytes == (tmp_path / "made" / "model.safetensors").stat().st_size


def test_progress_names_both_steps(tmp_path: Path) -> None:
    steps: list[str] = []
    _make(tmp_path / "made", progress=lambda step, fraction: steps.append(step))
    assert list(dict.fromkeys(steps)) == ["tokenizer", "weights"]


def test_an_empty_folder_is_filled_and_a_missing_parent_is_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _make(tmp_path / "empty")
    _make(tmp_path / "a" / "b")
    assert (tmp_path / "empty" / "config.json").exists()
    assert (tmp_path / "a" / "b" / "config.json").exists()


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty") as caught:
        _make(tmp_path)
    assert "--force" in caught.value.hint


def test_force_replaces_a_made_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    """A folder without our marker keeps its files whatever is asked."""
    _make(tmp_path / "made", seed=1)
    before = (tmp_path / "made" / "model.safetensors").read_bytes()
    _make(tmp_path / "made", seed=2, force=True)
    assert (tmp_path / "made" / "model.safetensors").read_bytes() != before
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="not made by"):
        _make(tmp_path / "home", force=True)
    assert (tmp_path / "home" / "thesis.tex").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        _make(tmp_path / "made")


def test_too_small_a_disk_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13.2 MB of weights and 10 MB for the tokenizer do not fit into 20 MB."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 20 * 10**6))
    with pytest.raises(FileUnreadable, match=r"no room for SmolVLM-256M \(small, 23.2 MB\)") as caught:
        _make(tmp_path / "made")
    assert "--scale small" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_up(path: Path, *args: object, **options: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder, "write_weights", fill_up)
    with pytest.raises(FileUnreadable, match="no room"):
        _make(tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing_behind_and_keeps_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(tmp_path / "made")

    def interrupt(path: Path, *args: object, **options: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "write_weights", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _make(tmp_path / "made", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "model.safetensors").stat().st_size > 1000


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where a parent folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(FileUnreadable, match="cannot write"):
        _make(tmp_path / "file" / "made")
