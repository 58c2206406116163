"""Tiles of the report's timeline: everything once, by length; bins for what is too short to see."""

import base64
import zlib
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from vlmprof_reports.archive import Archive, pack_columns
from vlmprof_reports.tile_stacks import Runs, coarser, joined
from vlmprof_reports.tiles import BITS_PER_LEVEL, BLOCK_ROWS, Slices, slice_tiles

Ints = npt.NDArray[np.int64]


def _unpack(archive: Archive, block: int, rows: int) -> list[Ints]:
    """What the page's own reader does: columns of byte planes."""
    content = zlib.decompress(base64.b64decode(archive.texts[block]), -zlib.MAX_WBITS)
    columns, at = [], 0
    while at < len(content):
        planes, at = content[at], at + 1
        column = np.zeros(rows, dtype=np.int64)
        for plane in range(planes):
            column += np.frombuffer(content[at : at + rows], np.uint8).astype(np.int64) << (8 * plane)
            at += rows
        columns.append(column)
    return columns


def _many(count: int) -> Slices:
    """Two lanes of random slices, most of them short."""
    dice = np.random.default_rng(3)
    lane = np.arange(count) % 2
    length = np.maximum(1, dice.lognormal(4, 1.5, count)).astype(np.int64)
    start = np.cumsum(length + dice.integers(0, 50, count)) - length
    return Slices(start, length, lane, dice.integers(0, 9, count)).in_order()


@pytest.mark.parametrize("values", [[0, 0], [1, 255], [256, 3], [2**40, 1]])
def test_packed_columns_read_back(values: list[int]) -> None:
    """Zero planes for zeros, six for 2**40."""
    archive = Archive()
    number = archive.add(pack_columns([np.array(values), np.array([7, 8])]))
    first, second = _unpack(archive, number, 2)
    assert first.tolist() == values
    assert second.tolist() == [7, 8]


def test_a_negative_value_cannot_be_packed() -> None:
    """Planes have no sign."""
    with pytest.raises(ValueError, match="-1"):
        pack_columns([np.array([-1])])


def test_blocks_follow_one_another_in_the_text() -> None:
    """The lengths say where each begins."""
    archive = Archive()
    for content in (b"one", b"two" * 99):
        archive.add(content)
    first = archive.lengths[0]
    assert archive.text()[first : first + archive.lengths[1]] == archive.texts[1]


def test_every_slice_is_stored_once_with_its_exact_time() -> None:
    """The union of all classes is what went in."""
    slices, archive = _many(30_000), Archive()
    found = []
    for sequence in slice_tiles(slices, archive):
        for block, rows, first in zip(sequence["block"], sequence["rows"], sequence["start"], strict=True):
            assert rows <= BLOCK_ROWS
            if not sequence["bins"]:
                step, length, lane, name = _unpack(archive, block, rows)
                found.append(np.stack([first + np.cumsum(step), length, lane, name]))
    stored = np.concatenate(found, axis=1)
    expected = np.stack([slices.start, slices.length, slices.lane, slices.name])
    assert np.array_equal(stored[:, np.lexsort(stored)], expected[:, np.lexsort(expected)])


def test_bins_hold_exactly_what_is_shorter_than_they_are_wide() -> None:
    """At each level the counts of the bins are the slices below its width, and of those above it none."""
    slices, archive = _many(30_000), Archive()
    levels = 0
    for sequence in slice_tiles(slices, archive):
        if sequence["bins"]:
            count = sum(
                int(_unpack(archive, block, rows)[3].sum())
                for block, rows in zip(sequence["block"], sequence["rows"], strict=True)
            )
            assert count == np.count_nonzero(slices.length < 1 << BITS_PER_LEVEL * sequence["level"])
            levels += 1
    assert levels >= 2


def test_no_level_has_many_more_bins_than_half_the_one_below() -> None:
    """Zooming out, there is less to draw each time."""
    sequences = [s for s in slice_tiles(_many(30_000), Archive()) if s["bins"]]
    rows = [sum(sequence["rows"]) for sequence in sequences]
    assert all(above <= below for below, above in pairwise(rows))
    assert rows[0] <= 30_000 / 4


def test_a_small_track_has_no_bins() -> None:
    """A hundred slices are drawn at every zoom."""
    assert [sequence["bins"] for sequence in slice_tiles(_many(100), Archive())] == [False]


def test_rounding_keeps_what_is_nested_nested() -> None:
    """[10, 19) inside [10, 21) in units of 4: [2, 4) inside [2, 5)."""
    slices = Slices(np.array([10, 10]), np.array([11, 9]), np.array([0, 1]), np.array([0, 0]))
    rounded = slices.in_units(4)
    assert rounded.start.tolist() == [2, 2]
    assert (rounded.start + rounded.length).tolist() == [5, 4]


def test_neighbouring_samples_of_one_stack_are_one_run() -> None:
    """Three samples of two stacks without a gap, then a gap and the second stack again."""
    runs = joined(np.array([0, 10, 20, 50]), np.full(4, 10), np.array([7, 7, 8, 8]))
    assert runs.start.tolist() == [0, 20, 50]
    assert runs.length.tolist() == [20, 10, 10]
    assert runs.node.tolist() == [7, 8, 8]


def test_an_overlap_of_samples_is_cut_off_the_later_one() -> None:
    """[0, 12) and [10, 20): the second becomes [12, 20)."""
    runs = joined(np.array([0, 10]), np.array([12, 10]), np.array([1, 2]))
    assert runs.start.tolist() == [0, 12]
    assert runs.length.tolist() == [12, 8]


def test_a_bin_stands_for_the_stack_in_the_middle_of_its_time() -> None:
    """Nodes 3, 4 and 5 are below node 2: with 6 of 10 units they win over node 9, which has 4 alone."""
    runs = Runs(np.array([0, 4, 6, 8]), np.array([4, 2, 2, 2]), np.array([9, 3, 4, 5]))
    binned = coarser(runs, 2)
    assert binned.start.tolist() == [0]
    assert binned.length.tolist() == [10]
    assert binned.node.tolist() == [5]


def test_a_run_as_long_as_a_bin_stays_as_it_is() -> None:
    """Of 100 units at a level of 16."""
    runs = Runs(np.array([3, 103]), np.array([100, 2]), np.array([1, 2]))
    binned = coarser(runs, 2)
    assert (binned.start[0], binned.length[0], binned.node[0]) == (3, 100, 1)
