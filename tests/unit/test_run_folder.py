"""The run folder: opened, refused, and written so that a reader never meets half a file."""

import json
from pathlib import Path

import pytest

from vlmprof.errors import ExitCode, FileUnreadable
from vlmprof.model.run_folder import RunFolder, write_atomically
from vlmprof.model.run_info import SCHEMA_VERSION, HostInfo, ModelInfo, RunInfo
from vlmprof.model.table_io import read_table, write_table
from vlmprof.model.tables import SCHEMAS

_INFO = RunInfo(
    schema_version=SCHEMA_VERSION,
    vlmprof_version="0.1.0",
    name="run",
    status="complete",
    created_unix_ns=1,
    command=["vlmprof", "run"],
    model=ModelInfo(name="m"),
    host=HostInfo(cpu="c", cores=2, memory_bytes=1, kernel="k", os="o"),
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path / "runs" / "a")
    made.write_info(_INFO)
    return made


def test_a_folder_is_made_with_its_parts(folder: RunFolder) -> None:
    """Parents too: `runs/` need not be there."""
    assert {path.name for path in folder.path.iterdir()} == {"raw", "tables", "results", "run.json"}


def test_run_json_is_read_back_as_it_was_written(folder: RunFolder) -> None:
    """From a folder opened anew."""
    assert RunFolder.open(folder.path).read_info() == _INFO


def test_fields_of_a_later_minor_version_are_passed_over(folder: RunFolder) -> None:
    """The schema's number says when they matter."""
    content = json.loads(folder.info_path.read_text())
    folder.info_path.write_text(json.dumps({**content, "of_the_future": {"x": 1}}))
    assert folder.read_info() == _INFO


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "is no run folder"),
        ("", "is damaged"),
        ('{"schema_version": 1', "is damaged"),
        ("[]", "is damaged"),
        ('{"schema_version": 1}', "is damaged"),
        ('{"schema_version": 99}', "schema version 99"),
    ],
    ids=["absent", "empty", "cut off", "no object", "lacks fields", "newer"],
)
def test_a_folder_that_cannot_be_read_says_why(content: str | None, reason: str, folder: RunFolder) -> None:
    """Always exit code 5 and a hint, never half a run."""
    folder.info_path.unlink()
    if content is not None:
        folder.info_path.write_text(content)
    with pytest.raises(FileUnreadable, match=reason) as refused:
        RunFolder.open(folder.path)
    assert refused.value.exit_code == ExitCode.FILE_UNREADABLE
    assert refused.value.hint


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A file is in the way."""
    (tmp_path / "file").write_text("")
    with pytest.raises(FileUnreadable, match="cannot create") as refused:
        RunFolder.create(tmp_path / "file" / "run")
    assert "--out" in refused.value.hint


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new content goes beside it first: the disk fills up before the old one is touched."""
    path = tmp_path / "summary.json"
    write_atomically(path, b"old")

    def fill_up(_path: Path, _content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_table_is_read_back_and_an_absent_one_is_empty(folder: RunFolder) -> None:
    """Both have the columns of their schema."""
    rows = {
        "pid": [7],
        "tid": [7],
        "name": ["mm.hash"],
        "request_ids": [["r-1"]],
        "start_ns": [-5],
        "end_ns": [10],
        "depth": [0],
    }
    import pyarrow as pa

    write_table(folder, "spans", pa.table(rows))
    assert folder.has_table("spans")
    assert read_table(folder, "spans").to_pydict() == rows
    assert not folder.has_table("samples")
    assert read_table(folder, "samples").schema == SCHEMAS["samples"]


def test_a_damaged_table_is_an_error(folder: RunFolder) -> None:
    """Not an empty table: the hint says how to make it anew."""
    folder.table_path("spans").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(FileUnreadable, match=r"spans\.parquet") as refused:
        read_table(folder, "spans")
    assert "--rebuild" in refused.value.hint
