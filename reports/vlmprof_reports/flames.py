"""Flame graphs for the page: views of the tree of all sampled stacks, each as the self times of its nodes."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vlmprof.analysis.flame import StackTrie, self_by_node
from vlmprof.analysis.hot import CriticalTime
from vlmprof.analysis.process_table import process_of
from vlmprof.analysis.stack_table import Ints
from vlmprof.model.process import Process
from vlmprof.model.stages import STAGES
from vlmprof_reports.sampled_tree import SampledTree, thread_key


def flame_views(
    tree: SampledTree, critical: CriticalTime, processes: dict[int, Process]
) -> list[dict[str, Any]]:
    """The views of a tree.

    Returns:
        For each view key, title and group; `requests` that its times are summed over, 0 for the whole capture;
        `total_ns`; the columns node (as differences) and self_ns.
    """
    return [*_critical_views(tree, critical), *_capture_views(tree, processes)]


def _critical_views(tree: SampledTree, critical: CriticalTime) -> Iterator[dict[str, Any]]:
    """The time that requests waited for sampled threads: all of it, then stage by stage."""
    entry = tree.entries(critical.pid, critical.tid, critical.stack)
    if not len(entry):
        return
    every = np.full(len(entry), True)
    stages = [
        (STAGES[i].label, f"stage:{STAGES[i].id}", critical.stage == i) for i in np.unique(critical.stage)
    ]
    for title, key, chosen in [("all stages", "critical", every), *stages]:
        place = Place(key, f"critical path: {title}", "critical path", critical.requests)
        yield view_of(tree.trie, place, entry[chosen], critical.time_ns[chosen])


def _capture_views(tree: SampledTree, processes: dict[int, Process]) -> Iterator[dict[str, Any]]:
    """The whole capture: merged, then process by process, then thread by thread."""
    sampled = tree.sampled
    entries = np.arange(len(sampled))
    places = [(Place("all", "capture: all processes", "whole capture"), np.full(len(entries), True))]
    for pid in np.unique(sampled.pid).tolist():
        title = f"capture: {process_of(pid, processes).label} ({pid})"
        places.append((Place(f"pid:{pid}", title, "whole capture, by process"), sampled.pid == pid))
    for thread in np.unique(thread_key(sampled.pid, sampled.tid)).tolist():
        pid, tid = divmod(thread, 1 << 32)
        process = process_of(pid, processes)
        name = next((thread.name for thread in process.threads if thread.tid == tid), "") or "thread"
        place = Place(f"tid:{tid}", f"thread: {process.label}, {name} ({tid})", "whole capture, by thread")
        places.append((place, (sampled.pid == pid) & (sampled.tid == tid)))
    for place, chosen in places if len(entries) else []:
        yield view_of(tree.trie, place, entries[chosen], sampled.time_ns[chosen])


@dataclass(frozen=True, slots=True)
class Place:
    """Where a view stands in the list of views; requests is 0 for a view of the whole capture."""

    key: str
    title: str
    group: str
    requests: int = 0


def view_of(trie: StackTrie, place: Place, entries: Ints, time_ns: Ints) -> dict[str, Any]:
    """A view of some entries of a tree, with the time of each."""
    self_ns = self_by_node(trie, entries, time_ns)
    nodes = np.flatnonzero(self_ns)
    return {
        **asdict(place),
        "total_ns": int(time_ns.sum()),
        "node": np.diff(nodes, prepend=0).tolist(),
        "self_ns": self_ns[nodes].tolist(),
    }
