"""Integer columns of an SQLite table, decoded from the file's pages by compiled code.

Asking SQLite for 10 million rows costs a Python object a value, ten times what the recording's own analysis may
take. Only the leaves of a table's b-tree are decoded here; whatever else a database can hold is for SQLite.

Source:
    https://www.sqlite.org/fileformat2.html, sections 1.6 (b-tree pages) and 2.1 (record format).
"""

import mmap
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vlmprof.read.compiled import Integer, Integers, compiled, compiled_part, grown

NULL = int(np.iinfo(np.int64).min)
"""Stands for SQL's NULL; no time, id or size of a recording is this number."""

_LEAF, _INTERIOR = 13, 5
_BATCH_BYTES = 64 << 20
_LONGEST = 1 << 31


class PageScan(IntEnum):
    """How reading a table's pages ended."""

    OK = 0
    DAMAGED = 1
    ELSEWHERE = 2
    """A value stands in an overflow page."""
    NOT_INTEGER = 3


class Pages(NamedTuple):
    """A database's bytes, the size of its pages, and how much of each is used."""

    data: Any
    page_bytes: int
    usable: int


@compiled_part
def number16(data: Any, at: Integer) -> Integer:
    """Big-endian, as all of SQLite's numbers."""
    return np.int64(data[at]) << 8 | np.int64(data[at + 1])


@compiled_part
def number32(data: Any, at: Integer) -> Integer:
    """A page number."""
    return number16(data, at) << 16 | number16(data, at + 2)


@compiled_part
def varint_at(data: Any, at: Integer, end: Integer) -> tuple[Integer, Integer]:
    """A number of 1 to 9 bytes and the position after it, -1 where it would pass the end."""
    value = np.int64(0)
    for index in range(9):
        if at >= end:
            return value, -1
        byte = np.int64(data[at])
        at += 1
        if index == 8:
            return value << 8 | byte, at
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return value, at


@compiled_part
def signed_at(data: Any, at: Integer, size: Integer) -> Integer:
    """A two's complement number of 1 to 8 bytes."""
    value = np.int64(data[at])
    if value >= 0x80:
        value -= 0x100
    for index in range(1, size):
        value = value << 8 | np.int64(data[at + index])
    return value


