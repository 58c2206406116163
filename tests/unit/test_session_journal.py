"""The journal: a run folder that can be read whatever happened while it was written."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vlmprof.errors import ExitCode, FileUnreadable
from vlmprof.model.request import ImageInfo, Phase, Request
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import (
    SCHEMA_VERSION,
    CollectorInfo,
    HostInfo,
    ModelInfo,
    RunInfo,
)
from vlmprof.session.journal import Journal, disk_errors, read_requests


def _info() -> RunInfo:
    return RunInfo(
        schema_version=SCHEMA_VERSION,
        vlmprof_version="0.1.0",
        name="run",
        status="running",
        created_unix_ns=1,
        command=["vlmprof", "run"],
        model=ModelInfo(name="m"),
        host=HostInfo(cpu="c", cores=2, memory_bytes=1, kernel="k", os="o"),
    )


def _request(number: int, error: str = "") -> Request:
    return Request(
        id=f"r-{number}",
        phase=Phase.CONTROL,
        block=0,
        sent_ns=1000 * number,
        first_token_ns=None if error else 1000 * number + 300,
        done_ns=1000 * number + 500,
        prompt_tokens=90,
        image_tokens=64,
        output_tokens=4,
        images=(ImageInfo("a.jpg", 640, 480, 9000),),
        error=error,
        text="three cats: \u732b",
    )


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run")


@pytest.fixture
def journal(folder: RunFolder) -> Journal:
    return Journal(folder, _info())


def test_requests_are_read_back_as_they_ended(journal: Journal, folder: RunFolder) -> None:
    """Two good ones and a failed one, each on disk before the next: two count as finished."""
    requests = [_request(1), _request(2, "HTTP 500"), _request(3)]
    for number, request in enumerate(requests, 1):
        journal.add_request(request)
        assert read_requests(folder) == requests[:number]
    assert journal.finished_requests == 2


def test_a_last_line_that_was_cut_off_is_left_out(journal: Journal, folder: RunFolder) -> None:
    """The kill came in mid-write: the two whole ones are kept."""
    for number in (1, 2, 3):
        journal.add_request(_request(number))
    path = folder.raw / "requests.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert [request.id for request in read_requests(folder)] == ["r-1", "r-2"]


def test_a_damaged_line_before_the_last_is_an_error(journal: Journal, folder: RunFolder) -> None:
    """No kill does that: the file was changed, and the line is named."""
    for number in (1, 2, 3):
        journal.add_request(_request(number))
    path = folder.raw / "requests.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"{}\n", lines[2]]))
    with pytest.raises(FileUnreadable, match="line 2 is damaged"):
        read_requests(folder)


def test_a_request_that_the_disk_refuses_leaves_no_torn_line(journal: Journal, folder: RunFolder) -> None:
    """Room for 10 bytes more: they are taken back, and the request after it, for which there is room, is whole."""
    journal.add_request(_request(1))
    path = folder.raw / "requests.jsonl"
    with _files_at_most(path.stat().st_size + 10), pytest.raises(OSError, match="File too large"):
        journal.add_request(_request(2))
    journal.add_request(_request(3))
    assert [request.id for request in read_requests(folder)] == ["r-1", "r-3"]


@contextmanager
def _files_at_most(size_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond a size: the kernel cuts writes short, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_run_without_requests_has_none(folder: RunFolder) -> None:
    """A load command sends its own."""
    assert read_requests(folder) == []


def test_run_json_follows_the_run(journal: Journal, folder: RunFolder) -> None:
    """It says `running` from the start, then each step as it begins and ends, then the end."""
    assert folder.read_info().status == "running"
    with journal.step("Warm-up"):
        (step,) = folder.read_info().steps
        assert (step.name, step.end_ns) == ("Warm-up", None)
    (step,) = folder.read_info().steps
    assert step.end_ns is not None
    assert step.end_ns >= step.start_ns
    journal.close("complete")
    assert folder.read_info().status == "complete"


def test_a_step_that_fails_stays_open(journal: Journal, folder: RunFolder) -> None:
    """run.json then says where the run was when it ended."""
    with pytest.raises(KeyboardInterrupt), journal.step("Block 3 (profiled)"):
        raise KeyboardInterrupt
    assert folder.read_info().steps[-1].end_ns is None


def test_a_warning_is_noted_once(journal: Journal, folder: RunFolder) -> None:
    """Blocks repeat what they find."""
    for text in ("one", "two", "one"):
        journal.warn(text)
    assert folder.read_info().warnings == ["one", "two"]


def test_a_collectors_entry_is_replaced(journal: Journal, folder: RunFolder) -> None:
    """One entry per kind: what was planned makes way for what happened."""
    journal.set_collector(CollectorInfo(name="austin", kind="cpu", state="off"))
    journal.set_collector(CollectorInfo(name="nsys", kind="gpu"))
    journal.set_collector(CollectorInfo(name="austin", kind="cpu", state="partial"))
    assert [(one.name, one.state) for one in folder.read_info().collectors] == [
        ("nsys", "ok"),
        ("austin", "partial"),
    ]


def _full_while(reserve: Path, monkeypatch: pytest.MonkeyPatch, *, always: bool = False) -> None:
    """A disk that is full as long as the reserve is there, or whatever is given up."""
    write_info = RunFolder.write_info

    def refuse(folder: RunFolder, info: RunInfo) -> None:
        if always or reserve.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_info(folder, info)

    monkeypatch.setattr(RunFolder, "write_info", refuse)


def test_on_a_full_disk_the_reserve_makes_room_for_run_json(
    journal: Journal, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 KiB of incompressible bytes are kept while the server could take them, and given up at the end."""
    reserve = folder.raw / ".reserve"
    assert reserve.stat().st_size == 1 << 18
    _full_while(reserve, monkeypatch)
    with pytest.raises(FileUnreadable, match="No space left"), journal.step("Block 0 (control)"):
        raise AssertionError("the step must not begin")
    assert reserve.exists()
    journal.close("partial", "the disk is full")
    assert not reserve.exists()
    assert folder.read_info().error == "the disk is full"


def test_a_disk_that_stays_full_is_an_error_that_says_so(
    journal: Journal, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exit code 5 and what to do; the folder keeps its last state."""
    _full_while(folder.raw / ".reserve", monkeypatch, always=True)
    with pytest.raises(FileUnreadable, match="No space left on device") as full:
        journal.close("complete")
    assert full.value.exit_code == ExitCode.FILE_UNREADABLE
    assert "--out" in full.value.hint
    assert folder.read_info().status == "running"


def test_the_reserve_is_gone_after_the_run(journal: Journal, folder: RunFolder) -> None:
    """A finished folder holds captures only."""
    journal.close("complete")
    assert not (folder.raw / ".reserve").exists()


def test_other_errors_of_the_system_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    """A lost connection is an OSError too."""
    with pytest.raises(ConnectionResetError), disk_errors(tmp_path):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_a_folder_that_holds_a_run_is_not_written_over(journal: Journal, folder: RunFolder) -> None:
    """The second run of the same --out is refused before it starts."""
    assert journal.finished_requests == 0
    with pytest.raises(FileUnreadable, match="holds a run already"):
        RunFolder.create(folder.path)
