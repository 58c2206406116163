"""Every sampled stack as a path in one tree, which the timeline and all flame graphs of a page share."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vlmprof.analysis.flame import StackTrie, build_trie, fold_small, self_by_node
from vlmprof.analysis.hot import CriticalTime
from vlmprof.analysis.process_table import process_of
from vlmprof.analysis.stack_table import Ints, StackTable, as_ints
from vlmprof.model.process import Process

MAX_NODES = 60_000
FOLDED = "(small frames)"


@dataclass(frozen=True, slots=True)
class Sampled:
    """Distinct (pid, tid, stack) of the whole capture with their time, as entries of the tree."""

    pid: Ints
    tid: Ints
    stack: Ints
    time_ns: Ints
    first_ns: Ints

    def __len__(self) -> int:
        return len(self.stack)


@dataclass(frozen=True, slots=True)
class SampledTree:
    """The tree with its entries.

    Its nodes are numbered in depth-first order, children in the order in which they were first seen: a subtree's
    numbers have no gap, a parent's is below those of its children. `trie.levels` is empty for that reason.

    Attributes:
        depth: frames above each node; size: nodes of its subtree, itself included.
    """

    trie: StackTrie
    depth: Ints
    size: Ints
    sampled: Sampled
    stacks: StackTable

    def entries(self, pid: Ints, tid: Ints, stack: Ints) -> Ints:
        """The entry of each (pid, tid, row of the stack table); every one must have been sampled."""
        return _entries(self.sampled, pid, tid, stack)

    def described(self) -> dict[str, Any]:
        """The tree for the page, as `described_tree` returns it."""
        return described_tree(self.trie, self.stacks)


def sampled_tree(
    samples: Any, stacks: StackTable, processes: dict[int, Process], critical: CriticalTime
) -> SampledTree:
    """Build the tree; where it has too many nodes, the small branches of the capture and of the critical path
    are folded."""
    sampled = _sampled(samples, stacks)
    trie = _trie(sampled, processes, stacks)
    everywhere = self_by_node(trie, np.arange(len(sampled)), sampled.time_ns)
    entry = _entries(sampled, critical.pid, critical.tid, critical.stack)
    on_path = self_by_node(trie, entry, critical.time_ns)
    trie = fold_small(trie, [everywhere, on_path], MAX_NODES, FOLDED)
    return SampledTree(*_depth_first(trie, sampled), sampled, stacks)


def described_tree(trie: StackTrie, stacks: StackTable) -> dict[str, Any]:
    """A tree for the page.

    Returns:
        `names`, `files`: what a node's name index means; `waits`: names that only wait; `labels_from`: the first
        name that is a process; `parent`, `name`: the nodes.
    """
    files = [function.file for function in stacks.functions]
    return {
        "names": trie.names,
        "files": files + [""] * (len(trie.names) - len(files)),
        "waits": np.flatnonzero(stacks.waiting()).tolist(),
        "labels_from": trie.labels_from,
        "parent": trie.parent.tolist(),
        "name": trie.name.tolist(),
    }


def thread_key(pid: Ints, tid: Ints) -> Ints:
    """A thread as one number, in the order of (pid, tid)."""
    return (pid << 32) + tid


def _entries(sampled: Sampled, pid: Ints, tid: Ints, stack: Ints) -> Ints:
    count = 1 + max(int(sampled.stack.max(initial=0)), int(stack.max(initial=0)))
    threads = np.unique(thread_key(sampled.pid, sampled.tid))

    def key(pid: Ints, tid: Ints, stack: Ints) -> Ints:
        return np.searchsorted(threads, thread_key(pid, tid)) * count + stack

    return np.searchsorted(key(sampled.pid, sampled.tid, sampled.stack), key(pid, tid, stack))


def _sampled(samples: Any, stacks: StackTable) -> Sampled:
    sums = samples.group_by(["pid", "tid", "stack_id"]).aggregate(
        [("duration_ns", "sum"), ("start_ns", "min")]
    )
    pid, tid = as_ints(sums["pid"]), as_ints(sums["tid"])
    rows = stacks.rows(as_ints(sums["stack_id"]))
    time_ns, first_ns = as_ints(sums["duration_ns_sum"]), as_ints(sums["start_ns_min"])
    known = rows >= 0
    order = np.lexsort((rows[known], tid[known], pid[known]))
    return Sampled(*(column[known][order] for column in (pid, tid, rows, time_ns, first_ns)))


def _trie(sampled: Sampled, processes: dict[int, Process], stacks: StackTable) -> StackTrie:
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


def _depth_first(trie: StackTrie, sampled: Sampled) -> tuple[StackTrie, Ints, Ints]:
    """Renumber the nodes depth first, siblings by when they were first seen; with depth and size of each."""
    levels = [np.arange(a, b) for a, b in zip(trie.levels[1:], trie.levels[2:], strict=False)]
    size, first_ns = _size_and_first(trie, sampled, levels)
    place, depth = np.zeros((2, len(trie.parent)), dtype=np.int64)
    for level, nodes in enumerate(levels, start=1):
        ordered = nodes[np.lexsort((first_ns[nodes], trie.parent[nodes]))]
        before, parent = np.cumsum(size[ordered]) - size[ordered], trie.parent[ordered]
        eldest = np.flatnonzero(np.diff(parent, prepend=-1))
        siblings = np.diff(np.append(eldest, len(parent)))
        place[ordered] = place[parent] + 1 + before - np.repeat(before[eldest], siblings)
        depth[ordered] = level
    old = np.argsort(place)
    parent = np.where(trie.parent[old] < 0, -1, place[trie.parent[old]])
    renumbered = replace(
        trie, parent=parent, name=trie.name[old], levels=[], node_of_entry=place[trie.node_of_entry]
    )
    return renumbered, depth[old], size[old]


def _size_and_first(trie: StackTrie, sampled: Sampled, levels: list[Ints]) -> tuple[Ints, Ints]:
    """Nodes of each subtree, and when the first sample of it was taken."""
    size = np.ones(len(trie.parent), dtype=np.int64)
    first_ns = np.full(len(trie.parent), np.iinfo(np.int64).max)
    np.minimum.at(first_ns, trie.node_of_entry, sampled.first_ns)
    for nodes in reversed(levels):
        np.add.at(size, trie.parent[nodes], size[nodes])
        np.minimum.at(first_ns, trie.parent[nodes], first_ns[nodes])
    return size, first_ns
