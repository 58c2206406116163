"""Second pass over a MOJO file: what its samples' stacks are, each distinct one once."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vlmprof.read.compiled import (
    Integer,
    Integers,
    compiled,
    compiled_part,
    grown,
    new_table,
    put,
    slot_of,
    with_room,
)
from vlmprof.read.mojo_events import (
    Bytes,
    Event,
    Flag,
    Layout,
    after_event,
    after_string,
    bytes_equal,
    bytes_hash,
    integer_at,
)
from vlmprof.read.mojo_scan import Found, Rows

MAX_DEPTH = 8192
UNKNOWN_FRAME = 0
EMPTY_STRING, UNKNOWN_STRING = 0, 1  # keys that austin uses and never defines

_REF, _KERNEL, _REPEAT = int(Event.FRAME_REF), int(Event.FRAME_KERNEL), int(Event.STACK_REPEAT)
_STRING = int(Event.STRING)
_UNRESOLVED_FLAG, _MIXED_FLAG = int(Flag.UNRESOLVED), int(Flag.MIXED)


class Symbols(NamedTuple):
    """Strings and frames by (pid, key), as the file has defined them so far.

    string_at is where a string's text begins; frames are (function string, file string, line); used counts
    strings and frames.
    """

    string_slots: Integers
    string_at: Integers
    frame_slots: Integers
    frames: Integers
    used: Integers


class Stacks(NamedTuple):
    """Distinct stacks: the frames of stack s are frames[starts[s]:starts[s + 1]], root first."""

    starts: Integers
    frames: npt.NDArray[np.int32]


class Threads(NamedTuple):
    """Threads by (pid, tid): each one's latest row, and how many keys had changed their meaning by then."""

    slots: Integers
    last_row: Integers
    last_change: Integers


@compiled_part
def new_symbols(definitions: Integer) -> Symbols:
    """Room for so many definitions, and the strings and the frame that stand for what is unknown."""
    symbols = Symbols(
        new_table(definitions),
        np.zeros(definitions + 2, np.int64),
        new_table(definitions),
        np.zeros((definitions + 1, 3), np.int64),
        np.zeros(2, np.int64),
    )
    symbols.used[0], symbols.used[1] = 2, 1
    symbols.frames[UNKNOWN_FRAME, 0] = UNKNOWN_STRING
    return symbols


@compiled_part
def string_of(symbols: Symbols, pid: Integer, key: Integer) -> Integer:
    """Number of the string that a process means by a key."""
    if key == EMPTY_STRING:
        return EMPTY_STRING
    string = symbols.string_slots[slot_of(symbols.string_slots, pid, key), 2]
    return string if string >= 0 else UNKNOWN_STRING


@compiled_part
def define_string(data: Bytes, at: Integer, pid: Integer, symbols: Symbols) -> Integer:
    """Apply a STRING event; true where its key had another meaning before."""
    key, text = integer_at(data, at + 1)
    slot = slot_of(symbols.string_slots, pid, key)
    known = symbols.string_slots[slot, 2]
    # An earlier text lies before this one: as many bytes as this one has are inside the data.
    if known >= 0 and bytes_equal(data, text, symbols.string_at[known], after_string(data, text) - text):
        return False
    put(symbols.string_slots, slot, pid, key, symbols.used[0])
    symbols.string_at[symbols.used[0]] = text
    symbols.used[0] += 1
    return known >= 0


@compiled_part
def define_frame(data: Bytes, at: Integer, pid: Integer, symbols: Symbols) -> Integer:
    """Apply a FRAME event; true where its key had another meaning before."""
    key, at = integer_at(data, at + 1)
    file_key, at = integer_at(data, at)
    function_key, at = integer_at(data, at)
    line, at = integer_at(data, at)
    function, file = string_of(symbols, pid, function_key), string_of(symbols, pid, file_key)
    slot = slot_of(symbols.frame_slots, pid, key)
    known = symbols.frame_slots[slot, 2]
    if known >= 0:
        frame = symbols.frames[known]
        if frame[0] == function and frame[1] == file and frame[2] == line:
            return False
    new = symbols.frames[symbols.used[1]]
    new[0], new[1], new[2] = function, file, line
    put(symbols.frame_slots, slot, pid, key, symbols.used[1])
    symbols.used[1] += 1
    return known >= 0


