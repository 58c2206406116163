"""The timeline of a run: its tracks by process, thread and GPU stream, as tiles in an archive."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.analysis.kernels import FAMILIES, family_of
from vlmprof.analysis.process_table import process_of
from vlmprof.analysis.stack_table import as_ints
from vlmprof.analysis.stage_rules import RULES
from vlmprof.export.timeline import groups
from vlmprof.model.process import Process
from vlmprof.model.results import BreakdownResult
from vlmprof.model.stages import STAGE_BY_ID, STAGE_IDS
from vlmprof_reports.archive import Archive, Ints
from vlmprof_reports.sampled_tree import SampledTree, thread_key
from vlmprof_reports.slice_names import Names
from vlmprof_reports.tile_stacks import Runs, joined, stack_tiles
from vlmprof_reports.tiles import Slices, slice_tiles

EXACT_ROWS = 50_000
"""A track of no more rows keeps every nanosecond; a larger one rounds, or the page would be twice as large for
digits that no clock of the capture can vouch for."""
_UNITS_PER_SLICE = 64
_IDLE_SHARE = 0.995


@dataclass
class _Timeline:
    """What is gathered while the tracks are made; their times count from `origin_ns`."""

    origin_ns: int
    processes: dict[int, Process]
    archive: Archive
    names: Names = field(default_factory=Names)
    tracks: list[dict[str, Any]] = field(default_factory=list)

    def times(self, table: Any) -> tuple[Ints, Ints]:
        """Start and length of each row; an end before its start counts as the start."""
        start = as_ints(table["start_ns"]) - self.origin_ns
        return start, np.maximum(as_ints(table["end_ns"]) - self.origin_ns - start, 0)

    def add(self, kind: str, slices: Slices, **place: Any) -> None:
        """Store a track of slices; its place in the list of tracks is its number."""
        total_ns, unit_ns = int(slices.length.sum()), _unit_ns(slices.length)
        lanes = int(slices.lane.max(initial=0)) + 1
        sequences = slice_tiles(slices.in_order().in_units(unit_ns), self.archive)
        self._append(kind, sequences, len(slices), total_ns, unit_ns=unit_ns, lanes=lanes, **place)

    def add_stacks(self, runs: Runs, **place: Any) -> None:
        """Store a track of stack samples."""
        total_ns, unit_ns = int(runs.length.sum()), _unit_ns(runs.length)
        sequences = stack_tiles(runs.in_units(unit_ns), self.archive)
        self._append("stacks", sequences, len(runs), total_ns, unit_ns=unit_ns, **place)

    def _append(
        self, kind: str, sequences: list[dict[str, Any]], rows: int, total_ns: int, **place: Any
    ) -> None:
        self.tracks.append(
            {"kind": kind, "rows": rows, "total_ns": total_ns, "sequences": sequences, **place}
        )


def _unit_ns(length: Ints) -> int:
    """The unit of a track's times: 1 ns, or for a large track a power of two well below its usual length."""
    if len(length) <= EXACT_ROWS:
        return 1
    finest_ns = int(np.median(length)) // _UNITS_PER_SLICE
    return 1 << max(0, finest_ns.bit_length() - 1)


