"""The GPU's time by cause; times are small integers, so that sums can be followed by eye."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.gpu_timeline import Timeline, table
from vlmprof.analysis.gpu_idle import device_times
from vlmprof.analysis.merge_gpu import merge_gpu
from vlmprof.model.gpu_result import DeviceTime


def _times(timeline: Timeline, *requests: tuple[int, int, int]) -> list[DeviceTime]:
    """Requests are (block, sent, done)."""
    gpu = timeline.gpu()
    attribution = merge_gpu(gpu, timeline.span_table(), timeline.sample_table(), {})
    rows: list[dict[str, Any]] = [
        {"id": str(number), "phase": "profiled", "block": block, "sent_ns": sent_ns, "done_ns": done_ns}
        for number, (block, sent_ns, done_ns) in enumerate(requests)
    ]
    return device_times(gpu, attribution, table("requests", rows))


def _parts(found: DeviceTime) -> tuple[int, int, int, int, int]:
    return (
        found.busy_ns,
        found.idle_h2d_ns,
        found.idle_queue_ns,
        found.idle_launch_ns,
        found.idle_no_work_ns,
    )


def test_each_idle_instant_has_one_cause() -> None:
    """A request from 0 to 100, the next from 150 to 160, in one block.

    Copy 10-20, kernel 20-40, kernel 60-80 whose launch returned at 55: busy 20 + 20, H2D 10, queue 55-60 = 5,
    launch 0-10, 40-55, 80-100 and 150-160 = 55, no work 100-150 = 50; together 160.
    """
    timeline = Timeline()
    timeline.copy(10, 20, 0)
    for number, (call_ns, start_ns, end_ns) in enumerate(((18, 20, 40), (50, 60, 80)), 1):
        timeline.launch(call_ns, call_ns + 5, number)
        timeline.kernel(start_ns, end_ns, number)
    (found,) = _times(timeline, (0, 0, 100), (0, 150, 160))
    assert found.window_ns == 160
    assert _parts(found) == (40, 10, 5, 55, 50)


def test_time_between_blocks_is_not_looked_at() -> None:
    """Blocks 0-50 and 100-150, in which kernels run for 10 each; that at 70 was not asked for."""
    timeline = Timeline()
    for start_ns in (10, 70, 110):
        timeline.kernel(start_ns, start_ns + 10, 0)
    (found,) = _times(timeline, (1, 0, 50), (3, 100, 150))
    assert (found.window_ns, found.busy_ns, found.idle_launch_ns) == (100, 20, 80)


def test_without_requests_the_window_is_that_of_the_work() -> None:
    """Kernels 10-20 and 30-50 on device 0, one on device 1: 10 ns of waiting for the CPU."""
    timeline = Timeline()
    timeline.kernel(10, 20, 0)
    timeline.kernel(30, 50, 0)
    timeline.kernel(30, 35, 0, device=1)
    first, second = _times(timeline)
    assert (first.device, first.window_ns, _parts(first)) == (0, 40, (30, 0, 0, 10, 0))
    assert (second.device, second.window_ns, _parts(second)) == (1, 5, (5, 0, 0, 0, 0))


def test_kernels_that_overlap_count_once_and_hide_copies() -> None:
    """Kernels 0-10 and 5-15, a copy 10-20: busy 15, waiting for the copy 5."""
    timeline = Timeline()
    timeline.kernel(0, 10, 0)
    timeline.kernel(5, 15, 0, stream=8)
    timeline.copy(10, 20, 0)
    (found,) = _times(timeline)
    assert _parts(found) == (15, 5, 0, 0, 0)


_WORK = st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 9), st.integers(0, 9))


@given(
    st.lists(_WORK, min_size=1, max_size=10),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(0, 20)), max_size=4),
)
def test_parts_add_up_and_agree_with_counting_instants(
    work: list[tuple[bool, int, int, int]], requests: list[tuple[int, int, int]]
) -> None:
    """Every integer instant of the window is put to the first cause that holds."""
    timeline = Timeline()
    causes: tuple[set[int], ...] = (set(), set(), set())
    for number, (is_copy, start_ns, length_ns, wait_ns) in enumerate(work, 1):
        timeline.launch(start_ns - wait_ns - 1, start_ns - wait_ns, number)
        (timeline.copy if is_copy else timeline.kernel)(start_ns, start_ns + length_ns, number)
        causes[1 if is_copy else 0].update(range(start_ns, start_ns + length_ns))
        causes[2].update(range(start_ns - wait_ns, start_ns))
    blocks = [(block, sent_ns, sent_ns + length_ns) for block, sent_ns, length_ns in requests]
    (found,) = _times(timeline, *blocks)
    window, in_flight = _instants(work, blocks)
    expected = []
    for cause in (*causes, in_flight):
        expected.append(len(window & cause))
        window -= cause
    assert _parts(found) == (*expected, len(window))
    assert sum(_parts(found)) == found.window_ns


def _instants(
    work: list[tuple[bool, int, int, int]], blocks: list[tuple[int, int, int]]
) -> tuple[set[int], set[int]]:
    """Instants of the window, and those with a request in flight."""
    window: set[int] = set()
    for number in {block for block, _, _ in blocks}:
        own = [(sent_ns, done_ns) for block, sent_ns, done_ns in blocks if block == number]
        window.update(range(min(sent_ns for sent_ns, _ in own), max(done_ns for _, done_ns in own)))
    if window:
        return window, {at for _, sent_ns, done_ns in blocks for at in range(sent_ns, done_ns)}
    whole = set(range(min(w[1] for w in work), max(w[1] + w[2] for w in work)))
    return set(whole), whole
