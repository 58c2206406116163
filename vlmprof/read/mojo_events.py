"""The MOJO format: its events, and how to step from one to the next.

A MOJO file is `MOJ`, a version, and events: one byte of event id, then the integers and the strings of that
event. Integers hold 6 bits and a sign in the first byte, 7 bits in each further one; strings end with a NUL.
No byte is read before its position has been compared with the end of the data.

Source:
    austin's src/mojo.h and src/events.c; austin-python's austin/format/mojo.py. MOJO 3 is written by austin 3.6,
    3.7 and 4.0; MOJO 4 (stack repeats, tasks, threads by name) by what follows 4.0.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlmprof.read.compiled import Integer, Integers, compiled_part

Bytes = npt.NDArray[np.uint8]

MAGIC = b"MOJ"
NEWEST_VERSION = 4
HEADER_BYTES = 4
MAX_TID = 2**22  # PID_MAX_LIMIT of Linux
CUT, DAMAGED = -1, -2


class Event(IntEnum):
    """Event ids; the same in every version, which only adds to them."""

    METADATA = 1
    STACK = 2
    FRAME = 3
    FRAME_INVALID = 4
    FRAME_REF = 5
    FRAME_KERNEL = 6
    GC = 7
    IDLE = 8
    METRIC_TIME = 9
    METRIC_MEMORY = 10
    STRING = 11
    STRING_REF = 12
    STACK_REPEAT = 13
    TASK_STACK = 14
    TASK_WAITER = 15


_FRAME_REF = int(Event.FRAME_REF)


class Flag(IntEnum):
    """Bits of a row's flags."""

    IDLE = 1
    GC = 2
    INVALID = 4  # austin could not unwind the whole stack
    UNRESOLVED = 8  # the file refers to a frame that it never defined
    MIXED = 16  # other events than FRAME_REF stand among the frames


class Layout(NamedTuple):
    """How many integers and then strings follow each event id; -1 integers: no such event."""

    integers: Integers
    strings: Integers


def layout_of(version: int) -> Layout:
    """The events of one MOJO version: 2 gave frames columns, 3 gave stacks an interpreter, 4 added three events."""
    integers = np.full(256, -1, np.int64)
    strings = np.zeros(256, np.int64)
    events = {
        Event.METADATA: (0, 2),
        Event.STACK: (2 if version >= 3 else 1, 1),
        Event.FRAME: (7 if version >= 2 else 4, 0),
        Event.FRAME_INVALID: (0, 0),
        Event.FRAME_REF: (1, 0),
        Event.FRAME_KERNEL: (0, 1),
        Event.GC: (0, 0),
        Event.IDLE: (0, 0),
        Event.METRIC_TIME: (1, 0),
        Event.METRIC_MEMORY: (1, 0),
        Event.STRING: (1, 1),
        Event.STRING_REF: (1, 0),
    }
    if version >= 4:
        events |= {Event.STACK_REPEAT: (0, 0), Event.TASK_STACK: (2, 0), Event.TASK_WAITER: (2, 0)}
    for event, (integer_count, string_count) in events.items():
        integers[event], strings[event] = integer_count, string_count
    return Layout(integers, strings)


@compiled_part
def integer_at(data: Bytes, at: Integer) -> tuple[Integer, Integer]:
    """(value without its sign, position after it); the position is CUT or DAMAGED where there is no value."""
    end = data.shape[0]
    if at >= end:
        return 0, CUT
    byte = np.int64(data[at])
    at += 1
    value = byte & 0x3F
    shift = 6
    while byte & 0x80:
        if shift > 62:
            return 0, DAMAGED
        if at >= end:
            return 0, CUT
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
    return value, at


@compiled_part
def after_string(data: Bytes, at: Integer) -> Integer:
    """Position after the NUL that ends a string, or CUT."""
    end = data.shape[0]
    while at < end:
        if data[at] == 0:
            return at + 1
        at += 1
    return CUT


@compiled_part
def after_event(data: Bytes, at: Integer, integers: Integer, strings: Integer) -> Integer:
    """Position after the event at `at`, which has so many integers and strings.

    CUT where the data ends first, DAMAGED where there is no such event or an integer is longer than 64 bits.
    """
    if integers < 0:
        return DAMAGED
    at += 1
    for _ in range(integers):
        _value, at = integer_at(data, at)
        if at < 0:
            return at
    for _ in range(strings):
        at = after_string(data, at)
        if at < 0:
            return at
    return at


@compiled_part
def after_references(data: Bytes, at: Integer) -> Integer:
    """Position after the run of whole FRAME_REF events at `at`: nearly all of a file is such runs."""
    end = data.shape[0]
    while at < end and data[at] == _FRAME_REF:
        step = at + 1
        while step < end and data[step] & 0x80:
            step += 1
        if step >= end or step - at > 10:
            break
        at = step + 1
    return at


@compiled_part
def hex_number(data: Bytes, at: Integer, end: Integer) -> Integer:
    """The lower-case hex number that fills [at, end), or -1 where it is none or no kernel's thread id."""
    value: Integer = 0
    if at == end or end - at > 15:
        return -1
    for position in range(at, end):
        byte = np.int64(data[position])
        if 48 <= byte <= 57:
            value = value * 16 + byte - 48
        elif 97 <= byte <= 102:
            value = value * 16 + byte - 87
        else:
            return -1
    return value if value <= MAX_TID else -1


@compiled_part
def word_at(data: Bytes, at: Integer) -> Integer:
    """Eight bytes as one number; the compiler makes a single load of it."""
    word = np.int64(data[at]) | np.int64(data[at + 1]) << 8 | np.int64(data[at + 2]) << 16
    word |= np.int64(data[at + 3]) << 24 | np.int64(data[at + 4]) << 32 | np.int64(data[at + 5]) << 40
    return word | np.int64(data[at + 6]) << 48 | np.int64(data[at + 7]) << 56


@compiled_part
def bytes_equal(data: Bytes, one: Integer, other: Integer, count: Integer) -> bool:
    """Whether `count` bytes at two positions are the same; the caller knows that both lie inside the data."""
    words = count // 8
    for word in range(words):
        if word_at(data, one + 8 * word) != word_at(data, other + 8 * word):
            return False
    for step in range(8 * words, count):  # noqa: SIM110 - compiled code has no generators
        if data[one + step] != data[other + step]:
            return False
    return True


@compiled_part
def bytes_hash(data: Bytes, at: Integer, count: Integer) -> Integer:
    """A 64-bit hash of `count` bytes."""
    value = np.int64(count)
    words = count // 8
    for word in range(words):
        value = (value ^ word_at(data, at + 8 * word)) * np.int64(-7046029254386353131)
        value ^= value >> 32
    for step in range(8 * words, count):
        value = (value ^ np.int64(data[at + step])) * np.int64(-7046029254386353131)
        value ^= value >> 32
    return value
