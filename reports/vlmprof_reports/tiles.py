"""Level-of-detail tiles of one track: each slice once, by its length, and for each zoom what is too short to see.

Level l is drawn where a pixel is at least 4**l units wide. Slices of at least that length are drawn one by one;
shorter ones are summed in bins of that width, so that no zoom has more than a few things to draw per pixel.
A slice is stored once, in the class of its length, with its exact time: the slices that a window shows are, in
each class, those of a short stretch. Blocks hold up to `BLOCK_ROWS` rows each and are unpacked one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vlmprof_reports.archive import Archive, Ints, pack_columns

BLOCK_ROWS = 8192
SMALL_TRACK = 4096
"""A track of no more rows than this is drawn whole at every zoom."""
BITS_PER_LEVEL = 2
_FULL = 255
_WORTH_BINNING = 4
_BINS_ACROSS = 512
_NAME_BITS = 20


@dataclass(frozen=True, slots=True)
class Slices:
    """n slices of a track in order of their starts; times in ns since the timeline's origin, later in units.

    Attributes:
        lane: row of the track, 0 at the top; slices of one lane do not overlap.
        name: what it is, as a number below 2**20.
        more: further columns, in the order in which the page expects them for this kind of track.
        launch: start of what launched each slice; None for a track of things that are not launched.
    """

    start: Ints
    length: Ints
    lane: Ints
    name: Ints
    more: tuple[Ints, ...] = ()
    launch: Ints | None = None

    def __len__(self) -> int:
        return len(self.start)

    def take(self, rows: Any) -> "Slices":
        """Some of the rows."""
        more = tuple(column[rows] for column in self.more)
        launch = None if self.launch is None else self.launch[rows]
        return Slices(self.start[rows], self.length[rows], self.lane[rows], self.name[rows], more, launch)

    def in_order(self) -> "Slices":
        """Sorted by start, an outer slice before those inside it."""
        return self.take(np.lexsort((self.lane, self.start)))

    def in_units(self, unit: int) -> "Slices":
        """Times in multiples of a unit, rounded so that what is nested stays nested."""
        start, end = self.start // unit, (self.start + self.length) // unit
        launch = None if self.launch is None else self.launch // unit
        return replace(self, start=start, length=end - start, launch=launch)


@dataclass(frozen=True, slots=True)
class _Bins:
    """m occupied bins of one level, by lane and then by number.

    Attributes:
        number: start of the bin in widths; covered: units of it that slices cover.
        count: slices that start in it; longest: the length of the longest above its name, as one number.
    """

    lane: Ints
    number: Ints
    covered: Ints
    count: Ints
    longest: Ints


def slice_tiles(slices: Slices, archive: Archive) -> list[dict[str, Any]]:
    """Store a track's slices and bins; returns its sequences, each a list of blocks in time order.

    Returns:
        For each sequence `level` (slices: the class's lowest level, -1 for the shortest; bins: their level),
        `bins` or not, the blocks' numbers, rows, first start and last end.
    """
    levels = _levels(slices)
    sequences = [
        _sequence(archive, chosen, level) for level, chosen in _classes(slices, levels) if len(chosen)
    ]
    for level, bins in _bins_by_level(slices, levels):
        sequences.append(_bin_sequence(archive, bins, level))
    return sequences


def block_ranges(count: int) -> Iterator[slice]:
    """Rows of each block."""
    return (slice(at, min(count, at + BLOCK_ROWS)) for at in range(0, count, BLOCK_ROWS))


def first_level(lane: Ints, start: Ints) -> int:
    """The lowest level whose bins hold several slices each; lane by lane in order of start."""
    level = 1
    while level < 30 and _occupied(lane, start >> BITS_PER_LEVEL * level) * _WORTH_BINNING > len(start):
        level += 1
    return level


def last_level(extent: int) -> int:
    """The level at which the whole timeline is about a screen of bins."""
    return max(1, (extent // _BINS_ACROSS).bit_length() // BITS_PER_LEVEL)


def _occupied(lane: Ints, number: Ints) -> int:
    changes = (np.diff(number) != 0) | (np.diff(lane) != 0)
    return int(np.count_nonzero(changes)) + 1


def _levels(slices: Slices) -> range:
    if len(slices) <= SMALL_TRACK:
        return range(0)
    by_lane = np.lexsort((slices.start, slices.lane))
    first = first_level(slices.lane[by_lane], slices.start[by_lane])
    extent = int((slices.start + slices.length).max())
    return range(first, max(first, last_level(extent)) + 1)


def _classes(slices: Slices, levels: range) -> Iterator[tuple[int, Slices]]:
    """Slices by length: below the first level, then from each level up to the next, the last without end."""
    level_of = np.full(len(slices), -1)
    for level in levels:
        level_of[slices.length >= 1 << BITS_PER_LEVEL * level] = level
    for level in (-1, *levels):
        yield level, slices.take(level_of == level)


def _bins_by_level(slices: Slices, levels: range) -> Iterator[tuple[int, _Bins]]:
    """The bins of each level: those of the level below, and what is longer than them but no slice here yet."""
    bins = _Bins(*(np.empty(0, np.int64) for _ in range(5)))
    shortest = 0
    for level in levels:
        width = 1 << BITS_PER_LEVEL * level
        new = slices.take((slices.length >= shortest) & (slices.length < width))
        number = bins.number >> BITS_PER_LEVEL if shortest else bins.number
        bins = _summed(
            lane=np.concatenate([bins.lane, new.lane]),
            number=np.concatenate([number, new.start >> BITS_PER_LEVEL * level]),
            covered=np.concatenate([bins.covered, new.length]),
            count=np.concatenate([bins.count, np.ones(len(new), np.int64)]),
            longest=np.concatenate([bins.longest, (new.length << _NAME_BITS) + new.name]),
        )
        shortest = width
        yield level, bins


def _summed(lane: Ints, number: Ints, covered: Ints, count: Ints, longest: Ints) -> _Bins:
    """Rows of the same lane and number as one."""
    if not len(lane):
        return _Bins(lane, number, covered, count, longest)
    order = np.lexsort((number, lane))
    lane, number = lane[order], number[order]
    first = np.flatnonzero(np.concatenate([[True], (np.diff(number) != 0) | (np.diff(lane) != 0)]))
    return _Bins(
        lane[first],
        number[first],
        np.add.reduceat(covered[order], first),
        np.add.reduceat(count[order], first),
        np.maximum.reduceat(longest[order], first),
    )


def _sequence(archive: Archive, slices: Slices, level: int) -> dict[str, Any]:
    blocks = []
    for rows in block_ranges(len(slices)):
        part = slices.take(rows)
        first = int(part.start[0])
        columns = [np.diff(part.start, prepend=first), part.length, part.lane, part.name, *part.more]
        if part.launch is not None:
            columns.append(_signed(np.diff(part.launch, prepend=first)))
        end = int((part.start + part.length).max())
        blocks.append((archive.add(pack_columns(columns)), len(part), first, end))
    return _described(level, blocks, bins=False)


def _signed(column: Ints) -> Ints:
    """Integers of either sign as non-negative ones, small ones staying small: 0, -1, 1, -2 as 0, 1, 2, 3."""
    return np.where(column < 0, -2 * column - 1, 2 * column)


def _bin_sequence(archive: Archive, bins: _Bins, level: int) -> dict[str, Any]:
    in_time = np.lexsort((bins.lane, bins.number))
    width = 1 << BITS_PER_LEVEL * level
    covered = np.clip(bins.covered * _FULL // width, 1, _FULL)
    name = bins.longest & ((1 << _NAME_BITS) - 1)
    blocks = []
    for rows in block_ranges(len(in_time)):
        part = in_time[rows]
        number = bins.number[part]
        columns = [np.diff(number, prepend=number[0]), bins.lane[part], covered[part], bins.count[part]]
        number_block = archive.add(pack_columns([*columns, name[part]]))
        blocks.append((number_block, len(part), int(number[0]) * width, (int(number[-1]) + 1) * width))
    return _described(level, blocks, bins=True)


def _described(level: int, blocks: list[tuple[int, int, int, int]], *, bins: bool) -> dict[str, Any]:
    numbers, rows, starts, ends = zip(*blocks, strict=True) if blocks else ((), (), (), ())
    return {"level": level, "bins": bins, "block": numbers, "rows": rows, "start": starts, "end": ends}