def timeline_tracks(
    tables: dict[str, Any],
    breakdown: BreakdownResult,
    processes: dict[int, Process],
    tree: SampledTree,
    archive: Archive,
) -> dict[str, Any]:
    """Store every track's tiles in the archive and describe the tracks.

    Args:
        tables: requests, spans, samples, cuda_api, gpu_kernels, gpu_copies.

    Returns:
        `origin_ns` as text, for it may be above 2**53; `extent_ns`; `start_ns` and `end_ns` of the requests, else
        of everything; `names` with their `categories`, `request_sets`;
        `waited_for`, what requests waited for each thread; and `tracks`, each with kind, pid, tid, device, stream,
        lanes, rows, total_ns, sequences and the unit_ns of the times in its blocks.
    """
    origin_ns, end_ns = _bounds(tables)
    timeline = _Timeline(origin_ns, processes, archive)
    _add_requests(timeline, tables["requests"], breakdown)
    request_sets = _add_spans(timeline, tables["spans"])
    calls = _add_calls(timeline, tables["cuda_api"])
    _add_stacks(timeline, tables["samples"], tree)
    _add_gpu(timeline, tables["gpu_kernels"], "kernels", calls)
    _add_gpu(timeline, tables["gpu_copies"], "copies", calls)
    first_ns, last_ns = _served(tables["requests"], origin_ns, end_ns)
    return {
        "origin_ns": str(origin_ns),
        "extent_ns": end_ns - origin_ns,
        "start_ns": first_ns - origin_ns,
        "end_ns": last_ns - origin_ns,
        "names": timeline.names.texts,
        "categories": timeline.names.category,
        "families": FAMILIES,
        "request_sets": request_sets,
        "processes": [_described(process) for process in _listed(timeline, processes)],
        "waited_for": _waited_for(breakdown),
        "tracks": timeline.tracks,
    }


def _bounds(tables: dict[str, Any]) -> tuple[int, int]:
    """The earliest start and the latest end of any row; (0, 0) where there is none."""
    starts, ends = [], []
    for name, table in tables.items():
        if not table.num_rows:
            continue
        start, end = ("sent_ns", "done_ns") if name == "requests" else ("start_ns", "end_ns")
        starts.append(pc.min(table[start]).as_py())
        last = (
            pc.max(pc.add(table["start_ns"], table["duration_ns"]))
            if name == "samples"
            else pc.max(table[end])
        )
        ends.append(last.as_py())
    origin_ns = min((time_ns for time_ns in starts if time_ns is not None), default=0)
    return origin_ns, max((time_ns for time_ns in ends if time_ns is not None), default=origin_ns)


def _served(requests: Any, origin_ns: int, end_ns: int) -> tuple[int, int]:
    """From the first request's sending to the last one's end, which is what a reader wants to see first."""
    done = requests.filter(pc.is_valid(requests["done_ns"]))
    if not done.num_rows:
        return origin_ns, end_ns
    return pc.min(done["sent_ns"]).as_py(), pc.max(done["done_ns"]).as_py()


def _add_requests(timeline: _Timeline, requests: Any, breakdown: BreakdownResult) -> None:
    """Each request on the first free lane from its sending to its end, its stages on the lane below."""
    served = requests.filter(pc.is_valid(requests["done_ns"])).sort_by("sent_ns")
    if not served.num_rows:
        return
    start = as_ints(served["sent_ns"]) - timeline.origin_ns
    length = as_ints(served["done_ns"]) - timeline.origin_ns - start
    lane = 2 * _free_lanes(start, start + length)
    ids = served["id"].to_pylist()
    name = np.array([timeline.names.number(request) for request in ids], dtype=np.int64)
    lane_of = dict(zip(ids, lane.tolist(), strict=True))
    stage_index = {stage_id: number for number, stage_id in enumerate(STAGE_IDS)}
    rows = [
        (
            segment.start_ns,
            segment.end_ns - segment.start_ns,
            lane_of[request.id] + 1,
            stage_index[segment.stage],
        )
        for request in breakdown.requests
        if request.id in lane_of
        for segment in request.segments
    ]
    from_ns, length_ns, below, stage = np.array(rows, dtype=np.int64).reshape(len(rows), 4).T
    label = np.array(
        [timeline.names.number(STAGE_BY_ID[each].label, i) for i, each in enumerate(STAGE_IDS)], np.int64
    )
    slices = Slices(
        np.concatenate([start, from_ns - timeline.origin_ns]),
        np.concatenate([length, length_ns]),
        np.concatenate([lane, below]),
        np.concatenate([name, label[stage]]),
    )
    timeline.add("requests", slices)


