"""Reading MOJO files: every event of every version, and files that are cut, damaged, foreign or newer."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.mojo_reference import (
    GC,
    IDLE,
    INVALID,
    REPEAT,
    Reader,
    frame,
    header,
    metadata,
    refs,
    stack,
    string,
    text,
    time_us,
    varint,
)
from vlmprof.errors import FileUnreadable
from vlmprof.read.mojo import MojoCapture, read_arrivals, read_mojo
from vlmprof.read.mojo_events import Flag

GOLDEN = Path(__file__).parent.parent / "golden" / "mojo"
CAPTURES = ["austin-3.7.mojo", "austin-4.0.mojo"]

SYMBOLS = (
    string(10, "a.py") + string(20, "outer") + string(21, "inner") + frame(1, 10, 20, 5) + frame(2, 10, 21, 7)
)
"""Frames 1 = outer (a.py:5) and 2 = inner (a.py:7)."""

OUTER, INNER = ("outer", "a.py", 5), ("inner", "a.py", 7)


def read(folder: Path, *parts: bytes) -> MojoCapture:
    path = folder / "austin.mojo"
    path.write_bytes(b"".join(parts))
    return read_mojo(path)


def stacks_of(capture: MojoCapture) -> list[list[tuple[str, str, int]]]:
    """The frames of each row, root first."""
    return [
        [
            (frame.function, frame.file, frame.line)
            for frame in map(capture.frames.__getitem__, capture.stack(stack_id))
        ]
        for stack_id in capture.stack_id.tolist()
    ]


def assert_same_as_reference(capture: MojoCapture, reference: Reader) -> None:
    assert dict(capture.metadata) == reference.metadata
    assert capture.pid.tolist() == [row.pid for row in reference.rows]
    assert capture.tid.tolist() == [int(row.thread, 16) for row in reference.rows]
    assert capture.duration_ns.tolist() == [1000 * (row.duration_us or 0) for row in reference.rows]
    assert capture.end_offset.tolist() == [row.end_offset for row in reference.rows]
    assert stacks_of(capture) == [row.frames for row in reference.rows]


@pytest.mark.parametrize("name", CAPTURES)
def test_a_real_capture_reads_as_it_does_step_by_step(name: str) -> None:
    """Rows, threads, durations, offsets and stacks of the compiled reader and of the plain one are the same."""
    capture, reference = read_mojo(GOLDEN / name), Reader((GOLDEN / name).read_bytes())
    assert_same_as_reference(capture, reference)
    assert capture.row_count > 250
    assert not capture.truncated
    assert capture.damaged == capture.error_count == 0


@pytest.mark.parametrize("name", CAPTURES)
def test_a_real_capture_names_its_functions_and_interval(name: str) -> None:
    """The program's worker recurses five times below its run method; austin was asked for 10 ms."""
    capture = read_mojo(GOLDEN / name)
    assert capture.version == 3
    assert capture.interval_ns == 10_000_000
    functions = [[frame[0] for frame in row] for row in stacks_of(capture)]
    assert ["Worker.run", *["encode"] * 6] in functions
    assert len(capture.frames) == len(set(capture.frames))


@pytest.mark.parametrize("name", CAPTURES)
def test_a_real_capture_s_axis_ends_with_the_capture(name: str) -> None:
    """The last round's time is austin's own figure of the whole duration, less at most two intervals."""
    capture = read_mojo(GOLDEN / name)
    total_ns = 1000 * int(capture.metadata["duration"])
    assert 0 <= total_ns - capture.source_ns[-1] < 20_000_000
    assert np.all(np.diff(capture.source_ns) >= 0)


@settings(max_examples=150)
@given(cut=st.integers(4, (GOLDEN / CAPTURES[0]).stat().st_size), name=st.sampled_from(CAPTURES))
def test_a_file_cut_anywhere_gives_its_whole_rows(tmp_path: Path, cut: int, name: str) -> None:
    """The rows are the first ones of the whole file, namely those that end before the cut."""
    whole = read_mojo(GOLDEN / name)
    capture = read(tmp_path, (GOLDEN / name).read_bytes()[:cut])
    count = int(np.count_nonzero(whole.end_offset <= cut))
    assert capture.row_count == count
    assert capture.source_ns.tolist() == whole.source_ns[:count].tolist()
    assert stacks_of(capture) == stacks_of(whole)[:count]
    assert capture.damaged == 0


