"""Nsight Systems on the session clock, by ranges and spans of known difference."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vlmprof.analysis.align_nsys import NamedRanges, align_nsys
from vlmprof.errors import ClockError
from vlmprof.model.tables import SPANS

MS = 1_000_000
BEGAN_NS = 5_000_000_000_000
UNIX_MINUS_SESSION_NS = 1_700_000_000_000_000_000


def recording(
    count: int = 400, *, drift_ppm: float = 0, seed: int = 5, text: str = "{}"
) -> tuple[NamedRanges, Any]:
    """Spans of two names in two threads, 3 to 9 ms apart; each range is pushed 1 to 4 us after its span began."""
    random = np.random.default_rng(seed)
    start_ns = BEGAN_NS + np.cumsum(random.integers(3 * MS, 9 * MS, count))
    end_ns = start_ns + random.integers(MS, 3 * MS, count)
    tid, name = 10 + np.arange(count) % 2, np.arange(count) // 2 % 2
    names = ["core.step", "w.forward"]
    spans = pa.Table.from_pylist(
        [
            {
                "pid": 7,
                "tid": int(t),
                "name": names[n],
                "request_ids": [],
                "start_ns": int(a),
                "end_ns": int(b),
                "depth": 0,
            }
            for t, n, a, b in zip(tid, name, start_ns, end_ns, strict=True)
        ],
        schema=SPANS,
    )
    pushed_ns = start_ns + random.integers(1000, 4000, count)
    own_ns, own_end_ns = (
        np.rint((at - BEGAN_NS) / (1 + drift_ppm * 1e-6)).astype(np.int64) for at in (pushed_ns, end_ns)
    )
    ranges = NamedRanges(np.full(count, 7), tid, name, [text.format(n) for n in names], own_ns, own_end_ns)
    return ranges, spans


def test_ranges_and_spans_give_the_offset_to_microseconds() -> None:
    """Time 0 is at 5000 s of the session, less the 2.5 us that a push takes; unix time is 3 ms off."""
    ranges, spans = recording()
    unix_ns = BEGAN_NS + UNIX_MINUS_SESSION_NS + 3 * MS
    clock, witness = align_nsys(ranges, spans, unix_ns, {7: UNIX_MINUS_SESSION_NS})
    assert abs(clock.offset_ns - BEGAN_NS + 2500) < 500
    assert clock.drift_ppm == 0
    assert clock.uncertainty_ns < 2000
    assert clock.evidence["pairs"] == witness.count == 200
    assert witness.p95_ns is not None
    assert witness.p95_ns < 2000
    assert abs(clock.evidence["unix_origin_error_ns"] - 3 * MS) < 5000


def test_a_drift_is_fitted_and_judged_by_the_pairs_that_took_no_part() -> None:
    """20 ppm over 2.4 s are 48 us: unfitted, the witness would see 20 us and more."""
    ranges, spans = recording(drift_ppm=20)
    clock, witness = align_nsys(ranges, spans, BEGAN_NS + UNIX_MINUS_SESSION_NS, {7: UNIX_MINUS_SESSION_NS})
    assert abs(clock.drift_ppm - 20) < 2
    assert witness.p95_ns is not None
    assert witness.p95_ns < 3000


def test_a_request_id_in_a_range_s_text_is_no_part_of_its_name() -> None:
    ranges, spans = recording(text="{}|chatcmpl-17")
    clock, _ = align_nsys(ranges, spans, BEGAN_NS + UNIX_MINUS_SESSION_NS, {7: UNIX_MINUS_SESSION_NS})
    assert abs(clock.offset_ns - BEGAN_NS) < 5000


def test_ranges_of_other_processes_and_names_are_not_paired() -> None:
    """None of process 8's ranges has a span: the error says how many there were."""
    ranges, spans = recording()
    other = NamedRanges(ranges.pid + 1, ranges.tid, ranges.name, ranges.names, ranges.start_ns, ranges.end_ns)
    with pytest.raises(ClockError, match="0 of 400 NVTX ranges"):
        align_nsys(other, spans, BEGAN_NS + UNIX_MINUS_SESSION_NS, {7: UNIX_MINUS_SESSION_NS})


def test_a_start_time_that_is_far_off_is_refused() -> None:
    """10 s off: no range has a span within 50 ms that is also as long."""
    ranges, spans = recording()
    with pytest.raises(ClockError, match="within 50 ms"):
        align_nsys(ranges, spans, BEGAN_NS + UNIX_MINUS_SESSION_NS + 10**10, {7: UNIX_MINUS_SESSION_NS})


def test_without_an_origin_there_is_no_clock() -> None:
    ranges, spans = recording(20)
    with pytest.raises(ClockError, match="recording's start time is missing"):
        align_nsys(ranges, spans, None, {7: UNIX_MINUS_SESSION_NS})
    with pytest.raises(ClockError, match="realtime clock of the span files is missing"):
        align_nsys(ranges, spans, 5, {})