@compiled_part
def define_until(
    data: Bytes, offset: Integer, found: Found, begin: Integer, symbols: Symbols
) -> tuple[Integer, Integer]:
    """Apply the definitions from number `begin` on that stand before `offset`.

    Returns:
        Number of the first one left, and how many keys changed their meaning.
    """
    changes = 0
    while begin < found.definition_at.shape[0] and found.definition_at[begin] < offset:
        at, pid = found.definition_at[begin], found.definition_pid[begin]
        if data[at] == _STRING:
            changes += define_string(data, at, pid, symbols)
        else:
            changes += define_frame(data, at, pid, symbols)
        begin += 1
    return begin, changes


@compiled_part
def kernel_frame(data: Bytes, text: Integer, after: Integer, symbols: Symbols) -> Integer:
    """The frame of a kernel function, which stands in the sample by its name."""
    key = bytes_hash(data, text, after - text)
    slot = slot_of(symbols.frame_slots, -1, key)
    if symbols.frame_slots[slot, 2] < 0:
        string, frame = symbols.used[0], symbols.used[1]
        symbols.string_at[string] = text
        symbols.frames[frame, 0] = string
        put(symbols.frame_slots, slot, -1, key, frame)
        symbols.used[0] += 1
        symbols.used[1] += 1
    return symbols.frame_slots[slot, 2]


@compiled_part
def stack_at(  # noqa: PLR0917
    data: Bytes,
    at: Integer,
    end: Integer,
    pid: Integer,
    layout: Layout,
    symbols: Symbols,
    before: Any,
    stack: Any,
) -> tuple[Integer, bool]:
    """Write the frames of one sample, root first, into `stack`.

    Args:
        before: the same thread's previous stack, which a STACK_REPEAT stands for.

    Returns:
        How many frames, at most MAX_DEPTH, and whether one of them was never defined.
    """
    depth = 0
    unresolved = False
    while at < end:
        event = data[at]
        after = after_event(data, at, layout.integers[event], layout.strings[event])
        if event == _REPEAT:
            repeated = min(before.shape[0], MAX_DEPTH - depth)
            for step in range(repeated):
                stack[depth + step] = before[step]
            depth += repeated
        elif event in (_REF, _KERNEL) and depth < MAX_DEPTH:
            if event == _REF:
                key, _after = integer_at(data, at + 1)
                frame = symbols.frame_slots[slot_of(symbols.frame_slots, pid, key), 2]
            else:
                frame = kernel_frame(data, at + 1, after, symbols)
            unresolved |= frame < 0
            stack[depth] = max(frame, UNKNOWN_FRAME)
            depth += 1
        at = after
    return depth, unresolved


@compiled_part
def stack_hash(stack: Any) -> Integer:
    """A hash of a stack's frames and their order."""
    value = np.int64(stack.shape[0])
    for frame in stack:
        value = (value ^ np.int64(frame)) * np.int64(1099511628211)
        value ^= value >> 31
    return value


@compiled_part
def is_stack(stacks: Stacks, number: Integer, stack: Any) -> bool:
    """Whether the distinct stack of this number has exactly these frames."""
    begin = stacks.starts[number]
    if stacks.starts[number + 1] - begin != stack.shape[0]:
        return False
    for step in range(stack.shape[0]):  # noqa: SIM110
        if stacks.frames[begin + step] != stack[step]:
            return False
    return True


@compiled_part
def intern(table: Integers, stacks: Stacks, count: Integer, stack: Any) -> tuple[Stacks, Integer]:
    """Number of a stack among the `count` distinct ones, and the stacks, to which a new one is added.

    Two stacks of equal hash are told apart by their frames.
    """
    key = stack_hash(stack)
    slot = slot_of(table, key, 0)
    while table[slot, 2] >= 0:
        if is_stack(stacks, table[slot, 2], stack):
            return stacks, table[slot, 2]
        key += 1
        slot = slot_of(table, key, 0)
    put(table, slot, key, 0, count)
    begin = stacks.starts[count]
    stop = begin + stack.shape[0]
    stacks = Stacks(grown(stacks.starts, count + 2), grown(stacks.frames, stop))
    for step in range(stack.shape[0]):
        stacks.frames[begin + step] = stack[step]
    stacks.starts[count + 1] = stop
    return stacks, count


@compiled_part
def with_thread(threads: Threads, count: Integer, pid: Integer, tid: Integer) -> Threads:
    """The `count` known threads and one more, which has no rows yet."""
    put(threads.slots, slot_of(threads.slots, pid, tid), pid, tid, count)
    threads = Threads(
        with_room(threads.slots, count + 1),
        grown(threads.last_row, count + 1),
        grown(threads.last_change, count + 1),
    )
    threads.last_row[count] = -1
    return threads


