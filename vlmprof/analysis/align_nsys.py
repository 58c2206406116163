"""Puts Nsight Systems' times on the session clock, by the NVTX ranges that the agent pushes for its spans.

A range is pushed right after its span's start was stamped, so that each pair of a range and its span gives the
offset, late by the microsecond or so that the push takes. Which span a range belongs to, the recording's unix
start time tells: unix time less the session clock is in every span file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlmprof.analysis.align import Ints, Witness, witness_of
from vlmprof.analysis.align_austin import nearest
from vlmprof.analysis.stack_table import as_ints
from vlmprof.errors import ClockError
from vlmprof.model.clock import ClockMap
from vlmprof.units import NS_PER_MS, NS_PER_US

_COARSE_NS = 50 * NS_PER_MS
_FINE_NS = NS_PER_MS
_LENGTH_NS = 100 * NS_PER_US
_LEAST_PAIRS = 8
_QUARTERS = 4


@dataclass(frozen=True, slots=True, eq=False)
class NamedRanges:
    """n NVTX ranges, times in ns since the recording's start; `name` is an index into `names`.

    A range's text is its span's name, or that with `|` and a request id after it.
    """

    pid: Ints
    tid: Ints
    name: Ints
    names: list[str]
    start_ns: Ints
    end_ns: Ints


def align_nsys(
    ranges: NamedRanges,
    spans: Any,
    session_start_unix_ns: int | None,
    unix_minus_session_ns: Mapping[int, int],
) -> tuple[ClockMap, Witness]:
    """Find the session time of a recording's time 0, and its drift.

    Every second pair, in order of time, makes the fit; the others are the witness.

    Args:
        spans: table of schema `SPANS`.
        session_start_unix_ns: TARGET_INFO_SESSION_START_TIME.utcEpochNs of the recording.
        unix_minus_session_ns: per pid, from the span files.

    Raises:
        ClockError: the origin is not known, or fewer than 8 ranges have a span.
    """
    if session_start_unix_ns is None or not unix_minus_session_ns:
        lacking = (
            "recording's start time" if session_start_unix_ns is None else "realtime clock of the span files"
        )
        raise ClockError(
            f"nsys cannot be aligned: the {lacking} is missing",
            hint="export the report again with a newer nsys, or profile with spans on",
        )
    coarse_ns = session_start_unix_ns - round(float(np.median([*unix_minus_session_ns.values()])))
    source_ns, offset_ns = _pairs(ranges, spans, coarse_ns)
    if len(source_ns) < _LEAST_PAIRS:
        raise ClockError(
            f"nsys cannot be aligned: {len(source_ns)} of {len(ranges.start_ns)} NVTX ranges have a span within "
            f"{_COARSE_NS // NS_PER_MS} ms, {_LEAST_PAIRS} are needed",
            hint="record while requests are served, with NVTX ranges on",
        )
    fit, check = slice(0, None, 2), slice(1, None, 2)
    clock = _fit(source_ns[fit], offset_ns[fit], coarse_ns)
    misses_ns = source_ns[check] + offset_ns[check] - clock.to_session(source_ns[check])
    return clock, witness_of("ranges and spans that took no part in the fit: starts", misses_ns)


def _pairs(ranges: NamedRanges, spans: Any, coarse_ns: int) -> tuple[Ints, Ints]:
    """Range starts by time, and for each its span's start less it; first at large, then near their median."""
    source_ns, offset_ns = _nearest_spans(ranges, spans, coarse_ns, _COARSE_NS)
    if len(source_ns):
        middle_ns = int(np.median(offset_ns))
        source_ns, offset_ns = _nearest_spans(ranges, spans, middle_ns, _FINE_NS)
    order = np.argsort(source_ns, kind="stable")
    return source_ns[order], offset_ns[order]


