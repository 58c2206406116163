"""From a MOJO capture to the tables samples, stacks and frames."""

from pathlib import Path

import pytest

from tests.unit.mojo_reference import IDLE, frame, header, metadata, refs, stack, string, time_us, varint
from vlmprof.errors import ClockError
from vlmprof.model.clock import ClockMap
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import read_table, write_table
from vlmprof.model.tables import FRAMES, SAMPLES, STACKS
from vlmprof.read.mojo import MojoCapture, read_mojo
from vlmprof.read.mojo_tables import mojo_quality, mojo_tables

SYMBOLS = (
    string(10, "a.py") + string(20, "outer") + string(21, "inner") + frame(1, 10, 20, 5) + frame(2, 10, 21, 7)
)
INTERVAL = metadata("interval", "1000")


def capture_of(folder: Path, *parts: bytes) -> MojoCapture:
    path = folder / "austin.mojo"
    path.write_bytes(b"".join([header(), *parts]))
    return read_mojo(path)


def row(pid: int, tid: int, duration_us: int, frames: bytes = b"") -> bytes:
    return stack(pid, tid) + SYMBOLS + frames + time_us(duration_us)


def test_a_sample_ends_when_it_was_taken(tmp_path: Path) -> None:
    """Rounds at 1.0 and 2.1 ms of the axis, which began at session time 50 ms: [50, 51) and [51, 52.1) ms."""
    capture = capture_of(tmp_path, INTERVAL, row(7, 7, 1000, refs(1)), row(7, 7, 1100, refs(1, 2)))
    samples, stacks, frames = mojo_tables(capture, {7: ClockMap("austin:7", 50_000_000)})
    assert samples["start_ns"].to_pylist() == [50_000_000, 51_000_000]
    assert samples["duration_ns"].to_pylist() == [1_000_000, 1_100_000]
    names = dict(zip(frames["frame_id"].to_pylist(), frames["function"].to_pylist(), strict=True))
    by_id = dict(zip(stacks["stack_id"].to_pylist(), stacks["frame_ids"].to_pylist(), strict=True))
    shown = [[names[number] for number in by_id[stack_id]] for stack_id in samples["stack_id"].to_pylist()]
    assert shown == [["outer"], ["outer", "inner"]]


def test_a_line_number_that_austin_misread_is_unknown(tmp_path: Path) -> None:
    """4278523912, seen in a capture of a served model, does not fit into 32 bits: the line is 0, as unknown."""
    misread = frame(3, 10, 20, 4278523912)
    _, _, frames = mojo_tables(
        capture_of(tmp_path, INTERVAL, row(7, 7, 1000, misread + refs(3))), {7: ClockMap("austin:7", 0)}
    )
    assert frames["function"].to_pylist() == ["outer"]
    assert frames["line"].to_pylist() == [0]


def test_samples_of_all_processes_come_by_their_start(tmp_path: Path) -> None:
    """Process 8's axis began 5 ms before process 7's: its samples come first."""
    rows = [
        row(7, 7, 1000, refs(1)),
        row(8, 8, 1000, refs(1)),
        row(7, 7, 1000, refs(1)),
        row(8, 8, 1000, refs(1)),
    ]
    clocks = {7: ClockMap("austin:7", 5_000_000), 8: ClockMap("austin:8", 0)}
    samples, _, _ = mojo_tables(capture_of(tmp_path, INTERVAL, *rows), clocks)
    assert samples["pid"].to_pylist() == [8, 8, 7, 7]
    assert samples["start_ns"].to_pylist() == [0, 1_000_000, 5_000_000, 6_000_000]


def test_the_sample_after_a_pause_stands_for_one_interval(tmp_path: Path) -> None:
    """2 s are more than 20 intervals of 1 ms: the sample that ends at 2.001 s begins at 2.000 s."""
    capture = capture_of(tmp_path, INTERVAL, row(7, 7, 1000, refs(1)), row(7, 7, 2_000_000, refs(1)))
    samples, _, _ = mojo_tables(capture, {7: ClockMap("austin:7", 0)})
    assert samples["start_ns"].to_pylist() == [0, 2_000_000_000]
    assert samples["duration_ns"].to_pylist() == [1_000_000, 1_000_000]


