"""Flame graphs: the distinct stacks as one tree, and any selection of samples as weights on it.

The tree is built once from the stack table. A view of it - a process, a thread, a stage - is a weight per
stack, so that the tenth view costs no more than one pass over the stacks.
"""

from dataclasses import dataclass

import numpy as np

from vlmprof.analysis.stack_table import Flags, Ints, StackTable

ROOT = 0


@dataclass(frozen=True, slots=True)
class StackTrie:
    """Distinct (label, stack) entries as paths in one tree of n nodes, level by level.

    Attributes:
        names: what nodes are called: the table's functions first, then the labels.
        labels_from: index in names of the first label.
        parent: parent of each node, smaller than the node itself; -1 for the root, which is node 0.
        name: index in names of each node; -1 for the root.
        levels: node bounds of each level: level d holds nodes [levels[d], levels[d + 1]).
        node_of_entry: the node at which each entry ends.
    """

    names: list[str]
    labels_from: int
    parent: Ints
    name: Ints
    levels: list[int]
    node_of_entry: Ints


@dataclass(frozen=True, slots=True)
class FlameTree:
    """A weighted tree without empty branches; a parent comes before its children.

    Attributes:
        node: the node of the trie that each node stands for.
        self_ns: time in which the node was innermost; total_ns: the same with everything below it.
    """

    node: Ints
    parent: Ints
    name: Ints
    self_ns: Ints
    total_ns: Ints


def build_trie(stacks: StackTable, rows: Ints, label: Ints, labels: list[str]) -> StackTrie:
    """Make one tree of the given stacks, each below the node of its label.

    Args:
        rows: row in `stacks` of each entry.
        label: index in `labels` of each entry, as the process that was sampled.
    """
    function_count = len(stacks.functions)
    name_count = function_count + len(labels)
    depth = stacks.depth[rows] + 1
    at = np.zeros(len(rows), dtype=np.int64)
    parents, names, levels = [np.array([-1])], [np.array([-1])], [0, 1]
    alive = np.arange(len(rows))
    for level in range(int(depth.max(initial=0))):
        alive = alive[depth[alive] > level]
        frame_name = (
            function_count + label[alive]
            if level == 0
            else stacks.function[stacks.starts[rows[alive]] + level - 1]
        )
        keys, inverse = np.unique(at[alive] * name_count + frame_name, return_inverse=True)
        at[alive] = levels[-1] + inverse
        parents.append(keys // name_count)
        names.append(keys % name_count)
        levels.append(levels[-1] + len(keys))
    return StackTrie(
        names=[function.name for function in stacks.functions] + labels,
        labels_from=function_count,
        parent=np.concatenate(parents).astype(np.int64),
        name=np.concatenate(names).astype(np.int64),
        levels=levels,
        node_of_entry=at,
    )


def self_by_node(trie: StackTrie, entries: Ints, weight_ns: Ints) -> Ints:
    """Self time of every node of the trie, given the weights of some of its entries."""
    weights = np.bincount(trie.node_of_entry[entries], weights=weight_ns, minlength=len(trie.parent))
    return weights.astype(np.int64)


def total_by_node(trie: StackTrie, self_ns: Ints) -> Ints:
    """Total time of every node: its own and that of everything below it."""
    total_ns = self_ns.copy()
    bounds = trie.levels
    for above, start, end in reversed(list(zip(bounds, bounds[1:], bounds[2:], strict=False))):
        parent = trie.parent[start:end] - above
        below_ns = np.bincount(parent, weights=total_ns[start:end], minlength=start - above)
        total_ns[above:start] += below_ns.astype(np.int64)
    return total_ns


def flame_tree(trie: StackTrie, entries: Ints, weight_ns: Ints) -> FlameTree:
    """The tree of a selection: entries and the time of each, entries without time left out."""
    self_ns = self_by_node(trie, entries, weight_ns)
    total_ns = total_by_node(trie, self_ns)
    kept = total_ns > 0
    kept[ROOT] = True
    place = np.cumsum(kept) - 1
    node = np.flatnonzero(kept)
    parent = np.where(trie.parent[node] < 0, -1, place[trie.parent[node]])
    tree = FlameTree(node, parent, trie.name[node], self_ns[node], total_ns[node])
    check(tree, int(weight_ns.sum()))
    return tree


def check(tree: FlameTree, weight_ns: int) -> None:
    """Assert that self times add up to the root's total, and that to the weights that went in."""
    self_ns, total_ns = int(tree.self_ns.sum()), int(tree.total_ns[ROOT])
    if not self_ns == total_ns == weight_ns:
        raise AssertionError(f"flame tree: self {self_ns} ns, total {total_ns} ns, weights {weight_ns} ns")


def fold_small(trie: StackTrie, weighings: list[Ints], limit: int, name: str) -> StackTrie:
    """A tree of at most about limit nodes: the smallest branches become one child of what they hang on.

    Args:
        weighings: self times by node; a branch is small where it is small in every one of them.
        name: what the children that stand for folded branches are called.
    """
    if len(trie.parent) <= limit:
        return trie
    kept = _largest(trie, weighings, limit)
    level = np.repeat(np.arange(len(trie.levels) - 1), np.diff(trie.levels))
    holder = _nearest_kept(trie, kept)
    old = np.flatnonzero(kept)
    folded_into = np.unique(holder[~kept])
    new_level = np.concatenate([level[old], level[folded_into] + 1])
    order = np.argsort(new_level, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    new_of_old, fold_of_old = np.zeros((2, len(kept)), dtype=np.int64)
    new_of_old[old] = place[: len(old)]
    fold_of_old[folded_into] = place[len(old) :]
    parent = new_of_old[np.concatenate([trie.parent[old], folded_into])][order]
    parent[ROOT] = -1
    names = np.concatenate([trie.name[old], np.full(len(folded_into), len(trie.names))])
    end = trie.node_of_entry
    return StackTrie(
        names=[*trie.names, name],
        labels_from=trie.labels_from,
        parent=parent,
        name=names[order],
        levels=[0, *np.cumsum(np.bincount(new_level)).tolist()],
        node_of_entry=np.where(kept[end], new_of_old[end], fold_of_old[holder[end]]),
    )


def _largest(trie: StackTrie, weighings: list[Ints], limit: int) -> Flags:
    """Which nodes to keep: a parent is never smaller than its child, so the kept ones are a tree."""
    share = np.zeros(len(trie.parent))
    for self_ns in weighings:
        total_ns = total_by_node(trie, self_ns)
        share = np.maximum(share, total_ns / max(1, total_ns[ROOT]))
    kept: Flags = share > np.partition(share, -limit)[-limit]
    kept[ROOT] = True
    return kept


def _nearest_kept(trie: StackTrie, kept: Flags) -> Ints:
    """For each node itself, if it is kept, else its nearest kept ancestor."""
    nearest = np.arange(len(kept))
    for start, end in zip(trie.levels[1:], trie.levels[2:], strict=False):
        above = nearest[trie.parent[start:end]]
        nearest[start:end] = np.where(kept[start:end], nearest[start:end], above)
    return nearest
