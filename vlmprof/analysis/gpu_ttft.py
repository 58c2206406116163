"""Charges a request's time in the workers to what its GPU did, by the GPU's own times.

Only where a breakdown says that the request was in a worker, or that the engine core waited for one:

- a kernel of the request runs: its stage;
- a copy from the host runs, and the host waits for it or has nothing else to do than launch: `h2d`;
- the host waits in a synchronization while work of other requests runs: that work's stage; while nothing runs:
  `gpu_idle`;
- the host launches the model: `gpu_idle` where something launched waits to begin, else `launch`;
- what is left keeps the stage that the host's spans give it.

Each instant still has exactly one stage, so that the sum stays the TTFT.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.analysis.gpu_tables import GpuTables
from vlmprof.analysis.hot import STAGE_INDEX
from vlmprof.analysis.intervals import NOTHING, Intervals, join, subtract, union
from vlmprof.analysis.merge_gpu import name_codes
from vlmprof.analysis.merge_gpu_calls import launching_calls
from vlmprof.analysis.stack_table import Flags, Ints, as_ints
from vlmprof.model.breakdown import Segment
from vlmprof.model.stages import STAGE_BY_ID, STAGE_IDS
from vlmprof.units import NS_PER_US

_H2D, _LAUNCH, _GPU_IDLE = (STAGE_INDEX[stage] for stage in ("h2d", "launch", "gpu_idle"))
_NONE = -1
_HOST_WAITS = re.compile(r"Synchronize|^(cuda|cu|hip)Memcpy(?!.*Async)")
_RESOLUTION_NS = 500 * NS_PER_US
"""Within it, the time of each stage is laid in one piece: a model has thousands of kernels."""


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """Which stage's work ran when: disjoint intervals by start, and the stage of each as an index in STAGE_IDS."""

    start_ns: Ints
    end_ns: Ints
    stage: Ints

    def at(self, at_ns: Ints) -> Ints:
        """Stage that ran at each instant; -1 where none did."""
        place = np.searchsorted(self.start_ns, at_ns, side="right") - 1
        if not len(self.start_ns):
            return place
        return np.where((place >= 0) & (at_ns < self.end_ns[place]), self.stage[place], _NONE)

    def cuts(self, start_ns: int, end_ns: int) -> Ints:
        """The moments at which something changes in a window."""
        return _moments(self.start_ns, self.end_ns, start_ns, end_ns)


class GpuTimes:
    """The GPU's own times, for looking up what ran for a request and when the host waited."""

    def __init__(self, gpu: GpuTables, attribution: Any) -> None:
        work = gpu.work("pid", "start_ns", "end_ns")
        self._pid, self._start_ns, self._end_ns = (as_ints(work[name]) for name in work.column_names)
        self._launched_ns = gpu.launched_ns(attribution)
        self._stage = np.where(gpu.is_h2d(), _H2D, _stage_indices(attribution["stage"]))
        span_row = as_ints(pc.fill_null(attribution["span_row"], _NONE))
        self._by_span = np.argsort(span_row, kind="stable")
        self._span_row = span_row[self._by_span]
        self._waits = _host_waits(gpu, attribution)
        self._lanes_of_pid: dict[int, Lanes] = {}

    def work_of(self, span_rows: Sequence[int]) -> Ints:
        """Rows of the work that was launched in some spans."""
        rows = np.array(sorted(set(span_rows)), np.int64)
        first = np.searchsorted(self._span_row, rows, side="left")
        last = np.searchsorted(self._span_row, rows, side="right")
        found = [self._by_span[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True) if b > a]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def lanes(self, rows: Ints) -> Lanes:
        """When the stages of some work ran."""
        return _flattened(self._start_ns[rows], self._end_ns[rows], self._stage[rows])

    def queued(self, rows: Ints) -> Intervals:
        """When some of the work was launched and had not begun."""
        return union(self._launched_ns[rows], self._start_ns[rows])

    def lanes_of(self, pid: int) -> Lanes:
        """When the stages of all of a process's work ran."""
        if pid not in self._lanes_of_pid:
            self._lanes_of_pid[pid] = self.lanes(np.flatnonzero(self._pid == pid))
        return self._lanes_of_pid[pid]

    def waits(self, pid: int, tid: int) -> Intervals:
        """When a thread waited for its GPU."""
        return self._waits.get((pid, tid), NOTHING)


def charged(segments: Sequence[Segment], span_rows: Sequence[int], gpu: GpuTimes) -> list[Segment]:
    """The segments of one request with the time in its workers charged to what the GPU did.

    Args:
        segments: of its breakdown; they come back unchanged where none of its work was recorded.
        span_rows: rows of the request's spans.
    """
    rows = gpu.work_of(span_rows)
    if not len(rows):
        return list(segments)
    own, queued = gpu.lanes(rows), gpu.queued(rows)
    found: list[Segment] = []
    for segment in segments:
        found += _divided(segment, own, queued, gpu) if _in_worker(segment) else [segment]
    return found


def _in_worker(segment: Segment) -> bool:
    """Whether a worker had the request, or the engine core waited for one; a gap counts by its neighbours."""
    return any(part.startswith(("worker.", "core.wait_")) for part in segment.cause.split(" -> "))


