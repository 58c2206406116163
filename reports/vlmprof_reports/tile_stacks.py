"""Level-of-detail tiles of a thread's stack samples: runs of one stack, and for each zoom the stack in the middle.

A flame chart's frames are the path from a stack's node to the root, which the page walks for what it shows. Zoomed
out, a bin stands for many samples by the one in the middle of their order in the tree, weighted by time: the nodes
of a subtree are numbered without a gap, so that a frame which most of the bin was in is always on that path.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vlmprof_reports.archive import Archive, Ints, pack_columns
from vlmprof_reports.tiles import BITS_PER_LEVEL, SMALL_TRACK, block_ranges, first_level, last_level


@dataclass(frozen=True, slots=True)
class Runs:
    """n stretches of one thread in one stack, in order and without overlap; times in ns, later in units."""

    start: Ints
    length: Ints
    node: Ints

    def __len__(self) -> int:
        return len(self.start)

    def in_units(self, unit: int) -> "Runs":
        """Times in multiples of a unit; what followed at once still does."""
        start, end = self.start // unit, (self.start + self.length) // unit
        return Runs(start, end - start, self.node)


def stack_tiles(runs: Runs, archive: Archive) -> list[dict[str, Any]]:
    """Store a thread's runs and their coarser levels; returns its sequences as `slice_tiles` does."""
    sequences = [_sequence(archive, runs, -1)]
    if len(runs) <= SMALL_TRACK:
        return sequences
    first = first_level(np.zeros(len(runs), np.int64), runs.start)
    last = last_level(int(runs.start[-1] + runs.length[-1]))
    for level in range(first, max(first, last) + 1):
        # From the level below: the middle of the middles, at a quarter of the work.
        runs = coarser(runs, level)
        sequences.append(_sequence(archive, runs, level))
    return sequences


def joined(start: Ints, length: Ints, node: Ints) -> Runs:
    """Neighbours of the same stack as one run; an overlap with the one before is cut off."""
    order = np.argsort(start, kind="stable")
    start, node = start[order], node[order]
    end = np.maximum.accumulate(start + length[order])
    start = np.maximum(start, np.concatenate([start[:1], end[:-1]]))
    kept = end > start
    start, end, node = start[kept], end[kept], node[kept]
    if not len(start):
        return Runs(start, end, node)
    new = np.concatenate([[True], (np.diff(node) != 0) | (start[1:] != end[:-1])])
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(start)) - 1
    return Runs(start[first], end[last] - start[first], node[first])


def coarser(runs: Runs, level: int) -> Runs:
    """Runs at least as long as the level's bins as they are, the others as one run for each bin."""
    width = 1 << BITS_PER_LEVEL * level
    long = runs.length >= width
    start, length, node = runs.start[~long], runs.length[~long], runs.node[~long]
    number = start // width
    order = np.lexsort((node, number))
    number, length, node = number[order], length[order], node[order]
    first = np.flatnonzero(np.diff(number, prepend=-1))
    covered = np.add.reduceat(length, first) if len(first) else length
    done = np.cumsum(length)
    half = np.concatenate([[0], np.cumsum(covered)[:-1]]) + (covered + 1) // 2 if len(first) else done
    middle = np.searchsorted(done, half)
    return joined(
        np.concatenate([runs.start[long], number[first] * width]),
        np.concatenate([runs.length[long], np.minimum(covered, width)]),
        np.concatenate([runs.node[long], node[middle]]),
    )


def _sequence(archive: Archive, runs: Runs, level: int) -> dict[str, Any]:
    blocks = []
    for rows in block_ranges(len(runs)):
        start, length, node = runs.start[rows], runs.length[rows], runs.node[rows]
        # Samples follow one another: the gap to the one before is 0 nearly always.
        gap = start - np.concatenate([start[:1], (start + length)[:-1]])
        number = archive.add(pack_columns([gap, length, node]))
        blocks.append((number, len(start), int(start[0]), int(start[-1] + length[-1])))
    numbers, counts, starts, ends = zip(*blocks, strict=True) if blocks else ((), (), (), ())
    return {"level": level, "bins": False, "block": numbers, "rows": counts, "start": starts, "end": ends}
