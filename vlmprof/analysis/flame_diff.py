"""Differential flame graphs: the frames of two runs in one tree, each with its time before and after.

Frames are the same where function, file below the packages' folder, and callers are the same; the lines may
differ, and so may the folder that an environment lives in. A frame that only one run has keeps its place with
0 on the other side: what vanished stays visible, and so does what is new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from vlmprof.analysis.flame import StackTrie, build_trie, fold_small, self_by_node
from vlmprof.analysis.hot import CriticalTime, critical_time
from vlmprof.analysis.process_table import process_of
from vlmprof.analysis.stack_table import Function, Ints, StackTable
from vlmprof.model.process import Process
from vlmprof.model.results import RequestBreakdown
from vlmprof.model.source_path import short_path
from vlmprof.model.stages import STAGES

ALL_STAGES = "critical"
FOLDED = "(small frames)"
_MOST_NODES = 20_000
_MOST_FUNCTIONS = 100


@dataclass(frozen=True, slots=True)
class SampledRun:
    """What a flame graph needs of a run.

    Attributes:
        requests: those whose critical path the samples are laid over.
        samples: the table of that name.
    """

    requests: Sequence[RequestBreakdown]
    processes: dict[int, Process]
    samples: Any
    stacks: StackTable


class DiffView(msgspec.Struct, frozen=True, kw_only=True):
    """One view of the tree: self time of its nodes, in ns per request of each side.

    Attributes:
        key: `critical`, or `stage:<id>`.
        node: nodes with time on either side, ascending; before_ns, after_ns: their self times.
    """

    key: str
    title: str
    node: list[int]
    before_ns: list[int]
    after_ns: list[int]


class FunctionChange(msgspec.Struct, frozen=True, kw_only=True):
    """A function's self time on the critical path, in ns per request; 0 where it was never seen."""

    function: str
    file: str
    before_ns: int
    after_ns: int

    @property
    def delta_ns(self) -> int:
        return self.after_ns - self.before_ns


class FlameDiff(msgspec.Struct, frozen=True, kw_only=True):
    """The tree of both runs and its views; a parent comes before its children, node 0 is the root.

    Attributes:
        names, files: what a node's name index means; labels, as the process at a stack's root, have no file.
        functions: those that changed most, the largest change first.
    """

    names: list[str]
    files: list[str]
    parent: list[int]
    name: list[int]
    before_requests: int
    after_requests: int
    views: list[DiffView]
    functions: list[FunctionChange]


def flame_diff(before: SampledRun, after: SampledRun) -> FlameDiff | None:
    """Lay the critical paths of two runs over one another; None where one of them was not sampled."""
    critical = [critical_time(run.requests, run.samples, run.stacks) for run in (before, after)]
    if not all(len(each.stack) for each in critical):
        return None
    stacks, offset = _joined(before.stacks, after.stacks)
    rows = np.concatenate([critical[0].stack, critical[1].stack + offset])
    labels, label = _labels((before, after), critical)
    trie = build_trie(stacks, rows, label, labels)
    split = len(critical[0].stack)
    sides = (np.arange(split), np.arange(split, len(rows)))
    weighings = [
        self_by_node(trie, entries, each.time_ns) for entries, each in zip(sides, critical, strict=True)
    ]
    trie = fold_small(trie, weighings, _MOST_NODES, FOLDED)
    files = [short_path(function.file) for function in stacks.functions]
    return FlameDiff(
        names=trie.names,
        files=files + [""] * (len(trie.names) - len(files)),
        parent=trie.parent.tolist(),
        name=trie.name.tolist(),
        before_requests=critical[0].requests,
        after_requests=critical[1].requests,
        views=_views(trie, sides, critical),
        functions=_functions(stacks, rows, sides, critical),
    )


def _views(trie: StackTrie, sides: tuple[Ints, Ints], critical: list[CriticalTime]) -> list[DiffView]:
    """All stages together, then each that either side was sampled in."""
    chosen = [(ALL_STAGES, "all stages", None)]
    for stage in np.unique(np.concatenate([each.stage for each in critical])).tolist():
        chosen.append((f"stage:{STAGES[stage].id}", STAGES[stage].label, stage))
    views = []
    for key, title, stage in chosen:
        own = []
        for entries, each in zip(sides, critical, strict=True):
            used = np.full(len(entries), True) if stage is None else each.stage == stage
            self_ns = self_by_node(trie, entries[used], each.time_ns[used])
            own.append(np.rint(self_ns / max(1, each.requests)).astype(np.int64))
        node = np.flatnonzero(own[0] + own[1])
        views.append(
            DiffView(
                key=key,
                title=title,
                node=node.tolist(),
                before_ns=own[0][node].tolist(),
                after_ns=own[1][node].tolist(),
            )
        )
    return views


def _functions(
    stacks: StackTable, rows: Ints, sides: tuple[Ints, Ints], critical: list[CriticalTime]
) -> list[FunctionChange]:
    """Self time by function; stacks without a frame belong to none."""
    own = []
    for entries, each in zip(sides, critical, strict=True):
        used = stacks.depth[rows[entries]] > 0
        leaf = stacks.function[stacks.leaf(rows[entries][used])]
        self_ns = np.bincount(leaf, each.time_ns[used], len(stacks.functions))
        own.append(np.rint(self_ns / max(1, each.requests)).astype(np.int64))
    order = np.argsort(-np.abs(own[1] - own[0]), kind="stable")[:_MOST_FUNCTIONS]
    return [
        FunctionChange(
            function=stacks.functions[index].name,
            file=short_path(stacks.functions[index].file),
            before_ns=int(own[0][index]),
            after_ns=int(own[1][index]),
        )
        for index in order.tolist()
        if own[0][index] != own[1][index]
    ]


def _joined(before: StackTable, after: StackTable) -> tuple[StackTable, int]:
    """Both tables as one, with one entry for each function of either, and where the second's rows begin."""
    place: dict[tuple[str, str], int] = {}
    functions: list[Function] = []
    parts = []
    for table in (before, after):
        own = np.zeros(len(table.functions), np.int64)
        for index, function in enumerate(table.functions):
            key = (function.name, short_path(function.file))
            if key not in place:
                place[key] = len(functions)
                functions.append(function)
            own[index] = place[key]
        parts.append(own[table.function])
    offset = len(before)
    starts = np.concatenate([before.starts, after.starts[1:] + before.starts[-1]])
    rows = np.arange(len(starts) - 1)
    frames = np.concatenate(parts)
    return StackTable(functions, starts, frames, np.zeros_like(frames), rows, rows), offset


def _labels(runs: tuple[SampledRun, SampledRun], critical: list[CriticalTime]) -> tuple[list[str], Ints]:
    """The label of every entry's process, the same for processes of one role in both runs."""
    labels: dict[str, int] = {}
    parts = []
    for run, each in zip(runs, critical, strict=True):
        pids, place = np.unique(each.pid, return_inverse=True)
        own = [labels.setdefault(process_of(pid, run.processes).label, len(labels)) for pid in pids.tolist()]
        parts.append(np.array(own, np.int64)[place])
    return list(labels), np.concatenate(parts)
