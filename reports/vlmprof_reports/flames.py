"""Flame graphs for the page: one tree of all stacks, and every view as the self times of its nodes."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from vlmprof.analysis.flame import StackTrie, build_trie, fold_small, self_by_node
from vlmprof.analysis.hot import CriticalTime, critical_time
from vlmprof.analysis.process_table import process_of
from vlmprof.analysis.stack_table import Ints, StackTable, as_ints
from vlmprof.model.process import Process
from vlmprof.model.results import BreakdownResult, SummaryResult
from vlmprof.model.stages import STAGES

MAX_NODES = 60_000
FOLDED = "(small frames)"


@dataclass(frozen=True, slots=True)
class _Sampled:
    """Distinct (pid, tid, stack) of the whole capture with their time, as entries of the tree."""

    pid: Ints
    tid: Ints
    stack: Ints
    time_ns: Ints


def flame_views(
    breakdown: BreakdownResult,
    summary: SummaryResult,
    processes: dict[int, Process],
    samples: Any,
    stacks: StackTable,
) -> dict[str, Any]:
    """The tree and its views.

    Returns:
        `names`, `files`, `waits`: what a node's name index means; `parent`, `name`: the tree, a parent
        before its children; `views`: title, group, number of requests that its times are summed over
        (0 for the whole capture), and the columns node (as differences) and self_ns.
    """
    sampled = _sampled(samples, stacks)
    critical = _critical(breakdown, summary, samples, stacks)
    trie = _trie(sampled, processes, stacks)
    entry = _entry_of(sampled, critical)
    all_ns = self_by_node(trie, np.arange(len(sampled.stack)), sampled.time_ns)
    critical_ns = self_by_node(trie, entry, critical.time_ns)
    trie = fold_small(trie, [all_ns, critical_ns], MAX_NODES, FOLDED)
    views = [*_critical_views(trie, critical, entry), *_capture_views(trie, sampled, processes)]
    files = [function.file for function in stacks.functions]
    padding = len(trie.names) - len(files)
    return {
        "names": trie.names,
        "files": files + [""] * padding,
        "waits": np.flatnonzero(stacks.waiting()).tolist(),
        "labels_from": trie.labels_from,
        "parent": trie.parent.tolist(),
        "name": trie.name.tolist(),
        "views": views,
    }


def _sampled(samples: Any, stacks: StackTable) -> _Sampled:
    sums = samples.group_by(["pid", "tid", "stack_id"]).aggregate([("duration_ns", "sum")])
    pid, tid = as_ints(sums["pid"]), as_ints(sums["tid"])
    rows, time_ns = stacks.rows(as_ints(sums["stack_id"])), as_ints(sums["duration_ns_sum"])
    known = rows >= 0
    order = np.lexsort((rows[known], tid[known], pid[known]))
    return _Sampled(*(column[known][order] for column in (pid, tid, rows, time_ns)))


def _critical(
    breakdown: BreakdownResult, summary: SummaryResult, samples: Any, stacks: StackTable
) -> CriticalTime:
    phase = summary.split.phase if summary.split else summary.headline
    return critical_time([r for r in breakdown.requests if r.phase == phase], samples, stacks)


def _entry_of(sampled: _Sampled, critical: CriticalTime) -> Ints:
    """Which entry of the tree each row of the critical path is; each is a sampled stack, so there is one."""
    stack_count = 1 + max(int(sampled.stack.max(initial=0)), int(critical.stack.max(initial=0)))
    threads = np.unique(_thread(sampled.pid, sampled.tid))

    def key(pid: Ints, tid: Ints, stack: Ints) -> Ints:
        return np.searchsorted(threads, _thread(pid, tid)) * stack_count + stack

    return np.searchsorted(
        key(sampled.pid, sampled.tid, sampled.stack), key(critical.pid, critical.tid, critical.stack)
    )


def _thread(pid: Ints, tid: Ints) -> Ints:
    """A thread as one number, in the order of (pid, tid)."""
    return (pid << 32) + tid


def _trie(sampled: _Sampled, processes: dict[int, Process], stacks: StackTable) -> StackTrie:
    """One tree of every sampled stack below its process; threads share the paths that they have in common."""
    labels, label_of_pid = _labels(sampled.pid, processes)
    pids, place = np.unique(sampled.pid, return_inverse=True)
    label = np.array([label_of_pid[pid] for pid in pids.tolist()], dtype=np.int64)[place]
    paths, path = np.unique(label * max(1, len(stacks)) + sampled.stack, return_inverse=True)
    path_label, path_stack = np.divmod(paths, max(1, len(stacks)))
    trie = build_trie(stacks, path_stack, path_label, labels)
    return replace(trie, node_of_entry=trie.node_of_entry[path])


def _labels(pids: Ints, processes: dict[int, Process]) -> tuple[list[str], dict[int, int]]:
    """Labels of the sampled processes in the table's order; processes of one label share its node."""
    sampled = set(np.unique(pids).tolist())
    order = [pid for pid in processes if pid in sampled]
    order += sorted(sampled - set(order))
    labels = {pid: process_of(pid, processes).label for pid in order}
    distinct = list(dict.fromkeys(labels.values()))
    return distinct, {pid: distinct.index(label) for pid, label in labels.items()}


def _critical_views(trie: StackTrie, critical: CriticalTime, entry: Ints) -> Iterator[dict[str, Any]]:
    """The time that requests waited for sampled threads: all of it, then stage by stage."""
    if not len(entry):
        return
    every = np.full(len(entry), True)
    stages = [
        (STAGES[i].label, f"stage:{STAGES[i].id}", critical.stage == i) for i in np.unique(critical.stage)
    ]
    for title, key, chosen in [("all stages", "critical", every), *stages]:
        place = _Place(key, f"critical path: {title}", "critical path", critical.requests)
        yield _view(trie, place, entry[chosen], critical.time_ns[chosen])


def _capture_views(
    trie: StackTrie, sampled: _Sampled, processes: dict[int, Process]
) -> Iterator[dict[str, Any]]:
    """The whole capture: merged, then process by process, then thread by thread."""
    entries = np.arange(len(sampled.stack))
    places = [(_Place("all", "capture: all processes", "whole capture"), np.full(len(entries), True))]
    for pid in np.unique(sampled.pid).tolist():
        title = f"capture: {process_of(pid, processes).label} ({pid})"
        places.append((_Place(f"pid:{pid}", title, "whole capture, by process"), sampled.pid == pid))
    for thread in np.unique(_thread(sampled.pid, sampled.tid)).tolist():
        pid, tid = divmod(thread, 1 << 32)
        process = process_of(pid, processes)
        name = next((thread.name for thread in process.threads if thread.tid == tid), "") or "thread"
        place = _Place(f"tid:{tid}", f"thread: {process.label}, {name} ({tid})", "whole capture, by thread")
        places.append((place, (sampled.pid == pid) & (sampled.tid == tid)))
    for place, chosen in places if len(entries) else []:
        yield _view(trie, place, entries[chosen], sampled.time_ns[chosen])


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a view stands in the list of views; requests is 0 for a view of the whole capture."""

    key: str
    title: str
    group: str
    requests: int = 0


def _view(trie: StackTrie, place: _Place, entries: Ints, time_ns: Ints) -> dict[str, Any]:
    self_ns = self_by_node(trie, entries, time_ns)
    nodes = np.flatnonzero(self_ns)
    return {
        **asdict(place),
        "total_ns": int(time_ns.sum()),
        "node": np.diff(nodes, prepend=0).tolist(),
        "self_ns": self_ns[nodes].tolist(),
    }
