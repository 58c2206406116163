"""First pass over a MOJO file: where each sample stands, of which thread it is, and how long it took."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vlmprof.read.compiled import (
    Integer,
    Integers,
    compiled,
    compiled_part,
    new_table,
    put,
    slot_of,
    with_room,
)
from vlmprof.read.mojo_events import (
    CUT,
    DAMAGED,
    HEADER_BYTES,
    MAX_TID,
    Bytes,
    Event,
    Flag,
    Layout,
    after_event,
    after_references,
    after_string,
    bytes_hash,
    hex_number,
    integer_at,
)

MAX_DURATION_US = 2**42

# Compiled code sees integers, not members of an enumeration.
_METADATA, _STACK, _FRAME, _STRING = (
    int(Event.METADATA),
    int(Event.STACK),
    int(Event.FRAME),
    int(Event.STRING),
)
_INVALID, _KERNEL, _TASK = int(Event.FRAME_INVALID), int(Event.FRAME_KERNEL), int(Event.TASK_STACK)
_GC, _IDLE, _TIME, _MEMORY = int(Event.GC), int(Event.IDLE), int(Event.METRIC_TIME), int(Event.METRIC_MEMORY)
_IDLE_FLAG, _GC_FLAG, _INVALID_FLAG, _MIXED_FLAG = (
    int(Flag.IDLE),
    int(Flag.GC),
    int(Flag.INVALID),
    int(Flag.MIXED),
)


class Rows(NamedTuple):
    """One entry a sample.

    tid is the kernel's thread id, or -1 - n for the n-th thread that goes by a name; the frames' events stand in
    [frames_at, frames_at + frames_bytes); end_offset is where the sample's last event ends.
    """

    pid: npt.NDArray[np.int32]
    tid: Integers
    duration_us: Integers
    frames_at: Integers
    frames_bytes: npt.NDArray[np.int32]
    end_offset: Integers
    flags: Bytes


class Found(NamedTuple):
    """Positions of what is not a sample: definitions (with the process they belong to), metadata, thread names."""

    definition_at: Integers
    definition_pid: npt.NDArray[np.int32]
    metadata_at: Integers
    name_at: Integers


class Counts(NamedTuple):
    """How much of each a scan found; `cut` where the file ends inside an event or a sample."""

    rows: int
    definitions: int
    kernel_frames: int
    metadata: int
    names: int
    damaged: int
    cut: bool


@compiled
def count_bytes(data: Bytes) -> Integers:
    """How often each byte value occurs: an upper bound of how many events of each id there are."""
    counts = np.zeros(256, np.int64)
    for byte in data:
        counts[byte] += 1
    return counts


def used_part(rows: Rows, found: Found, counts: Counts) -> tuple[Rows, Found]:
    """What a scan filled of the room that it was given."""
    columns: list[Any] = [column[: counts.rows] for column in rows]
    return Rows(*columns), Found(
        found.definition_at[: counts.definitions],
        found.definition_pid[: counts.definitions],
        found.metadata_at[: counts.metadata],
        found.name_at[: counts.names],
    )


def room_for(data: Bytes) -> tuple[Rows, Found]:
    """Arrays as long as they can need to be; memory that is never written is never taken from the system."""
    occurrences = count_bytes(data)
    rows, definitions = int(occurrences[_STACK]), int(occurrences[_FRAME] + occurrences[_STRING])
    return (
        Rows(
            np.empty(rows, np.int32),
            np.empty(rows, np.int64),
            np.empty(rows, np.int64),
            np.empty(rows, np.int64),
            np.empty(rows, np.int32),
            np.empty(rows, np.int64),
            np.empty(rows, np.uint8),
        ),
        Found(
            np.empty(definitions, np.int64),
            np.empty(definitions, np.int32),
            np.empty(int(occurrences[_METADATA]), np.int64),
            np.empty(rows, np.int64),
        ),
    )


@compiled_part
def stack_fields(data: Bytes, at: Integer, integers: Integer) -> tuple[Integer, Integer]:
    """Pid of the STACK event at `at`, and where its thread's text begins: CUT or DAMAGED where it has none."""
    pid, thread = integer_at(data, at + 1)
    if thread > 0 and integers == 2:
        _interpreter, thread = integer_at(data, thread)
    return pid, thread


