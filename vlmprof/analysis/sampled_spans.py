"""Spans as a sampler saw them: for how long the functions that bound the stages were on a thread's stack.

For a server without the agent. They are coarse: they begin and end where a sample was taken, a function that was
shorter than the sampling interval is missed or lasts one, and calls that follow at once on one another are one.
Which request a function worked for, no stack tells: only the spans of requests that were alone in the server are
made, and those of a coroutine only while it ran. A request during which the sampler itself paused gets none: what
happened meanwhile would be a gap, and gaps are named by their neighbours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vlmprof.analysis.stack_table import Flags, Ints, StackTable, as_ints
from vlmprof.model.request import Request
from vlmprof.model.tables import SPANS
from vlmprof.units import NS_PER_MS

# A sample that lasts longer has a pause of the sampler in it.
_LONGEST_SAMPLE_NS = 50 * NS_PER_MS
_NOBODY = -1

Boundaries = Mapping[tuple[str, str], str]
"""(qualified function, end of its file's path) -> name of the span."""


@dataclass(frozen=True, slots=True)
class _Samples:
    """Samples of requests that were alone, by thread and start; request is an index, end_ns without pauses."""

    pid: Ints
    tid: Ints
    stack: Ints
    request: Ints
    start_ns: Ints
    end_ns: Ints

    def begins(self) -> Flags:
        """Whether a sample has none of the same thread and request right before it."""
        same = (np.diff(self.pid) == 0) & (np.diff(self.tid) == 0) & (np.diff(self.request) == 0)
        follows = self.start_ns[1:] - self.end_ns[:-1] <= _LONGEST_SAMPLE_NS
        begins: Flags = np.concatenate([[True], ~(same & follows)])[: len(self.pid)]
        return begins


def spans_from_samples(
    samples: Any, stacks: StackTable, requests: Sequence[Request], boundaries: Boundaries
) -> Any:
    """A table of the schema SPANS, by start.

    Args:
        samples: the table `samples` of all processes.
        requests: all that were sent; those that shared the server with another get no span.
    """
    alone = watched_throughout(alone_in_the_server(requests), samples)
    chosen = _samples_of(samples, stacks, alone)
    depth_of_name = _depths(stacks, boundaries)
    begins = chosen.begins()
    parts = [SPANS.empty_table()]
    for name, depth_of_stack in depth_of_name.items():
        depth = depth_of_stack[chosen.stack]
        parts.append(_table(name, chosen, alone, depth, _runs(depth >= 0, begins)))
    return pa.concat_tables(parts).sort_by([("start_ns", "ascending"), ("end_ns", "descending")])


def alone_in_the_server(requests: Sequence[Request]) -> list[Request]:
    """Requests that were answered while no other was on its way, in order of sending."""
    ordered = sorted(requests, key=lambda request: request.sent_ns)
    ends_ns = [request.done_ns or request.first_token_ns or request.sent_ns for request in ordered]
    latest_ns = np.maximum.accumulate(np.array([0, *ends_ns], dtype=np.int64))
    return [
        request
        for place, request in enumerate(ordered)
        if latest_ns[place] <= request.sent_ns
        and (place + 1 == len(ordered) or ends_ns[place] <= ordered[place + 1].sent_ns)
    ]


def watched_throughout(requests: Sequence[Request], samples: Any) -> list[Request]:
    """Requests in whose time to first token the sampler looked at some thread at least every 50 ms.

    Args:
        samples: the table `samples` of all processes, idle threads included.
    """
    taken_ns = np.unique(as_ints(samples["start_ns"]) + as_ints(samples["duration_ns"]))
    return [request for request in requests if _longest_pause_ns(request, taken_ns) <= _LONGEST_SAMPLE_NS]


def _longest_pause_ns(request: Request, taken_ns: Ints) -> int:
    sent_ns, until_ns = request.sent_ns, request.first_token_ns or request.sent_ns
    first, last = np.searchsorted(taken_ns, [sent_ns, until_ns])
    looked_ns = np.concatenate([[sent_ns], taken_ns[first:last], [until_ns]])
    return int(np.diff(looked_ns).max())


def _samples_of(samples: Any, stacks: StackTable, alone: Sequence[Request]) -> _Samples:
    start_ns, length_ns = as_ints(samples["start_ns"]), as_ints(samples["duration_ns"])
    end_ns = start_ns + length_ns
    # It was taken at its end; what lies before that may be a pause.
    start_ns = np.where(length_ns > _LONGEST_SAMPLE_NS, end_ns, start_ns)
    sent_ns = np.array([request.sent_ns for request in alone], dtype=np.int64)
    until_ns = np.array([request.first_token_ns or 0 for request in alone], dtype=np.int64)
    request = np.searchsorted(sent_ns, end_ns) - 1
    inside = request >= 0
    inside[inside] = start_ns[inside] < until_ns[request[inside]]
    row = stacks.rows(as_ints(samples["stack_id"]))
    kept = np.flatnonzero(inside & (row >= 0))
    pid, tid = as_ints(samples["pid"]), as_ints(samples["tid"])
    kept = kept[np.lexsort((start_ns[kept], tid[kept], pid[kept]))]
    return _Samples(pid[kept], tid[kept], row[kept], request[kept], start_ns[kept], end_ns[kept])


def _depths(stacks: StackTable, boundaries: Boundaries) -> dict[str, Ints]:
    """For each span name that occurs, how many boundaries enclose it in each stack; -1 where it is not in it."""
    names = sorted(set(boundaries.values()))
    of_function = np.array(
        [_span_of(function.name, function.file, boundaries, names) for function in stacks.functions],
        dtype=np.int64,
    )
    of_frame = of_function[stacks.function]
    bounding = np.flatnonzero(of_frame >= 0)
    stack = np.searchsorted(stacks.starts, bounding, side="right") - 1
    before = np.arange(len(bounding)) - np.searchsorted(stack, stack, side="left")
    depths = {}
    for number in np.unique(of_frame[bounding]).tolist():
        # Backwards, so that the outermost of several has the last word.
        at = np.flatnonzero(of_frame[bounding] == number)[::-1]
        depth = np.full(len(stacks), _NOBODY, dtype=np.int64)
        depth[stack[at]] = before[at]
        depths[names[number]] = depth
    return depths


def _span_of(name: str, file: str, boundaries: Boundaries, names: list[str]) -> int:
    for (function, ending), span in boundaries.items():
        if name == function and file.endswith(ending):
            return names.index(span)
    return _NOBODY


def _runs(present: Flags, begins: Flags) -> tuple[Ints, Ints]:
    """First and last sample of each run of samples in which a function is on the stack."""
    before = np.concatenate([[False], present[:-1]])[: len(present)] & ~begins
    first = np.flatnonzero(present & ~before)
    after = np.concatenate([present[1:] & ~begins[1:], [False]])[: len(present)]
    last = np.flatnonzero(present & ~after)
    return first, last


def _table(
    name: str, samples: _Samples, alone: Sequence[Request], depth: Ints, runs: tuple[Ints, Ints]
) -> Any:
    first, last = runs
    if not len(first):
        return SPANS.empty_table()
    columns = {
        "pid": samples.pid[first],
        "tid": samples.tid[first],
        "name": [name] * len(first),
        "request_ids": [[alone[request].id] for request in samples.request[first].tolist()],
        "start_ns": samples.start_ns[first],
        "end_ns": samples.end_ns[last],
        "depth": depth[first],
    }
    return pa.table({column: pa.array(values) for column, values in columns.items()}).cast(SPANS)