def _free_lanes(start: Ints, end: Ints) -> Ints:
    """The first lane that is free at each start, for intervals in order of start."""
    free_from: list[int] = []
    lanes = []
    for begin, until in zip(start.tolist(), end.tolist(), strict=True):
        lane = next((i for i, free in enumerate(free_from) if free <= begin), len(free_from))
        free_from[lane : lane + 1] = [until]
        lanes.append(lane)
    return np.array(lanes, dtype=np.int64)


def _add_spans(timeline: _Timeline, spans: Any) -> list[list[str]]:
    """Spans by thread; returns the sets of requests that they name, the empty one first."""
    start, length = timeline.times(spans)
    name = timeline.names.column(spans["name"], _stage_of)
    sets, request_set = _request_sets(spans["request_ids"])
    slices = Slices(start, length, np.maximum(as_ints(spans["depth"]), 0), name, (request_set,))
    for (pid, tid), rows in by_thread(spans):
        timeline.add("spans", slices.take(rows), pid=pid, tid=tid)
    return sets


def _request_sets(column: Any) -> tuple[list[list[str]], Ints]:
    """Distinct lists of request ids, the empty one first, and the list of each row."""
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    joined_ids = pc.fill_null(pc.binary_join(lists, "\x1f"), "").dictionary_encode()
    texts = joined_ids.dictionary.to_pylist()
    sets = [""] + [text for text in texts if text]
    place = {text: number for number, text in enumerate(sets)}
    numbers = np.array([place[text] for text in texts], dtype=np.int64)
    codes = as_ints(joined_ids.indices)
    return [text.split("\x1f") if text else [] for text in sets], numbers[codes] if len(numbers) else codes


@dataclass(frozen=True, slots=True)
class _Calls:
    """CUDA calls by (pid, correlation id), sorted: where and when each began."""

    key: Ints
    start: Ints
    track: Ints


def _add_calls(timeline: _Timeline, calls: Any) -> _Calls:
    start, length = timeline.times(calls)
    name = timeline.names.column(calls["name"], _no_category)
    track = np.zeros(len(start), dtype=np.int64)
    slices = Slices(start, length, np.zeros_like(start), name)
    for (pid, tid), rows in by_thread(calls):
        track[rows] = len(timeline.tracks)
        timeline.add("calls", slices.take(rows), pid=pid, tid=tid)
    correlation = as_ints(calls["correlation_id"])
    known = np.flatnonzero(correlation)
    key = _launch_key(as_ints(calls["pid"]), correlation)[known]
    order = np.argsort(key, kind="stable")
    return _Calls(key[order], start[known][order], track[known][order])


def _launch_key(pid: Ints, correlation: Ints) -> Ints:
    return (pid << 40) + correlation


def _add_stacks(timeline: _Timeline, samples: Any, tree: SampledTree) -> None:
    """Stack samples by thread, each as the node of the tree that its stack ends at."""
    stack = tree.stacks.rows(as_ints(samples["stack_id"]))
    pid, tid = as_ints(samples["pid"]), as_ints(samples["tid"])
    start, length = as_ints(samples["start_ns"]) - timeline.origin_ns, as_ints(samples["duration_ns"])
    known = stack >= 0
    node = np.zeros(len(stack), dtype=np.int64)
    node[known] = tree.trie.node_of_entry[tree.entries(pid[known], tid[known], stack[known])]
    waiting = np.append(tree.stacks.waiting(), [False] * len(tree.trie.names))
    waits = waiting[tree.trie.name] & (tree.trie.name >= 0)
    for (process, thread), rows in by_thread(samples):
        own = rows[known[rows]]
        runs = joined(start[own], length[own], node[own])
        if not len(runs):
            continue
        waited_ns, total_ns = int(runs.length[waits[runs.node]].sum()), int(runs.length.sum())
        idle = waited_ns >= _IDLE_SHARE * total_ns
        root, lanes = _frames_shown(runs.node, tree)
        timeline.add_stacks(
            runs, pid=process, tid=thread, waited_ns=waited_ns, idle=idle, root=root, lanes=lanes
        )


