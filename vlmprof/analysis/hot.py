"""Which functions the critical path was in: samples laid over the segments of the requests' breakdowns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.analysis.stack_table import Flags, Ints, StackTable, as_ints, distinct
from vlmprof.model.results import HotFunction, LineTime, RequestBreakdown
from vlmprof.model.stages import STAGE_IDS, UNATTRIBUTED

STAGE_INDEX = {stage_id: index for index, stage_id in enumerate(STAGE_IDS)}
LINES_PER_FUNCTION = 5
_MOTIONLESS_SHARE = 0.999


@dataclass(frozen=True, slots=True)
class CriticalTime:
    """Sampled time on the critical path, one row per distinct (pid, tid, stage, stack).

    A stretch that several requests of a batch waited for counts once for each of them.

    Attributes:
        stage: index in `STAGE_IDS`.
        stack: row in the stack table.
        time_ns: overlap of the samples with the segments, summed.
        ttft_ns: summed TTFT of the requests.
        thread_ns: the part of it in segments that name a thread.
    """

    pid: Ints
    tid: Ints
    stage: Ints
    stack: Ints
    time_ns: Ints
    requests: int
    ttft_ns: int
    thread_ns: int

    @property
    def sampled_ns(self) -> int:
        return int(self.time_ns.sum())

    def where(self, chosen: Flags) -> "CriticalTime":
        """Some of the rows; requests, their TTFT and thread time stay those of the whole."""
        return replace(
            self,
            pid=self.pid[chosen],
            tid=self.tid[chosen],
            stage=self.stage[chosen],
            stack=self.stack[chosen],
            time_ns=self.time_ns[chosen],
        )

    def inside_stage(self, stage: str) -> "CriticalTime":
        """The rows that one stage owns."""
        return self.where(self.stage == STAGE_INDEX[stage])


@dataclass(frozen=True, slots=True)
class RequestTime:
    """The same for single requests, one row per distinct (request, stage, stack).

    Attributes:
        request: place in the sequence of requests.
    """

    request: Ints
    stage: Ints
    stack: Ints
    time_ns: Ints


@dataclass(frozen=True, slots=True)
class _Intervals:
    """Half-open intervals [start, end) with the thread and one more integer each."""

    pid: Ints
    tid: Ints
    start_ns: Ints
    end_ns: Ints
    value: Ints

    @property
    def threads(self) -> list[tuple[int, int]]:
        """Every (pid, tid) among them, once."""
        return sorted(set(zip(self.pid.tolist(), self.tid.tolist(), strict=True)))

    def of_thread(self, pid: int, tid: int) -> "_Intervals":
        """The intervals of one thread in order of their starts."""
        own = np.flatnonzero((self.tid == tid) & (self.pid == pid))
        if np.any(np.diff(self.start_ns[own]) < 0):
            own = own[np.argsort(self.start_ns[own], kind="stable")]
        return _Intervals(self.pid[own], self.tid[own], self.start_ns[own], self.end_ns[own], self.value[own])


def critical_time(requests: Sequence[RequestBreakdown], samples: Any, stacks: StackTable) -> CriticalTime:
    """Lay the samples of each thread over the segments in which a request waited for that thread.

    Args:
        requests: breakdowns of which each segment names its thread, or 0 where there is none.
        samples: the table `samples`; of one thread, intervals do not overlap.
    """
    segments = _segments(requests)
    sampled = _samples_of(samples, segments.tid)
    parts = [np.empty((5, 0), dtype=np.int64)]
    for pid, tid in segments.threads:
        stack_id, stage, time_ns = _overlaps(sampled.of_thread(pid, tid), segments.of_thread(pid, tid))
        thread = np.full(len(stage), pid), np.full(len(stage), tid)
        parts.append(np.stack([*thread, stage % len(STAGE_IDS), stacks.rows(stack_id), time_ns]))
    joined = np.concatenate(parts, axis=1)
    keys, row = distinct(*joined[:4])
    weight = _sum(row, joined[4], len(keys[0]))
    pid_of, tid_of, stage_of, stack_of = keys
    critical = CriticalTime(
        pid_of,
        tid_of,
        stage_of,
        stack_of,
        weight,
        requests=len(requests),
        ttft_ns=sum(request.ttft_ns for request in requests),
        thread_ns=int((segments.end_ns - segments.start_ns).sum()),
    )
    return critical.where(stack_of >= 0)


def window_time(requests: Sequence[RequestBreakdown], samples: Any, stacks: StackTable) -> CriticalTime:
    """What every thread did between a request's sending and its first token, without those that waited.

    For a server without spans: nobody says which thread a request waited for. Where requests overlap, the time of
    one sample counts once; its stage is `unattributed`.
    """
    start_ns, end_ns = _union([(r.sent_ns, r.sent_ns + r.ttft_ns) for r in requests])
    sampled_ns = as_ints(samples["start_ns"])
    ends_ns = sampled_ns + as_ints(samples["duration_ns"])
    inside_ns = _covered_ns(ends_ns, start_ns, end_ns) - _covered_ns(sampled_ns, start_ns, end_ns)
    row = stacks.rows(as_ints(samples["stack_id"]))
    seen = (inside_ns > 0) & (row >= 0)
    seen[seen] = stacks.depth[row[seen]] > 0
    pid, tid = as_ints(samples["pid"])[seen], as_ints(samples["tid"])[seen]
    row, inside_ns = row[seen], inside_ns[seen]
    leaf = stacks.function[stacks.leaf(row)]
    works = ~(stacks.waiting()[leaf] | _motionless(pid, tid, leaf, inside_ns))
    keys, place = distinct(pid[works], tid[works], row[works])
    return CriticalTime(
        pid=keys[0],
        tid=keys[1],
        stage=np.full(len(keys[0]), STAGE_INDEX[UNATTRIBUTED]),
        stack=keys[2],
        time_ns=_sum(place, inside_ns[works], len(keys[0])),
        requests=len(requests),
        ttft_ns=sum(request.ttft_ns for request in requests),
        thread_ns=0,
    )


def _motionless(pid: Ints, tid: Ints, function: Ints, time_ns: Ints) -> Flags:
    """Samples of threads that are in one function all the time: they wait in native code that no stack shows."""
    threads, thread = distinct(pid, tid)
    pairs, pair = distinct(thread, function)
    whole_ns = _sum(thread, time_ns, len(threads[0]))
    motionless: Flags = _sum(pair, time_ns, len(pairs[0]))[pair] >= _MOTIONLESS_SHARE * whole_ns[thread]
    return motionless


def _union(windows: list[tuple[int, int]]) -> tuple[Ints, Ints]:
    """Windows as disjoint ones, in order."""
    joined: list[list[int]] = []
    for start_ns, end_ns in sorted(windows):
        if joined and start_ns <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end_ns)
        else:
            joined.append([start_ns, end_ns])
    bounds = np.array(joined, dtype=np.int64).reshape(len(joined), 2)
    return bounds[:, 0], bounds[:, 1]


def _covered_ns(time_ns: Ints, start_ns: Ints, end_ns: Ints) -> Ints:
    """How much of some disjoint windows lies before each time."""
    before_ns = np.concatenate([[0], np.cumsum(end_ns - start_ns)])
    at = np.searchsorted(start_ns, time_ns, side="right") - 1
    within_ns = np.minimum(time_ns, np.append(end_ns, 0)[at]) - np.append(start_ns, 0)[at]
    covered: Ints = np.where(at < 0, 0, before_ns[np.maximum(at, 0)] + within_ns)
    return covered


def request_time(requests: Sequence[RequestBreakdown], samples: Any, stacks: StackTable) -> RequestTime:
    """Sampled time on the critical path of each request; arguments as of `critical_time`."""
    segments = _segments(requests)
    sampled = _samples_of(samples, segments.tid)
    parts = [np.empty((3, 0), dtype=np.int64)]
    for pid, tid in segments.threads:
        stack_id, place, time_ns = _overlaps(sampled.of_thread(pid, tid), segments.of_thread(pid, tid))
        parts.append(np.stack([place, stacks.rows(stack_id), time_ns]))
    place, stack, time_ns = np.concatenate(parts, axis=1)
    known = stack >= 0
    (place_of, stack_of), row = distinct(place[known], stack[known])
    request, stage = np.divmod(place_of, len(STAGE_IDS))
    return RequestTime(request, stage, stack_of, _sum(row, time_ns[known], len(place_of)))


def hot_functions(critical: CriticalTime, stacks: StackTable, limit: int) -> list[HotFunction]:
    """The functions with most self time on the critical path, hottest first."""
    used = stacks.depth[critical.stack] > 0
    stack, stage, time_ns = critical.stack[used], critical.stage[used], critical.time_ns[used]
    leaf = stacks.leaf(stack)
    function_count, stage_count = len(stacks.functions), len(STAGE_IDS)
    by_stage = _sum(stacks.function[leaf] * stage_count + stage, time_ns, function_count * stage_count)
    by_stage = by_stage.reshape(function_count, stage_count)
    self_ns = by_stage.sum(axis=1)
    hottest = np.argsort(-self_ns, kind="stable")[:limit]
    chosen = hottest[self_ns[hottest] > 0]
    total_ns = _total_by_function(stack, time_ns, stacks)
    lines = _lines_by_function(stacks.function[leaf], stacks.line[leaf], time_ns, set(chosen.tolist()))
    mean = _Mean(max(1, critical.requests))
    return [
        HotFunction(
            function=stacks.functions[index].name,
            file=stacks.functions[index].file,
            line=lines[index][0][0],
            self_ns=mean(self_ns[index]),
            total_ns=mean(total_ns[index]),
            share=float(self_ns[index]) / max(1, critical.ttft_ns),
            stages={STAGE_IDS[s]: mean(by_stage[index, s]) for s in np.flatnonzero(by_stage[index]).tolist()},
            lines=[LineTime(line=line, self_ns=mean(ns)) for line, ns in lines[index][:LINES_PER_FUNCTION]],
        )
        for index in chosen.tolist()
    ]


@dataclass(frozen=True, slots=True)
class _Mean:
    requests: int

    def __call__(self, total_ns: float) -> int:
        return round(int(total_ns) / self.requests)


def _segments(requests: Sequence[RequestBreakdown]) -> _Intervals:
    """Segments that name a thread; the value holds both the request's place and the stage."""
    rows = [
        (
            segment.pid,
            segment.tid,
            segment.start_ns,
            segment.end_ns,
            place * len(STAGE_IDS) + STAGE_INDEX[segment.stage],
        )
        for place, request in enumerate(requests)
        for segment in request.segments
        if segment.tid
    ]
    return _Intervals(*np.array(rows, dtype=np.int64).reshape(len(rows), 5).T)