def _nearest_spans(ranges: NamedRanges, spans: Any, offset_ns: int, within_ns: int) -> tuple[Ints, Ints]:
    """Pairs of a range and the nearest span of its thread and name, of about the same length."""
    span_keys, range_keys = _keys(spans, ranges)
    start_ns, end_ns = as_ints(spans["start_ns"]), as_ints(spans["end_ns"])
    sources, offsets = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for key in np.intersect1d(span_keys, range_keys).tolist():
        mine, theirs = np.flatnonzero(range_keys == key), np.flatnonzero(span_keys == key)
        theirs = theirs[np.argsort(start_ns[theirs], kind="stable")]
        expected_ns = ranges.start_ns[mine] + offset_ns
        found = theirs[np.searchsorted(start_ns[theirs], nearest(start_ns[theirs], expected_ns))]
        lengths_differ_ns = ranges.end_ns[mine] - ranges.start_ns[mine] - (end_ns[found] - start_ns[found])
        close = (np.abs(start_ns[found] - expected_ns) < within_ns) & (np.abs(lengths_differ_ns) < _LENGTH_NS)
        sources.append(ranges.start_ns[mine][close])
        offsets.append((start_ns[found] - ranges.start_ns[mine])[close])
    return np.concatenate(sources), np.concatenate(offsets)


def _keys(spans: Any, ranges: NamedRanges) -> tuple[Ints, Ints]:
    """One number for each thread and name, the same for spans and ranges."""
    number: dict[tuple[int, int, str], int] = {}

    def numbered(pids: Ints, tids: Ints, names: list[str]) -> Ints:
        keys = zip(pids.tolist(), tids.tolist(), names, strict=True)
        return np.array([number.setdefault(key, len(number)) for key in keys], np.int64)

    range_names = [name.partition("|")[0] for name in ranges.names]
    return (
        numbered(as_ints(spans["pid"]), as_ints(spans["tid"]), spans["name"].to_pylist()),
        numbered(ranges.pid, ranges.tid, [range_names[name] for name in ranges.name.tolist()]),
    )


def _fit(source_ns: Ints, offset_ns: Ints, coarse_ns: int) -> ClockMap:
    """Median offset; a drift where the medians of the first and the last quarter differ by more than noise."""
    origin_ns = int(source_ns[0])
    base_ns = int(np.median(offset_ns))
    residual_ns = offset_ns - base_ns
    drift_ppm = _drift_ppm(source_ns - origin_ns, residual_ns)
    residual_ns = residual_ns - drift_ppm * 1e-6 * (source_ns - origin_ns)
    middle_ns = float(np.median(residual_ns))
    offset = base_ns + round(middle_ns)
    return ClockMap(
        source="nsys",
        offset_ns=offset,
        drift_ppm=drift_ppm,
        uncertainty_ns=round(float(np.quantile(np.abs(residual_ns - middle_ns), 0.95))),
        evidence={
            "method": "NVTX ranges of the spans",
            "pairs": len(source_ns),
            "unix_origin_error_ns": coarse_ns - offset,
        },
        origin_ns=origin_ns,
    )


def _drift_ppm(time_ns: Ints, residual_ns: Ints) -> float:
    quarter = len(time_ns) // _QUARTERS
    if quarter < _LEAST_PAIRS:
        return 0.0
    first, last = residual_ns[:quarter], residual_ns[-quarter:]
    change_ns = float(np.median(last) - np.median(first))
    elapsed_ns = float(np.median(time_ns[-quarter:]) - np.median(time_ns[:quarter]))
    noise_ns = sum(_median_error_ns(part) for part in (first, last))
    return change_ns / elapsed_ns * 1e6 if abs(change_ns) > 3 * noise_ns and elapsed_ns > 0 else 0.0


def _median_error_ns(values_ns: Ints) -> float:
    """Standard error of a median, from the quartiles."""
    low_ns, high_ns = np.quantile(values_ns, [0.25, 0.75])
    return float((high_ns - low_ns) / np.sqrt(len(values_ns))) + 1.0
