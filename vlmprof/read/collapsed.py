"""Collapsed stacks: a stack and a number a line, as FlameGraph, py-spy raw and austin's text write them.

    P41;T0:42;server.py:main:10;server.py:step:20 1500      austin: process, thread, file:function:line, us
    main (server.py:10);step (server.py:20) 15              py-spy: function (file:line), samples
    main;step 15                                            FlameGraph: any names, any unit

There are no times: each thread's samples are put end to end, in the order of the file.
"""

import re
from collections import defaultdict
from pathlib import Path

import pyarrow as pa

from vlmprof.errors import FileUnreadable
from vlmprof.read.stack_trace import Frame, StackBuilder, StackTrace
from vlmprof.units import NS_PER_MS, NS_PER_US

_HINT = "make one with austin, py-spy record --format raw, or stackcollapse of FlameGraph"
_LINE = re.compile(r"(.+) (\d+)")
_PLACE = re.compile(r"P(\d+);T(?:[0-9A-Fa-f]+:)?(0x[0-9A-Fa-f]+|\d+);(.*)")
_PYSPY_FRAME = re.compile(r"(.+) \((.+):(\d+)\)")
_AUSTIN_FRAME = re.compile(r"(.+):([^:]+):(\d+)")
_LONGEST_NS = 2**62
# JSON that was cut behind a number would pass for one long stack.
_JSON = re.compile(r'\s*(\{\s*"|\[\s*\{)')


def read_collapsed(path: Path) -> StackTrace:
    """A file of collapsed stacks; where lines name no process, all is thread 0 of process 0.

    A number is microseconds where lines name a process, as austin writes it, else a count, which stands for 1 ms.

    Raises:
        FileUnreadable: it is absent, empty, no text, or a line of it is no stack with a number.
    """
    builder = StackBuilder()
    ends_ns: dict[tuple[int, int], int] = defaultdict(int)
    for number, line in enumerate(_lines(path), 1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise FileUnreadable(
                f"{path}, line {number}: {line[:60]!r} is no stack with a number", hint=_HINT
            )
        place, frames, weight_ns = _parsed(found[1], int(found[2]))
        if ends_ns[place] + weight_ns > _LONGEST_NS:
            raise FileUnreadable(
                f"{path}, line {number}: {found[2]} is longer than any recording", hint=_HINT
            )
        builder.add(*place, frames, ends_ns[place], weight_ns)
        ends_ns[place] += weight_ns
    if not ends_ns:
        raise FileUnreadable(f"{path} holds no stacks", hint=_HINT)
    try:
        return builder.build("collapsed", timed=False, threads=dict.fromkeys(ends_ns, ""))
    except (OverflowError, pa.ArrowInvalid) as error:
        raise FileUnreadable(f"{path} names a process that no system has: {error}", hint=_HINT) from error


def _lines(path: Path) -> list[str]:
    """The lines that are no comments."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileUnreadable(
            f"{path} is no text: {error.reason} at byte {error.start}", hint=_HINT
        ) from error
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror}", hint=_HINT) from error
    if _JSON.match(text):
        raise FileUnreadable(f"{path} is JSON", hint=_HINT)
    return [line for line in text.split("\n") if line.strip() and not line.startswith("#")]


def _parsed(stack: str, number: int) -> tuple[tuple[int, int], list[Frame], int]:
    """Process and thread, frames, and the weight in ns."""
    found = _PLACE.fullmatch(stack)
    if found is None:
        return (0, 0), [_frame(text) for text in stack.split(";")], number * NS_PER_MS
    place = int(found[1]), int(found[2], 0)
    return place, [_frame(text) for text in found[3].split(";")], number * NS_PER_US


def _frame(text: str) -> Frame:
    if found := _PYSPY_FRAME.fullmatch(text):
        return Frame(found[1], found[2], _line(found[3]))
    if found := _AUSTIN_FRAME.fullmatch(text):
        return Frame(found[2], found[1], _line(found[3]))
    return Frame(text)


def _line(digits: str) -> int:
    """A line number; 0, which is unknown, for one that no file has."""
    return int(digits) if len(digits) < 9 else 0