def _samples_of(samples: Any, tids: Ints) -> _Intervals:
    """Samples of some threads, with their stack ids."""
    wanted = pa.array(np.unique(tids), type=samples["tid"].type)
    samples = samples.filter(pc.is_in(samples["tid"], value_set=wanted))
    start_ns = as_ints(samples["start_ns"])
    return _Intervals(
        pid=as_ints(samples["pid"]),
        tid=as_ints(samples["tid"]),
        start_ns=start_ns,
        end_ns=start_ns + as_ints(samples["duration_ns"]),
        value=as_ints(samples["stack_id"]),
    )


def _overlaps(samples: _Intervals, segments: _Intervals) -> tuple[Ints, Ints, Ints]:
    """Every pair of a sample and a segment that meet: stack id, stage and length of the common part."""
    # Two samples of a thread may overlap by a rounding error of their clock; searchsorted needs order.
    ends_ns = np.maximum.accumulate(samples.end_ns)
    first = np.searchsorted(ends_ns, segments.start_ns, side="right")
    last = np.searchsorted(samples.start_ns, segments.end_ns, side="left")
    count = np.maximum(last - first, 0)
    segment = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(segment)) - np.repeat(np.cumsum(count) - count, count)
    sample = first[segment] + within
    end_ns = np.minimum(samples.end_ns[sample], segments.end_ns[segment])
    length_ns = end_ns - np.maximum(samples.start_ns[sample], segments.start_ns[segment])
    return samples.value[sample], segments.value[segment], np.maximum(length_ns, 0)