def test_every_cut_of_a_small_file_is_told_or_leaves_a_whole_file(tmp_path: Path) -> None:
    """Cuts at the ends of events between rows look whole; every other one is marked."""
    parts = [header(), metadata("mode", "wall"), stack(5, 5) + SYMBOLS + refs(1, 2) + time_us(3)]
    parts += [stack(5, 5) + refs(1) + time_us(900)]
    content = b"".join(parts)
    whole_at = {len(header()), len(b"".join(parts[:2])), len(b"".join(parts[:3])), len(content)}
    for cut in range(4, len(content) + 1):
        assert read(tmp_path, content[:cut]).truncated == (cut not in whole_at), cut


@settings(max_examples=300)
@given(
    flips=st.lists(st.tuples(st.integers(0, 9_900), st.integers(0, 7)), min_size=1, max_size=20),
    cut=st.integers(4, 10_000),
    name=st.sampled_from(CAPTURES),
)
def test_flipped_bits_give_rows_or_an_error_that_says_so(
    tmp_path: Path, flips: list[tuple[int, int]], cut: int, name: str
) -> None:
    """Whatever the bytes: no crash, no more rows than bytes for them, every stack within bounds."""
    content = bytearray((GOLDEN / name).read_bytes()[:cut])
    for position, bit in flips:
        content[position % len(content)] ^= 1 << bit
    try:
        capture = read(tmp_path, bytes(content))
    except FileUnreadable:
        return
    assert capture.row_count <= len(content) // 5
    assert len(stacks_of(capture)) == capture.row_count
    assert np.all(capture.duration_ns >= 0)


@settings(max_examples=200)
@given(content=st.binary(max_size=400), version=st.integers(1, 4))
def test_any_bytes_after_the_header_are_read_without_harm(
    tmp_path: Path, content: bytes, version: int
) -> None:
    """Noise is rows, damage or a cut, and never a crash."""
    try:
        capture = read(tmp_path, header(version), content)
    except FileUnreadable:
        return
    assert capture.row_count <= len(content)