@compiled_part
def next_stack(data: Bytes, at: Integer, integers: Integer) -> Integer:
    """Where reading can go on after damage: the next STACK event whose pid and thread are plausible."""
    end = data.shape[0]
    while at < end:
        if data[at] == _STACK:
            pid, thread = stack_fields(data, at, integers)
            if thread > 0 and 0 < pid <= MAX_TID:
                after = after_string(data, thread)
                if after > 0 and hex_number(data, thread, after - 1) > 0:
                    return at
        at += 1
    return end


@compiled_part
def named_thread(  # noqa: PLR0917
    data: Bytes, at: Integer, end: Integer, known: Integers, name_at: Integers, count: Integer
) -> Integer:
    """Thread id of the name in [at, end): -1 - n for the n-th distinct one, of which `count` are known."""
    text_hash = bytes_hash(data, at, end - at)
    slot = slot_of(known, text_hash, end - at)
    if known[slot, 2] < 0:
        name_at[count] = at
        put(known, slot, text_hash, end - at, count)
    return -1 - known[slot, 2]


@compiled_part
def flag_of(event: Integer) -> Integer:
    """The flag that an event sets on the row in which it stands."""
    if event == _IDLE:
        return _IDLE_FLAG
    if event == _GC:
        return _GC_FLAG
    return _INVALID_FLAG if event == _INVALID else 0


@compiled
def scan_rows(  # noqa: PLR0912, PLR0915
    data: Bytes, layout: Layout, rows: Rows, found: Found
) -> Counts:
    """Find every complete sample, and the positions of everything that the samples refer to.

    A sample is complete once its metric has been read. After an event that makes no sense, reading goes on at
    the next plausible sample; the one that was being read is dropped and counted as damaged.

    One long function, as its columns are best passed to no other: compiled code counts references to arrays at
    each call, which made this loop ten times slower.
    """
    end = data.shape[0]
    at = HEADER_BYTES
    row = definitions = kernel_frames = metadata = names = damaged = 0
    known_names = new_table(16)
    is_open = is_measured = in_task = False
    pid = np.int64(0)
    while at < end:
        event = data[at]
        after = after_event(data, at, layout.integers[event], layout.strings[event])
        if after == CUT:
            break
        if after == DAMAGED:
            damaged += 1
            row += is_measured
            is_open = is_measured = in_task = False
            at = next_stack(data, at + 1, layout.integers[_STACK])
            continue
        if event == _STACK:
            damaged += is_open and not is_measured
            row += is_measured
            is_open, is_measured, in_task = True, False, False
            pid, thread = stack_fields(data, at, layout.integers[_STACK])
            tid = hex_number(data, thread, after - 1)
            if tid < 0:
                tid = named_thread(data, thread, after - 1, known_names, found.name_at, names)
                names = max(names, -tid)
                known_names = with_room(known_names, names)
            rows.pid[row] = pid
            rows.tid[row] = tid
            rows.duration_us[row] = 0
            rows.flags[row] = 0
            rows.frames_at[row] = after
            after = after_references(data, after)
            rows.frames_bytes[row] = after - rows.frames_at[row]
        elif event in (_STRING, _FRAME):
            found.definition_at[definitions] = at
            found.definition_pid[definitions] = pid
            definitions += 1
        elif event == _METADATA:
            found.metadata_at[metadata] = at
            metadata += 1
        elif event == _TASK:
            in_task = True
        elif in_task:
            # A task's stack, which follows the sample of its thread, ends with a time of its own.
            in_task = event != _TIME
        elif is_open and event in (_TIME, _MEMORY):
            if event == _TIME:
                duration_us, _after = integer_at(data, at + 1)
                rows.duration_us[row] = duration_us if duration_us <= MAX_DURATION_US else 0
            rows.end_offset[row] = after
            is_measured = True
        elif is_open:
            rows.flags[row] |= flag_of(event)
            if is_measured:
                rows.end_offset[row] = after
            elif event != _GC:
                rows.frames_bytes[row] = after - rows.frames_at[row]
                rows.flags[row] |= _MIXED_FLAG
            kernel_frames += event == _KERNEL
        at = after
    cut = at < end or (is_open and not is_measured)
    return Counts(row + is_measured, definitions, kernel_frames, metadata, names, damaged, cut)