def _sum(key: Ints, weight_ns: Ints, size: int) -> Ints:
    # bincount adds in float64, which is exact up to 2**53 ns: 104 days of samples.
    return np.bincount(key, weights=weight_ns, minlength=size).astype(np.int64)


def _total_by_function(stack: Ints, time_ns: Ints, stacks: StackTable) -> Ints:
    """Time in which a function was anywhere on the stack; a recursive one counts once."""
    rows, place = np.unique(stack, return_inverse=True)
    weight_ns = _sum(place, time_ns, len(rows))
    length = stacks.depth[rows]
    row = np.repeat(np.arange(len(rows)), length)
    frame = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length) + stacks.starts[rows][row]
    pairs = np.sort(row * len(stacks.functions) + stacks.function[frame])
    # np.unique would hash: ten times slower on millions of nearly distinct keys.
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    row, function = np.divmod(pairs, len(stacks.functions))
    return _sum(function, weight_ns[row], len(stacks.functions))


def _lines_by_function(
    function: Ints, line: Ints, time_ns: Ints, chosen: set[int]
) -> dict[int, list[tuple[int, int]]]:
    """For each chosen function its lines with their self time, hottest first."""
    keys, row = distinct(function, line)
    weight_ns = _sum(row, time_ns, len(keys[0]))
    lines: dict[int, list[tuple[int, int]]] = {index: [] for index in chosen}
    for at in np.argsort(-weight_ns, kind="stable").tolist():
        if int(keys[0][at]) in chosen:
            lines[int(keys[0][at])].append((int(keys[1][at]), int(weight_ns[at])))
    return lines
