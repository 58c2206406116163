"""The time axis that austin's durations add up to."""

from pathlib import Path

from tests.unit.mojo_reference import frame, header, refs, stack, string, time_us
from vlmprof.read.mojo import read_mojo

SYMBOLS = string(10, "a.py") + string(20, "f") + frame(1, 10, 20, 5)

Sample = tuple[int, int | str, int] | tuple[int, int | str, int, bool]


def times_us(folder: Path, *samples: Sample, version: int = 3) -> list[int]:
    """Source times in us of samples (pid, thread, duration in us, has frames)."""
    parts = [header(version)]
    for pid, thread, duration_us, *has_frames in samples:
        frames = refs(1) if has_frames in ([], [True]) else b""
        parts.append(stack(pid, thread) + SYMBOLS + frames + time_us(duration_us))
    path = folder / "austin.mojo"
    path.write_bytes(b"".join(parts))
    return [time_ns // 1000 for time_ns in read_mojo(path).source_ns.tolist()]


def test_rounds_follow_one_another_by_the_main_thread_s_rows(tmp_path: Path) -> None:
    """Rounds of 100, 110 and 90 us: at 100, 210 and 300, whatever threads come and go."""
    rounds: list[Sample] = [(7, 9, 100), (7, 7, 100), (7, 8, 110), (7, 9, 110), (7, 7, 110), (7, 7, 90)]
    assert times_us(tmp_path, *rounds) == [100, 100, 210, 210, 210, 300]


def test_each_process_has_its_own_axis(tmp_path: Path) -> None:
    """Process 8 was attached to later: its first round is at 5."""
    assert times_us(tmp_path, (7, 7, 100), (7, 7, 100), (8, 8, 5), (7, 7, 100), (8, 8, 100)) == [
        100,
        200,
        5,
        300,
        105,
    ]


def test_a_thread_that_is_being_started_does_not_end_a_round(tmp_path: Path) -> None:
    """Thread 9 starts another, which has 9's id and no frames until it runs: one round of 100 us, not two."""
    started: list[Sample] = [(7, 9, 100, False), (7, 8, 100), (7, 9, 100), (7, 7, 100)]
    assert times_us(tmp_path, *started, (7, 7, 100)) == [100, 100, 100, 100, 200]


def test_a_thread_started_by_the_main_thread_does_not_end_a_round(tmp_path: Path) -> None:
    """The row that has the main thread's id and no frames is not the main thread."""
    assert times_us(tmp_path, (7, 7, 100, False), (7, 9, 100), (7, 7, 100), (7, 7, 50)) == [
        100,
        100,
        100,
        150,
    ]


def test_a_round_that_broke_off_is_not_counted_twice(tmp_path: Path) -> None:
    """The round at 200 breaks off before the main thread; the next one's 230 us count from 100 on: 330."""
    broken: list[Sample] = [(7, 7, 100), (7, 9, 100), (7, 9, 230), (7, 7, 230)]
    assert times_us(tmp_path, *broken) == [100, 200, 330, 330]


def test_a_new_attachment_never_turns_time_back(tmp_path: Path) -> None:
    """After the broken round at 200, 30 us since a new attachment: 230, though 100 + 30 would be 130."""
    assert times_us(tmp_path, (7, 7, 100), (7, 9, 100), (7, 7, 30)) == [100, 200, 230]


def test_without_a_main_thread_id_the_usual_last_thread_ends_rounds(tmp_path: Path) -> None:
    """In another pid namespace no thread has the process's id: rounds of 100, 100 and 50 end with thread 3."""
    rounds: list[Sample] = [
        (70, 4, 100),
        (70, 3, 100),
        (70, 4, 100),
        (70, 3, 100),
        (70, 5, 50),
        (70, 4, 50),
        (70, 3, 50),
    ]
    assert times_us(tmp_path, *rounds) == [100, 100, 200, 200, 250, 250, 250]


def test_where_threads_go_by_names_the_main_thread_s_ends_rounds(tmp_path: Path) -> None:
    """Two threads called worker are two rows of one round."""
    rounds: list[Sample] = [
        (7, "worker", 100),
        (7, "worker", 100),
        (7, "MainThread", 100),
        (7, "MainThread", 60),
    ]
    assert times_us(tmp_path, *rounds, version=4) == [100, 100, 100, 160]


def test_a_pause_of_the_sampler_is_time_like_any_other(tmp_path: Path) -> None:
    """Stopped for two seconds, austin's next duration holds them: the axis goes on where the clock is."""
    assert times_us(tmp_path, (7, 7, 2000), (7, 7, 2_002_000), (7, 7, 2000)) == [2000, 2_004_000, 2_006_000]
