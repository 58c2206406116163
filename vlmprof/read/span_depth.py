"""How deep spans of a thread lie inside one another."""

from typing import Any

import numpy as np

from vlmprof.read.compiled import Integers, compiled


@compiled
def depths_in_order(thread: Integers, start_ns: Integers, end_ns: Integers) -> Integers:
    """For each span how many spans of its thread enclose it.

    Spans of coroutines on one event loop may overlap without one enclosing the other: those do not count.

    Args:
        thread, start_ns, end_ns: sorted by thread, then start, then the longer span first.
    """
    depth = np.zeros(start_ns.shape[0], np.int64)
    open_ends = np.empty(start_ns.shape[0], np.int64)
    open_count = 0
    for span in range(start_ns.shape[0]):
        if span > 0 and thread[span] != thread[span - 1]:
            open_count = 0
        kept = 0
        for other in range(open_count):
            if open_ends[other] > start_ns[span]:
                open_ends[kept] = open_ends[other]
                kept += 1
                depth[span] += open_ends[other] >= end_ns[span]
        open_ends[kept] = end_ns[span]
        open_count = kept + 1
    return depth


def enclosing_depth(thread: Integers, start_ns: Integers, end_ns: Integers) -> Integers:
    """`depths_in_order` for spans in any order; of two equal spans the later one encloses the other.

    The agent writes a span when it ends: of two spans with the same times the outer one comes later.
    """
    order = np.lexsort((-np.arange(len(thread)), -end_ns, start_ns, thread))
    depth: Any = np.empty(len(thread), np.int64)
    depth[order] = depths_in_order(thread[order], start_ns[order], end_ns[order])
    return np.asarray(depth, np.int64)