def test_reading_goes_on_after_damage(tmp_path: Path) -> None:
    """A byte that is no event costs the row it stands in; the rows before and after it stay."""
    row = stack(9, 9) + refs(1, 2) + time_us(10)
    damaged = stack(9, 9) + b"\xee" + refs(1, 2) + time_us(10)
    capture = read(tmp_path, header(), stack(9, 9) + SYMBOLS + refs(1) + time_us(10), damaged, row)
    assert stacks_of(capture) == [[OUTER], [OUTER, INNER]]
    assert capture.damaged == capture.error_count == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"MO", "no MOJO file"),
        (b"P1234;T5;main 20\n", "no MOJO file"),
        (b"MOJ\x00", "no MOJO file"),
        (header(5) + time_us(3), "MOJO 5; this vlmprof reads up to 4"),
        (header() + b"\xff" * 40, "not one sample in 44 bytes"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_was_found(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """Empty, too short, another format, version 0, a newer version, nothing but damage."""
    with pytest.raises(FileUnreadable) as refused:
        read(tmp_path, content)
    assert said in refused.value.message
    assert "austin.mojo" in refused.value.message
    assert refused.value.hint


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable, match="No such file"):
        read_mojo(tmp_path / "austin.mojo")


def test_a_file_without_samples_is_read(tmp_path: Path) -> None:
    """austin wrote its header and found nothing to sample: no rows, and the metadata."""
    capture = read(tmp_path, header(), metadata("austin", "3.7.0"))
    assert (capture.row_count, capture.pids, dict(capture.metadata)) == (0, [], {"austin": "3.7.0"})


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_each_version_s_frames_and_stacks_are_read(tmp_path: Path, version: int) -> None:
    """Version 1 frames have no columns, versions before 3 no interpreter in the stack."""
    parts = [header(version), stack(77, 0x4D, version), string(10, "a.py"), string(20, "outer")]
    parts += [frame(1, 10, 20, 5, version), refs(1), time_us(1500)]
    parts += [stack(77, 0x4E, version), refs(1), time_us(1500)]
    capture = read(tmp_path, *parts)
    assert_same_as_reference(capture, Reader(b"".join(parts)))
    assert capture.version == version
    assert stacks_of(capture) == [[OUTER], [OUTER]]


def test_a_repeated_stack_is_the_thread_s_previous_one(tmp_path: Path) -> None:
    """MOJO 4: each thread repeats its own; a repeat of nothing is an empty stack."""
    capture = read(
        tmp_path,
        header(4),
        stack(5, 5) + SYMBOLS + refs(1) + time_us(10),
        stack(5, 6) + refs(1, 2) + time_us(10),
        stack(5, 5) + REPEAT + time_us(11),
        stack(5, 6) + REPEAT + time_us(11),
        stack(5, 6) + REPEAT + time_us(12),
        stack(5, 7) + REPEAT + time_us(12),
    )
    assert stacks_of(capture) == [[OUTER], [OUTER, INNER], [OUTER], [OUTER, INNER], [OUTER, INNER], []]


def test_a_task_s_stack_is_no_part_of_its_thread_s_sample(tmp_path: Path) -> None:
    """MOJO 4: a task's frames and their time follow the sample of the thread that owns it."""
    task = b"\x0e" + varint(3) + varint(0) + refs(2, 2) + time_us(99_000) + b"\x0f" + varint(3) + varint(4)
    capture = read(
        tmp_path,
        header(4),
        stack(5, 5) + SYMBOLS + refs(1) + time_us(10) + task,
        stack(5, 5) + refs(1, 2) + time_us(12),
    )
    assert stacks_of(capture) == [[OUTER], [OUTER, INNER]]
    assert capture.duration_ns.tolist() == [10_000, 12_000]


def test_threads_that_go_by_a_name_get_a_negative_id_of_their_own(tmp_path: Path) -> None:
    """MOJO 4 names threads; 'asyncio_0' is the second name, in both processes."""
    capture = read(
        tmp_path,
        header(4),
        *(
            stack(pid, name) + refs() + time_us(5)
            for pid in (5, 6)
            for name in ("MainThread", "asyncio_0", "1f")
        ),
    )
    assert capture.tid.tolist() == [-1, -2, 31, -1, -2, 31]
    assert capture.thread_names == {-1: "MainThread", -2: "asyncio_0"}


def test_an_address_in_the_place_of_a_thread_id_is_a_name(tmp_path: Path) -> None:
    """No kernel has thread 0x7f6c98000120; austin writes such a thing for a thread that is being started."""
    capture = read(tmp_path, header(), stack(5, 0x7F6C98000120) + time_us(5))
    assert capture.tid.tolist() == [-1]
    assert capture.thread_names == {-1: "7f6c98000120"}


def test_a_key_that_changes_its_meaning_changes_it_from_there_on(tmp_path: Path) -> None:
    """Equal bytes before and after the change of frame 1 are different stacks."""
    row = stack(5, 5) + refs(1, 2) + time_us(10)
    changed = stack(5, 5) + frame(1, 10, 20, 6) + refs(1, 2) + time_us(10)
    capture = read(tmp_path, header(), stack(5, 5) + SYMBOLS + refs(1, 2) + time_us(10), row, changed, row)
    lines = [stack[0][2] for stack in stacks_of(capture)]
    assert lines == [5, 5, 6, 6]


def test_a_string_that_changes_its_meaning_leaves_earlier_frames_alone(tmp_path: Path) -> None:
    """Frame 1 was defined while string 20 meant outer; frame 3, defined later, is called other."""
    capture = read(
        tmp_path,
        header(),
        stack(5, 5) + SYMBOLS + refs(1) + time_us(10),
        stack(5, 5) + string(20, "other") + frame(3, 10, 20, 8) + refs(1, 3) + time_us(10),
    )
    assert stacks_of(capture) == [[OUTER], [OUTER, ("other", "a.py", 8)]]


def test_a_definition_that_comes_again_changes_nothing(tmp_path: Path) -> None:
    """austin forgets keys and defines them again: three rows, one stack."""
    again = stack(5, 5) + SYMBOLS + refs(1, 2) + time_us(10)
    capture = read(tmp_path, header(), again, again, stack(5, 5) + refs(1, 2) + time_us(10))
    assert len(set(capture.stack_id.tolist())) == 1
    assert len(capture.stack_starts) == 2


def test_equal_stacks_of_two_processes_are_one(tmp_path: Path) -> None:
    """The same functions under other keys and columns: one stack of two frames."""
    other = string(1010, "a.py") + string(1020, "outer") + string(1021, "inner")
    other += frame(4001, 1010, 1020, 5) + frame(4002, 1010, 1021, 7)
    capture = read(
        tmp_path,
        header(),
        stack(5, 5) + SYMBOLS + refs(1, 2) + time_us(10),
        stack(6, 6) + other + refs(4001, 4002) + time_us(10),
    )
    assert capture.stack_id.tolist() == [0, 0]
    assert len(capture.frames) == 2


def test_equal_bytes_of_two_processes_may_be_two_stacks(tmp_path: Path) -> None:
    """Keys belong to their process: key 1 is outer in one and inner in the other."""
    swapped = string(10, "a.py") + string(20, "outer") + string(21, "inner") + frame(1, 10, 21, 7)
    capture = read(
        tmp_path,
        header(),
        stack(5, 5) + SYMBOLS + refs(1) + time_us(10),
        stack(6, 6) + swapped + refs(1) + time_us(10),
    )
    assert stacks_of(capture) == [[OUTER], [INNER]]


def test_flags_stand_on_their_own_row(tmp_path: Path) -> None:
    """Idle comes after the time in austin's full metrics, and memory after that."""
    capture = read(
        tmp_path,
        header(),
        metadata("mode", "full"),
        stack(5, 5) + SYMBOLS + refs(1) + GC + time_us(10) + IDLE + b"\x0a" + varint(-4096),
        stack(5, 6) + INVALID + refs(2) + time_us(10) + b"\x0a" + varint(0),
        stack(5, 7) + refs(2) + time_us(10) + b"\x0a" + varint(0),
    )
    meaning = int(Flag.IDLE | Flag.GC), int(Flag.INVALID), 0
    assert tuple((capture.flags & ~np.uint8(Flag.MIXED)).tolist()) == meaning
    assert capture.knows_idle
    assert capture.error_count == 1
    assert stacks_of(capture) == [[OUTER], [INNER], [INNER]]


def test_memory_alone_completes_a_row(tmp_path: Path) -> None:
    """In austin's memory mode rows have no time."""
    capture = read(tmp_path, header(), stack(5, 5) + SYMBOLS + refs(1) + b"\x0a" + varint(512))
    assert (capture.row_count, capture.duration_ns.tolist()) == (1, [0])


def test_a_frame_that_was_never_defined_is_unknown_and_counted(tmp_path: Path) -> None:
    row = stack(5, 5) + refs(1, 404) + time_us(10)
    capture = read(tmp_path, header(), stack(5, 5) + SYMBOLS + refs(1) + time_us(10), row, row)
    assert stacks_of(capture)[1:] == [[OUTER, ("<unknown>", "", 0)]] * 2
    assert capture.error_count == 2


def test_kernel_frames_stand_in_the_stack_by_their_name(tmp_path: Path) -> None:
    """As austinp -k writes them, after the Python frames."""
    kernel = b"\x06" + text("do_futex")
    capture = read(tmp_path, header(), *[stack(5, 5) + SYMBOLS + refs(1) + kernel + time_us(10)] * 2)
    assert stacks_of(capture) == [[OUTER, ("do_futex", "", 0)]] * 2


def test_names_that_are_not_utf_8_are_kept_as_far_as_they_are(tmp_path: Path) -> None:
    broken = b"\x0b" + varint(20) + b"f\xff\0" + string(10, "a.py") + frame(1, 10, 20, 5)
    capture = read(tmp_path, header(), stack(5, 5) + broken + refs(1) + time_us(10))
    assert stacks_of(capture) == [[("f\N{REPLACEMENT CHARACTER}", "a.py", 5)]]


def test_a_name_longer_than_a_page_is_read_whole(tmp_path: Path) -> None:
    name = "f" * 10_000
    symbols = string(20, name) + string(10, "a.py") + frame(1, 10, 20, 5)
    capture = read(tmp_path, header(), stack(5, 5) + symbols + refs(1) + time_us(10))
    assert capture.frames[0].function == name


def test_arrivals_are_read_without_a_torn_record(tmp_path: Path) -> None:
    """Two whole records of two uint64, and seven bytes of a third."""
    path = tmp_path / "austin.arrivals.bin"
    path.write_bytes(np.array([1000, 40, 2000, 90], "<u8").tobytes() + b"\1" * 7)
    arrivals = read_arrivals(path)
    assert (arrivals.time_ns.tolist(), arrivals.received_bytes.tolist()) == ([1000, 2000], [40, 90])
    with pytest.raises(FileUnreadable, match="No such file"):
        read_arrivals(tmp_path / "absent.bin")