def test_threads_that_are_being_started_are_left_out(tmp_path: Path) -> None:
    """A row without frames has nothing to show, and its thread id is not yet its own."""
    capture = capture_of(
        tmp_path, INTERVAL, row(7, 9, 1000), row(7, 9, 1000, refs(1)), row(7, 7, 1000, refs(1))
    )
    samples, _, _ = mojo_tables(capture, {7: ClockMap("austin:7", 0)})
    assert samples["tid"].to_pylist() == [9, 7]


def test_a_process_without_a_clock_is_left_out_and_counted(tmp_path: Path) -> None:
    capture = capture_of(tmp_path, INTERVAL, row(7, 7, 1000, refs(1)), row(8, 8, 1000, refs(1)))
    clocks = {7: ClockMap("austin:7", 0)}
    samples, _, _ = mojo_tables(capture, clocks)
    quality = mojo_quality(capture, clocks)
    assert samples["pid"].to_pylist() == [7]
    assert quality.dropped == 1
    assert "no clock for processes 8" in quality.note


def test_without_any_clock_there_are_no_tables(tmp_path: Path) -> None:
    capture = capture_of(tmp_path, INTERVAL, row(7, 7, 1000, refs(1)))
    with pytest.raises(ClockError, match=r"none of the processes \[7\]"):
        mojo_tables(capture, {})


def test_a_capture_without_samples_gives_empty_tables(tmp_path: Path) -> None:
    samples, stacks, frames = mojo_tables(capture_of(tmp_path, INTERVAL), {})
    assert (samples.schema, stacks.schema, frames.schema) == (SAMPLES, STACKS, FRAMES)
    assert (samples.num_rows, stacks.num_rows, frames.num_rows) == (0, 0, 0)


def test_only_full_metrics_know_who_was_on_a_processor(tmp_path: Path) -> None:
    """Without them on_cpu is null; with them it is what the idle flag denies. Of the GIL austin says nothing."""
    plain, _, _ = mojo_tables(
        capture_of(tmp_path, INTERVAL, row(7, 7, 1000, refs(1))), {7: ClockMap("austin:7", 0)}
    )
    memory = b"\x0a" + varint(0)
    rows = [row(7, 9, 1000, refs(1)) + IDLE + memory, row(7, 7, 1000, refs(1)) + memory]
    capture = capture_of(tmp_path, INTERVAL, metadata("mode", "full"), *rows)
    full, _, _ = mojo_tables(capture, {7: ClockMap("austin:7", 0)})
    assert plain["on_cpu"].to_pylist() == [None]
    assert full["on_cpu"].to_pylist() == [False, True]
    assert full["holds_gil"].to_pylist() == [None, None]


def test_quality_counts_missed_samples_and_pauses(tmp_path: Path) -> None:
    """At 1 ms: 3.1 ms miss two samples, 1.4 ms none, and the pause of 2 s is a pause."""
    durations_us = (1000, 3100, 1400, 2_000_000)
    capture = capture_of(tmp_path, INTERVAL, *(row(7, 7, us, refs(1)) for us in durations_us))
    quality = mojo_quality(capture, {7: ClockMap("austin:7", 0)})
    assert (quality.source, quality.samples, quality.samples_missed) == ("austin", 4, 2)
    assert (quality.errors, quality.dropped, quality.truncated) == (0, 0, False)
    assert quality.note == "1 pauses of the sampler"


def test_a_process_that_austin_dropped_is_told(tmp_path: Path) -> None:
    """Process 8's only round is at 1 ms, process 7's last one at 3.001 s."""
    rows = [row(8, 8, 1000, refs(1)), row(7, 7, 1000, refs(1)), row(7, 7, 3_000_000, refs(1))]
    clocks = {7: ClockMap("austin:7", 0), 8: ClockMap("austin:8", 0)}
    note = mojo_quality(capture_of(tmp_path, INTERVAL, *rows), clocks).note
    assert note == "1 pauses of the sampler; samples of process 8 end 3.00 s before the last"


def test_the_tables_survive_the_disk(tmp_path: Path) -> None:
    capture = capture_of(tmp_path, INTERVAL, *(row(7, 7, 1000 + n, refs(1, 2)) for n in range(50)))
    tables = mojo_tables(capture, {7: ClockMap("austin:7", 10**12)})
    folder = RunFolder.create(tmp_path / "run")
    for name, table in zip(("samples", "stacks", "frames"), tables, strict=True):
        write_table(folder, name, table)
        assert read_table(folder, name).to_pylist() == table.to_pylist()
