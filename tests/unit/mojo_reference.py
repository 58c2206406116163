"""A plain MOJO writer and reader, one step per event, that the compiled reader is compared with."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Frame = tuple[str, str, int]


@dataclass
class Row:
    """One sample as the file tells it."""

    pid: int
    thread: str
    frames: list[Frame] = field(default_factory=list)
    duration_us: int | None = None
    memory: int | None = None
    idle: bool = False
    gc: bool = False
    invalid: bool = False
    end_offset: int = 0


def varint(number: int) -> bytes:
    """6 bits and the sign in the first byte, 7 bits in each further one."""
    sign, number = (0x40 if number < 0 else 0), abs(number)
    encoded = bytearray([number & 0x3F | sign])
    number >>= 6
    while number:
        encoded[-1] |= 0x80
        encoded.append(number & 0x7F)
        number >>= 7
    return bytes(encoded)


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def header(version: int = 3) -> bytes:
    return b"MOJ" + varint(version)


def metadata(key: str, value: str) -> bytes:
    return b"\x01" + text(key) + text(value)


def stack(pid: int, thread: int | str, version: int = 3) -> bytes:
    name = thread if isinstance(thread, str) else f"{thread:x}"
    return b"\x02" + varint(pid) + (varint(0) if version >= 3 else b"") + text(name)


def string(key: int, value: str) -> bytes:
    return b"\x0b" + varint(key) + text(value)


def frame(key: int, file: int, function: int, line: int, version: int = 3) -> bytes:
    columns = (line, 4, 9) if version >= 2 else ()
    return b"\x03" + b"".join(map(varint, (key, file, function, line, *columns)))


def refs(*keys: int) -> bytes:
    return b"".join(b"\x05" + varint(key) for key in keys)


def time_us(duration: int) -> bytes:
    return b"\x09" + varint(duration)


INVALID, GC, IDLE, REPEAT = b"\x04", b"\x07", b"\x08", b"\x0d"


class Reader:
    """Steps through a whole, undamaged file."""

    def __init__(self, content: bytes) -> None:
        assert content[:3] == b"MOJ"
        self._content = content
        self._at = 3
        self.metadata: dict[str, str] = {}
        self._strings: dict[tuple[int, int], str] = {}
        self._frames: dict[tuple[int, int], Frame] = {}
        self._last: dict[tuple[int, str], list[Frame]] = {}
        self.version = self._integer()
        self.rows = list(self._rows())

    def _byte(self) -> int:
        self._at += 1
        return self._content[self._at - 1]

    def _integer(self) -> int:
        byte = self._byte()
        value, shift, sign = byte & 0x3F, 6, -1 if byte & 0x40 else 1
        while byte & 0x80:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
        return sign * value

    def _text(self) -> str:
        end = self._content.index(0, self._at)
        value = self._content[self._at : end].decode(errors="replace")
        self._at = end + 1
        return value

    def _string_of(self, pid: int, key: int) -> str:
        return "" if key == 0 else self._strings.get((pid, key), "<unknown>")

    def _rows(self) -> Iterator[Row]:  # noqa: PLR0912 - one branch an event
        row: Row | None = None
        pid = 0
        in_task = False
        while self._at < len(self._content):
            event = self._byte()
            if event == 1:
                key = self._text()
                self.metadata[key] = self._text()
            elif event == 2:
                if row:
                    yield row
                pid = self._integer()
                if self.version >= 3:
                    self._integer()
                row, in_task = Row(pid, self._text()), False
            elif event == 3:
                key_of_frame, file, function, line = (self._integer() for _ in range(4))
                for _ in range(3 if self.version >= 2 else 0):
                    self._integer()
                names = self._string_of(pid, function), self._string_of(pid, file)
                self._frames[pid, key_of_frame] = (*names, line)
            elif event == 11:
                key_of_string = self._integer()
                self._strings[pid, key_of_string] = self._text()
            elif event in (12, 14, 15):
                for _ in range(1 if event == 12 else 2):
                    self._integer()
                in_task |= event == 14
            else:
                assert row is not None
                in_task = self._of_row(event, row, in_task)
                if not in_task and event in (8, 9, 10):
                    row.end_offset = self._at
        if row:
            yield row

    def _of_row(self, event: int, row: Row, in_task: bool) -> bool:
        """Apply an event of a sample; whether a task's stack is still being read."""
        key = (row.pid, row.thread)
        value: Any = None
        if event in (5, 9, 10):
            value = self._integer()
        elif event == 6:
            value = self._text()
        if in_task:
            return event != 9
        if event == 5:
            row.frames.append(self._frames.get((row.pid, value), ("<unknown>", "", 0)))
        elif event == 6:
            row.frames.append((value, "", 0))
        elif event == 13:
            row.frames[:0] = self._last.get(key, [])
        elif event in (9, 10):
            setattr(row, "duration_us" if event == 9 else "memory", value)
        else:
            setattr(row, {4: "invalid", 7: "gc", 8: "idle"}[event], True)
        if event in (9, 10):
            self._last[key] = list(row.frames)
        return False