def _divided(segment: Segment, own: Lanes, queued: Intervals, gpu: GpuTimes) -> Iterator[Segment]:
    waits, others = gpu.waits(segment.pid, segment.tid), gpu.lanes_of(segment.pid)
    window = segment.start_ns, segment.end_ns
    cuts = [own.cuts(*window), others.cuts(*window)]
    cuts += [_moments(each.start_ns, each.end_ns, *window) for each in (waits, queued)]
    at_ns = np.unique(np.concatenate([[segment.start_ns], *cuts]))
    length_ns = np.diff(at_ns, append=segment.end_ns)
    waiting = waits.covers(at_ns)
    stage = _stages(segment.stage, own.at(at_ns), others.at(at_ns), waiting, queued.covers(at_ns))
    for index, piece_ns in _condensed(at_ns - segment.start_ns, length_ns, stage):
        name = STAGE_IDS[index]
        begin_ns = window[0]
        window = begin_ns + piece_ns, window[1]
        cause = (
            segment.cause if name == segment.stage else f"{segment.cause} (GPU: {STAGE_BY_ID[name].label})"
        )
        yield Segment(name, begin_ns, window[0], segment.pid, segment.tid, cause)


def _stages(host_stage: str, own: Ints, others: Ints, waiting: Flags, queued: Flags) -> Ints:
    """Stage of each instant, by the rules above; each later line has precedence."""
    host = STAGE_BY_ID[host_stage]
    launches = host.where == "gpu" and host_stage not in ("h2d", "gpu_idle")
    stage = np.full(len(own), STAGE_INDEX[host_stage], np.int64)
    if launches:
        stage[:] = np.where(queued, _GPU_IDLE, _LAUNCH)
    stage[waiting] = np.where(others[waiting] >= 0, others[waiting], _GPU_IDLE)
    copies = (own == _H2D) & (waiting | (host.where == "gpu"))
    stage[copies] = _H2D
    runs = (own >= 0) & (own != _H2D)
    stage[runs] = own[runs]
    return stage


def _condensed(since_ns: Ints, length_ns: Ints, stage: Ints) -> Iterator[tuple[int, int]]:
    """(stage, length) of consecutive pieces; those that begin within one stretch of the resolution, by stage."""
    totals: dict[tuple[int, int], int] = {}
    stretches = since_ns // _RESOLUTION_NS
    for stretch, index, piece_ns in zip(stretches.tolist(), stage.tolist(), length_ns.tolist(), strict=True):
        key = stretch, index
        totals[key] = totals.get(key, 0) + piece_ns
    last, total_ns = _NONE, 0
    for (_, index), piece_ns in totals.items():
        if index != last and total_ns:
            yield last, total_ns
            total_ns = 0
        last, total_ns = index, total_ns + piece_ns
    if total_ns:
        yield last, total_ns


def _moments(starts_ns: Ints, ends_ns: Ints, start_ns: int, end_ns: int) -> Ints:
    """Those of some disjoint intervals' edges that lie strictly inside a window."""
    first = np.searchsorted(ends_ns, start_ns, side="right")
    last = np.searchsorted(starts_ns, end_ns, side="left")
    edges = np.concatenate([starts_ns[first:last], ends_ns[first:last]])
    return edges[(edges > start_ns) & (edges < end_ns)]


def _flattened(start_ns: Ints, end_ns: Ints, stage: Ints) -> Lanes:
    """Of several stages at once the one latest in the pipeline counts; copies from the host give way to all."""
    found = [(NOTHING.start_ns, NOTHING.end_ns, NOTHING.start_ns)]
    taken = NOTHING
    known = np.unique(stage[stage >= 0]).tolist()
    for index in sorted(known, key=lambda index: (index == _H2D, -index)):
        own = union(start_ns[stage == index], end_ns[stage == index])
        left = subtract(own, taken)
        found.append((left.start_ns, left.end_ns, np.full(len(left), index, np.int64)))
        taken = join(taken, own)
    starts, ends, stages = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(starts, kind="stable")
    return Lanes(starts[order], ends[order], stages[order])


def _stage_indices(column: Any) -> Ints:
    """A column of stage ids, with nulls, as indices in STAGE_IDS."""
    texts, codes = name_codes(column)
    known = np.array([STAGE_INDEX.get(text, _NONE) for text in [*texts, ""]], np.int64)
    is_null = np.asarray(column.is_null().to_numpy(), np.bool_)
    return np.where(is_null, _NONE, known[codes])


def _host_waits(gpu: GpuTables, attribution: Any) -> dict[tuple[int, int], Intervals]:
    """Per thread the calls that return only when the GPU is done: synchronizations, and copies that block."""
    names, codes = name_codes(gpu.calls["name"])
    blocks = np.array([bool(_HOST_WAITS.search(name)) for name in [*names, ""]], np.bool_)[codes]
    host_syncs = gpu.syncs.filter(pc.not_equal(gpu.syncs["kind"].cast(pa.string()), "stream_wait_event"))
    call_row = as_ints(pc.fill_null(attribution["call_row"], _NONE))[gpu.kernels.num_rows :]
    memories = [gpu.copies[name].cast(pa.string()) for name in ("source_memory", "target_memory")]
    pageable = pc.or_(*(pc.fill_null(pc.equal(memory, "pageable"), False) for memory in memories))
    rows = (launching_calls(host_syncs, gpu.calls), call_row[np.asarray(pageable.to_numpy(), np.bool_)])
    for some in rows:
        blocks[some[some >= 0]] = True
    found = np.flatnonzero(blocks)
    pid, tid, start_ns, end_ns = (
        as_ints(gpu.calls[name])[found] for name in ("pid", "tid", "start_ns", "end_ns")
    )
    waits = {}
    for thread in sorted(set(zip(pid.tolist(), tid.tolist(), strict=True))):
        own = (pid == thread[0]) & (tid == thread[1])
        waits[thread] = union(start_ns[own], end_ns[own])
    return waits