@compiled_part
def seen_before(data: Bytes, rows: Rows, row: Integer, slot: Integer, bytes_table: Integers) -> Integer:
    """The earlier row of the same process that has the same bytes for its frames, or -1."""
    other = bytes_table[slot, 2]
    if other < 0 or rows.pid[other] != rows.pid[row] or rows.frames_bytes[other] != rows.frames_bytes[row]:
        return -1
    return (
        other if bytes_equal(data, rows.frames_at[row], rows.frames_at[other], rows.frames_bytes[row]) else -1
    )


@compiled
def intern_rows(
    data: Bytes, layout: Layout, rows: Rows, found: Found, symbol_count: Integer
) -> tuple[npt.NDArray[np.int32], Stacks, Symbols]:
    """Number each row's stack, reading the definitions as they come.

    austin's caches are small: a key that was forgotten is defined again, and may then mean another frame. As
    long as no key changes its meaning, a process's equal bytes are equal stacks, and need not be looked up frame
    by frame: most rows repeat the bytes of their thread's previous row, most others those of some earlier row.
    """
    symbols = new_symbols(symbol_count)
    stack_id = np.empty(rows.pid.shape[0], np.int32)
    stacks = Stacks(np.zeros(1024, np.int64), np.zeros(16384, np.int32))
    stack_table, stack_count = new_table(1024), 0
    bytes_table, bytes_count = new_table(1024), 0
    threads, thread_count = Threads(new_table(64), np.zeros(64, np.int64), np.zeros(64, np.int64)), 0
    scratch = np.zeros(MAX_DEPTH, np.int32)
    changes = definition = 0
    for row in range(rows.pid.shape[0]):
        if (
            definition < found.definition_at.shape[0]
            and found.definition_at[definition] < rows.end_offset[row]
        ):
            definition, changed = define_until(data, rows.end_offset[row], found, definition, symbols)
            changes += changed
        pid, tid = rows.pid[row], rows.tid[row]
        at, size = rows.frames_at[row], rows.frames_bytes[row]
        thread = threads.slots[slot_of(threads.slots, pid, tid), 2]
        if thread < 0:
            threads, thread = with_thread(threads, thread_count, pid, tid), thread_count
            thread_count += 1
        before = threads.last_row[thread]
        equal = np.int64(-1)
        if (
            before >= 0
            and threads.last_change[thread] == changes
            and rows.frames_bytes[before] == size
            and bytes_equal(data, at, rows.frames_at[before], size)
        ):
            equal = before
        elif not rows.flags[row] & _MIXED_FLAG:
            # Not so with a STACK_REPEAT, which means another stack in each thread.
            key = bytes_hash(data, at, size)
            slot = slot_of(bytes_table, key, changes)
            equal = seen_before(data, rows, row, slot, bytes_table)
            # The latest row of these bytes is the one that is likely to be in the processor's cache.
            bytes_count += bytes_table[slot, 2] < 0
            put(bytes_table, slot, key, changes, row)
            bytes_table = with_room(bytes_table, bytes_count)
        if equal >= 0:
            stack_id[row] = stack_id[equal]
            rows.flags[row] |= rows.flags[equal] & _UNRESOLVED_FLAG
        else:
            repeated = stacks.frames[:0]
            if before >= 0:
                repeated = stacks.frames[
                    stacks.starts[stack_id[before]] : stacks.starts[stack_id[before] + 1]
                ]
            depth, unresolved = stack_at(data, at, at + size, pid, layout, symbols, repeated, scratch)
            stacks, stack_id[row] = intern(stack_table, stacks, stack_count, scratch[:depth])
            stack_count = max(stack_count, stack_id[row] + 1)
            stack_table = with_room(stack_table, stack_count)
            rows.flags[row] |= unresolved * _UNRESOLVED_FLAG
        threads.last_row[thread], threads.last_change[thread] = row, changes
    stacks = Stacks(stacks.starts[: stack_count + 1], stacks.frames[: stacks.starts[stack_count]])
    return stack_id, stacks, symbols


@compiled
def intern_stacks(stacks: Stacks) -> tuple[Stacks, npt.NDArray[np.int32]]:
    """Stacks without duplicates, and for each old stack its number among them."""
    count = stacks.starts.shape[0] - 1
    distinct = Stacks(np.zeros(count + 1, np.int64), np.zeros(stacks.frames.shape[0], np.int32))
    table, used = new_table(count), 0
    number = np.zeros(count, np.int32)
    for old in range(count):
        stack = stacks.frames[stacks.starts[old] : stacks.starts[old + 1]]
        distinct, number[old] = intern(table, distinct, used, stack)
        used = max(used, number[old] + 1)
    return Stacks(distinct.starts[: used + 1], distinct.frames[: distinct.starts[used]]), number