@compiled_part
def size_of(serial_type: Integer) -> Integer:
    """Bytes of a value of a record, by its type's number."""
    if serial_type >= 12:
        return min((serial_type - 12) // 2, _LONGEST)  # a damaged length must not overflow the sum of lengths
    if serial_type <= 4:
        return serial_type
    if serial_type == 5:
        return 6
    return 8 if serial_type <= 7 else 0


@compiled
def find_leaves(pages: Pages, root: Integer) -> tuple[Integers, Integer]:
    """Numbers of a table's leaf pages in order of their rows; none and not OK where the tree is damaged."""
    data, page_bytes = pages.data, pages.page_bytes
    page_count = len(data) // page_bytes
    waiting, leaves = np.empty(64, np.int64), np.empty(1024, np.int64)
    waiting[0] = root
    depth, found, visited = 1, 0, 0
    while depth > 0:
        depth -= 1
        page, visited = waiting[depth], visited + 1
        # A damaged tree may refer to a page above itself: more visits than pages end the walk.
        if page < 1 or page > page_count or visited > page_count:
            return leaves[:0], 1
        base = (page - 1) * page_bytes
        head = base + 100 if page == 1 else base
        cells = number16(data, head + 3)
        if data[head] == _LEAF:
            leaves = grown(leaves, found + 1)
            leaves[found] = page
            found += 1
            continue
        if data[head] != _INTERIOR or head + 12 + 2 * cells > base + page_bytes:
            return leaves[:0], 1
        waiting = grown(waiting, depth + cells + 1)
        waiting[depth] = number32(data, head + 8)
        depth += 1
        for cell in range(cells - 1, -1, -1):
            pointer = number16(data, head + 12 + 2 * cell)
            if pointer + 4 > page_bytes:
                return leaves[:0], 1
            waiting[depth] = number32(data, base + pointer)
            depth += 1
    return leaves[:found], 0


@compiled
def count_cells(pages: Pages, leaves: Integers) -> Integer:
    """How many rows the leaves hold; -1 where one states more than it has room for."""
    total = 0
    for page in leaves:
        base = (page - 1) * pages.page_bytes
        head = base + 100 if page == 1 else base
        cells = number16(pages.data, head + 3)
        if head + 8 + 2 * cells > base + pages.page_bytes:
            return -1
        total += cells
    return total


@compiled_part
def read_record(data: Any, at: Integer, end: Integer, slots: Integers, values: Any) -> Integer:
    """Put the wanted integers of one record, whose local part ends at `end`, into their slots."""
    header_bytes, cursor = varint_at(data, at, end)
    if cursor < 0 or header_bytes < 1 or header_bytes > end - at:
        return 2 if header_bytes > end - at else 1
    body = header_end = at + header_bytes
    for slot in slots:
        if cursor >= header_end:
            break  # columns that were added later are absent from older rows
        serial_type, cursor = varint_at(data, cursor, header_end)
        if cursor < 0 or serial_type < 0:
            return 1
        size = size_of(serial_type)
        if slot >= 0 and serial_type != 0:
            if serial_type == 7 or serial_type > 9:
                return 3
            if body + size > end:
                return 2
            values[slot] = serial_type - 8 if serial_type >= 8 else signed_at(data, body, size)
        body += size
    return 0


@compiled_part
def local_bytes(payload: Integer, usable: Integer) -> Integer:
    """How much of a record stands in its leaf; the rest is in overflow pages."""
    most = usable - 35
    if payload <= most:
        return payload
    least = (usable - 12) * 32 // 255 - 23
    kept = least + (payload - least) % (usable - 4)
    return kept if kept <= most else least


@compiled
def scan_leaves(pages: Pages, leaves: Integers, slots: Integers, values: Any) -> Integer:
    """Decode the rows of some leaves.

    Args:
        slots: per column of the table, up to the last that is wanted, its row in `values`, or -1.
        values: filled with NULL; its last row takes the row ids.

    Returns:
        A `PageScan`.
    """
    data, page_bytes = pages.data, pages.page_bytes
    row = 0
    for page in leaves:
        base = (page - 1) * page_bytes
        end = base + page_bytes
        head = base + 100 if page == 1 else base
        cells = number16(data, head + 3)
        for cell in range(cells):
            at = base + number16(data, head + 8 + 2 * cell)
            payload, at = varint_at(data, at, end)
            if at < 0 or payload < 0:
                return 1
            row_id, at = varint_at(data, at, end)
            local_end = at + local_bytes(payload, pages.usable)
            if at < 0 or local_end > end:
                return 1
            status = read_record(data, at, local_end, slots, values[:, row])
            if status != 0:
                return status
            values[len(values) - 1, row] = row_id
            row += 1
    return 0


def read_integers(path: Path, root: int, columns: Sequence[int]) -> tuple[PageScan, Integers]:
    """Some columns of an ordinary table.

    Args:
        root: the table's root page, from sqlite_master.
        columns: positions of the wanted columns in the table; at least one.

    Returns:
        How it ended, and an array of (len(columns) + 1, rows): the columns, NULL where they are, and the row ids.
    """
    slots = np.full(max(columns) + 1, -1, np.int64)
    slots[list(columns)] = np.arange(len(columns))
    parts = [np.empty((len(columns) + 1, 0), np.int64)]
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        pages = _pages(memory)
        leaves, status = find_leaves(pages, root)
        batch = _BATCH_BYTES // pages.page_bytes
        for first in range(0, len(leaves), batch):
            some = leaves[first : first + batch]
            rows = count_cells(pages, some)
            values = np.full((len(columns) + 1, max(0, rows)), NULL, np.int64)
            status = scan_leaves(pages, some, slots, values) if rows >= 0 else PageScan.DAMAGED
            memory.madvise(mmap.MADV_DONTNEED)  # pages that were read count as this process's memory
            if status:
                break
            parts.append(values)
    return PageScan(int(status)), np.concatenate(parts, axis=1)


def _pages(memory: mmap.mmap) -> Pages:
    stated = int.from_bytes(memory[16:18], "big")
    page_bytes = 65536 if stated == 1 else stated
    return Pages(np.frombuffer(memory, np.uint8), page_bytes, page_bytes - memory[20])