def _frames_shown(node: Ints, tree: SampledTree) -> tuple[int, int]:
    """The innermost frame that all of a thread's stacks share, and how many frames the deepest has below it."""
    root, last = int(node.min()), int(node.max())
    # The nodes of a subtree have no gap in their numbers: what holds the lowest and the highest holds all.
    while root > 0 and last >= root + int(tree.size[root]):
        root = int(tree.trie.parent[root])
    return root, int(tree.depth[node].max()) - int(tree.depth[root])


def _add_gpu(timeline: _Timeline, table: Any, kind: str, calls: _Calls) -> None:
    """Kernels or copies by device and stream, each with the start of its launch and the track of that."""
    start, length = timeline.times(table)
    kernels = kind == "kernels"
    name = timeline.names.column(
        table["name" if kernels else "kind"], _family_of if kernels else _no_category
    )
    launch, origin = _launches(table, start, calls)
    more = (origin,) if kernels else (origin, np.maximum(as_ints(table["size_bytes"]), 0))
    slices = Slices(start, length, np.zeros_like(start), name, more, launch)
    for (device, stream), rows in groups(as_ints(table["device"]), as_ints(table["stream"])):
        timeline.add(kind, slices.take(rows), device=device, stream=stream)


def _launches(table: Any, start: Ints, calls: _Calls) -> tuple[Ints, Ints]:
    """Start of the launching call, and its track plus one; the own start and 0 where none is known."""
    launch, origin = start.copy(), np.zeros(len(start), dtype=np.int64)
    if not len(calls.key):
        return launch, origin
    correlation = as_ints(table["correlation_id"])
    key = _launch_key(as_ints(table["pid"]), correlation)
    place = np.minimum(np.searchsorted(calls.key, key), len(calls.key) - 1)
    # A kernel before its own launch is a clock's error: an arrow backwards would only puzzle.
    found = (calls.key[place] == key) & (correlation != 0) & (calls.start[place] <= start)
    launch[found] = calls.start[place][found]
    origin[found] = calls.track[place][found] + 1
    return launch, origin


def by_thread(table: Any) -> Iterator[tuple[tuple[int, int], Ints]]:
    """Each (pid, tid) of a table with its rows."""
    for (key,), rows in groups(thread_key(as_ints(table["pid"]), as_ints(table["tid"]))):
        yield divmod(key, 1 << 32), rows


def _stage_of(span: str) -> int:
    rule = RULES.get(span)
    return STAGE_IDS.index(rule.stage) if rule and rule.stage else -1


def _family_of(kernel: str) -> int:
    return FAMILIES.index(family_of(kernel))


def _no_category(_: str) -> int:
    return -1


def _waited_for(breakdown: BreakdownResult) -> list[tuple[int, int, int]]:
    """pid, tid and the time in ns that all requests together waited for it, most first."""
    total_ns: Counter[tuple[int, int]] = Counter()
    for request in breakdown.requests:
        for segment in request.segments:
            if segment.tid:
                total_ns[segment.pid, segment.tid] += segment.end_ns - segment.start_ns
    return [(pid, tid, time_ns) for (pid, tid), time_ns in total_ns.most_common()]


def _listed(timeline: _Timeline, processes: dict[int, Process]) -> list[Process]:
    """The processes that have a track, in the table's order."""
    pids = list(dict.fromkeys(track["pid"] for track in timeline.tracks if "pid" in track))
    known = [pid for pid in processes if pid in pids]
    return [process_of(pid, processes) for pid in [*known, *(pid for pid in pids if pid not in known)]]


def _described(process: Process) -> dict[str, Any]:
    threads = {str(thread.tid): thread.name for thread in process.threads if thread.name}
    label = process.label if process.role != "other" else process.name or "process"
    return {"pid": process.pid, "label": label, "name": process.name, "threads": threads}
