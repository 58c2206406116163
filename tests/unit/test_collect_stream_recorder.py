"""A pipe copied into a file, with the time at which each part of it arrived."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlmprof.collect.stream_recorder import ARRIVAL, StreamRecorder


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a file system that is soon full")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_each_part_is_dated_and_counted(tmp_path: Path) -> None:
    """5 and then 3 bytes: two records, of 5 and of 8 bytes, in order and within the test's own times."""
    read_end, write_end = os.pipe()
    start_ns = time.perf_counter_ns()
    with os.fdopen(read_end, "rb", buffering=0) as pipe:
        recorder = StreamRecorder(pipe, tmp_path / "content", tmp_path / "arrivals")
        os.write(write_end, b"12345")
        assert recorder.wait_for(5, timeout_s=120)
        os.write(write_end, b"678")
        os.close(write_end)
        recorder.join(timeout_s=120)
    records = list(ARRIVAL.iter_unpack((tmp_path / "arrivals").read_bytes()))
    assert (tmp_path / "content").read_bytes() == b"12345678"
    assert [total for _, total in records] == [5, 8]
    times = [start_ns, *(at_ns for at_ns, _ in records), time.perf_counter_ns()]
    assert times == sorted(times)
    assert recorder.error == ""


def test_waiting_ends_when_the_pipe_closes(tmp_path: Path) -> None:
    """Nothing ever comes: the answer is no, long before the timeout."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", buffering=0) as pipe:
        recorder = StreamRecorder(pipe, tmp_path / "content", tmp_path / "arrivals")
        os.close(write_end)
        assert not recorder.wait_for(1, timeout_s=600)
        recorder.join(timeout_s=120)


def test_a_full_disk_ends_the_recording_and_never_the_draining(tiny_disk: Path) -> None:
    """200 kB into 64 kB: all of it leaves the pipe, the first part is kept, every record is true of it."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", buffering=0) as pipe:
        recorder = StreamRecorder(pipe, tiny_disk / "content", tiny_disk / "arrivals")
        for _ in range(200):
            os.write(write_end, b"x" * 1000)
        os.close(write_end)
        recorder.join(timeout_s=120)
    assert recorder.received_bytes == 200_000
    assert "No space left on device" in recorder.error
    size_bytes = (tiny_disk / "content").stat().st_size
    assert 0 < size_bytes <= 64 * 1024
    complete = (tiny_disk / "arrivals").read_bytes()
    records = ARRIVAL.iter_unpack(complete[: len(complete) // ARRIVAL.size * ARRIVAL.size])
    assert all(total <= size_bytes for _, total in records)


def test_a_folder_that_is_gone_is_noted_and_the_pipe_drained(tmp_path: Path) -> None:
    """Neither file can be opened; the writer is not blocked."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", buffering=0) as pipe:
        recorder = StreamRecorder(pipe, tmp_path / "gone" / "content", tmp_path / "gone" / "arrivals")
        os.write(write_end, b"12345")
        os.close(write_end)
        recorder.join(timeout_s=120)
    assert recorder.received_bytes == 5
    assert "No such file or directory" in recorder.error
