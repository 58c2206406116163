"""`vlmprof import` of damaged files of every kind: an error that names the file, or a run that can be looked at."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.damaged_recordings import harm, harmed, recordings
from tests.unit.shared_data import shared_files
from vlmprof.errors import FileUnreadable
from vlmprof.model.run_folder import RunFolder
from vlmprof.session.export_run import export_run
from vlmprof.session.import_files import count_rows, import_files
from vlmprof.session.import_readers import read_any

_KINDS = sorted(recordings())
_CLOSED = [name for name in _KINDS if not name.endswith((".txt", ".mojo"))]
_FORMATS = ("perfetto", "chrome", "speedscope", "collapsed")


@contextmanager
def _refusal_of(said: str) -> Iterator[None]:
    """Nothing is raised but an error of the file that says what is wrong; whatever else it is fails the test."""
    message = said
    with suppress(FileUnreadable):
        try:
            yield
        except FileUnreadable as error:
            message = error.message
            raise
    assert said in message


def _imported(path: Path, out: Path) -> RunFolder | None:
    """None where it is refused."""
    with _refusal_of(path.name):
        return import_files([path], out, overwrite=True)
    return None


@pytest.mark.parametrize("name", _KINDS)
def test_whole_recordings_become_runs(name: str, tmp_path: Path) -> None:
    """The corpus is what it is meant to be: each has kernels or samples, and nothing is said to be missing."""
    path = tmp_path / name
    path.write_bytes(recordings()[name])
    folder = import_files([path], tmp_path / "run")
    rows = count_rows(folder)
    assert rows["gpu_kernels"] + rows["samples"] > 0
    assert not any(each.truncated or each.errors for each in folder.read_info().quality)


@settings(max_examples=150)
@given(name=st.sampled_from(_KINDS), harms=st.lists(harm, min_size=1, max_size=4))
def test_damage_of_any_kind_is_refused_or_gives_a_run(
    name: str, harms: list[tuple[str, float, int]], tmp_path: Path
) -> None:
    """Cut, flipped, blanked, lost, doubled: never another exception, and what is imported can be exported."""
    path = tmp_path / name
    path.write_bytes(harmed(recordings()[name], harms))
    folder = _imported(path, tmp_path / "run")
    if folder is None:
        return
    for file_format in _FORMATS:
        with _refusal_of("has no stack samples"):
            export_run(folder, file_format)


@settings(max_examples=60)
@given(name=st.sampled_from(_CLOSED), kept=st.floats(0, 1, exclude_max=True))
def test_a_cut_recording_is_refused(name: str, kept: float, tmp_path: Path) -> None:
    """No silent half of what says where it ends: text and MOJO, which do not, are cut in their readers' tests."""
    whole = recordings()[name]
    path = tmp_path / name
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(FileUnreadable, match=name):
        import_files([path], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("path", [*shared_files("nsys"), *shared_files("kineto")], ids=lambda path: path.name)
@settings(max_examples=8)
@given(harms=st.lists(harm, min_size=1, max_size=3))
def test_damaged_real_recordings_are_refused_or_read(
    path: Path, harms: list[tuple[str, float, int]], tmp_path: Path
) -> None:
    """The same with what programs wrote."""
    damaged = tmp_path / path.name
    damaged.write_bytes(harmed(path.read_bytes(), harms))
    with _refusal_of(path.name):
        read_any(damaged)
