"""Reads the MOJO files that austin writes into columns, without a Python step per sample."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlmprof.analysis.align_austin import BEACON_FUNCTIONS, Arrivals, AustinRows
from vlmprof.errors import FileUnreadable
from vlmprof.read.compiled import Integers
from vlmprof.read.mojo_events import HEADER_BYTES, MAGIC, NEWEST_VERSION, Bytes, Flag, layout_of
from vlmprof.read.mojo_rounds import closing_threads, round_times
from vlmprof.read.mojo_scan import Counts, Found, Rows, room_for, scan_rows, used_part
from vlmprof.read.mojo_stacks import EMPTY_STRING, UNKNOWN_STRING, Stacks, Symbols, intern_rows, intern_stacks
from vlmprof.read.stack_trace import LAST_LINE
from vlmprof.units import NS_PER_US

Numbers = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

MAIN_THREAD_NAME = "MainThread"


class Frame(NamedTuple):
    """One line of a function; line 0 where it is unknown."""

    function: str
    file: str
    line: int


@dataclass(frozen=True, slots=True, eq=False)
class MojoCapture:
    """What austin saw: one row a sample, columns of equal length, in the order of the file.

    Attributes:
        tid: the kernel's thread id; negative for a thread that the file names instead, see `thread_names`.
        duration_ns: since the previous round of the row's process.
        source_ns: when the row's round was taken, on the process's own axis: 0 when austin attached to it.
        end_offset: bytes of the file up to the end of the row.
        flags: bits of `Flag`.
        stack_starts, stack_frames: stack s is stack_frames[stack_starts[s]:stack_starts[s + 1]], root first,
            numbers into `frames`.
        thread_names: the names that negative tids stand for.
        truncated: the file ends inside a row or an event.
        damaged: how often reading had to skip to the next sample.
    """

    path: Path
    version: int
    metadata: Mapping[str, str]
    pid: Numbers
    tid: Integers
    stack_id: Numbers
    duration_ns: Integers
    source_ns: Integers
    end_offset: Integers
    flags: Bytes
    frames: tuple[Frame, ...]
    stack_starts: Integers
    stack_frames: Numbers
    thread_names: Mapping[int, str]
    truncated: bool
    damaged: int

    @property
    def row_count(self) -> int:
        return len(self.pid)

    @property
    def error_count(self) -> int:
        """Rows whose stack is incomplete or refers to frames that the file lacks, and damaged places."""
        return int(np.count_nonzero(self.flags & (Flag.INVALID | Flag.UNRESOLVED))) + self.damaged

    @property
    def pids(self) -> list[int]:
        """The sampled processes, ascending."""
        return [int(pid) for pid in np.unique(self.pid)]

    @property
    def interval_ns(self) -> int:
        """The sampling interval that austin was asked for; the median duration where the file does not say."""
        stated_us = self.metadata.get("interval", "")
        if stated_us.isdecimal() and int(stated_us) > 0:
            return int(stated_us) * NS_PER_US
        return int(np.median(self.duration_ns)) if self.row_count else 0

    @property
    def knows_idle(self) -> bool:
        """Whether austin looked if threads were idle, which it does with its full metrics."""
        return self.metadata.get("mode") == "full"

    def stack(self, stack_id: int) -> tuple[int, ...]:
        """Frame numbers of one stack, root first."""
        begin, stop = self.stack_starts[stack_id], self.stack_starts[stack_id + 1]
        return tuple(self.stack_frames[begin:stop].tolist())

    def rows_of(self, pid: int) -> AustinRows:
        """What aligning a process's clock needs of its rows."""
        chosen = np.flatnonzero(self.pid == pid)
        return AustinRows(
            tid=self.tid[chosen],
            source_ns=self.source_ns[chosen],
            end_offset=self.end_offset[chosen],
            beacon=self._beacon_of_stacks()[self.stack_id[chosen]],
        )

    def _beacon_of_stacks(self) -> npt.NDArray[np.int8]:
        """For each stack which beacon is on it: 0 none, 1 the first, 2 the second."""
        of_frame = np.zeros(len(self.frames), np.int8)
        for number, frame in enumerate(self.frames):
            function = frame.function.rpartition(".")[2]
            if function in BEACON_FUNCTIONS:
                of_frame[number] = 1 + BEACON_FUNCTIONS.index(function)
        beacon = np.zeros(len(self.stack_starts) - 1, np.int8)
        owner = np.repeat(np.arange(len(beacon)), np.diff(self.stack_starts))
        seen = of_frame[self.stack_frames]
        beacon[owner[seen > 0]] = seen[seen > 0]
        return beacon


def read_mojo(path: Path) -> MojoCapture:
    """Read a MOJO file, versions 1 to 4.

    A file that is cut off gives the rows before the cut, a damaged one those outside the damage.

    Raises:
        FileUnreadable: it is absent, empty, no MOJO file, of a newer version, or holds nothing but damage.
    """
    content = _read_content(path)
    rows, stacks, stack_id = content.rows, content.stacks, content.stack_id
    source_us = _source_times(rows, np.diff(stacks.starts)[stack_id] > 0, content.thread_names)
    return MojoCapture(
        path=path,
        version=content.version,
        metadata=content.metadata,
        pid=rows.pid,
        tid=rows.tid,
        stack_id=stack_id,
        duration_ns=rows.duration_us * NS_PER_US,
        source_ns=source_us * NS_PER_US,
        end_offset=rows.end_offset,
        flags=rows.flags,
        frames=content.frames,
        stack_starts=stacks.starts,
        stack_frames=stacks.frames,
        thread_names=content.thread_names,
        truncated=content.counts.cut,
        damaged=content.counts.damaged,
    )


class _Content(NamedTuple):
    """What a file holds, independent of the file's bytes, which need not stay in memory."""

    version: int
    metadata: dict[str, str]
    rows: Rows
    stack_id: Numbers
    frames: tuple[Frame, ...]
    stacks: Stacks
    thread_names: dict[int, str]
    counts: Counts


def _read_content(path: Path) -> _Content:
    data = _open_data(path)
    version = _version_of(path, data)
    layout = layout_of(version)
    rows, found = room_for(data)
    counts = scan_rows(data, layout, rows, found)
    if counts.damaged and not counts.rows:
        raise FileUnreadable(
            f"{path}: not one sample in {len(data)} bytes of MOJO {version}",
            hint="the file is damaged: record again, or restore it from a copy",
        )
    rows, found = used_part(rows, found, counts)
    stack_id, stacks, symbols = intern_rows(
        data, layout, rows, found, counts.definitions + counts.kernel_frames
    )
    frames, stacks, new_number = _distinct_frames(data, stacks, symbols)
    thread_names = {-1 - number: _text_at(data, at) for number, at in enumerate(found.name_at.tolist())}
    metadata = _metadata(data, found)
    return _Content(version, metadata, rows, new_number[stack_id], frames, stacks, thread_names, counts)


def read_arrivals(path: Path) -> Arrivals:
    """Read the times at which austin's output came in: records of (monotonic ns, bytes until then), uint64.

    A torn last record is left out.

    Raises:
        FileUnreadable: the file is absent.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileUnreadable(
            f"{path}: {error.strerror}", hint="align without it: beacons alone give a less certain clock"
        ) from error
    records = np.frombuffer(content, "<u8", count=len(content) // 16 * 2).astype(np.int64).reshape(-1, 2)
    return Arrivals(time_ns=records[:, 0].copy(), received_bytes=records[:, 1].copy())


def _open_data(path: Path) -> Bytes:
    try:
        return np.asarray(np.memmap(path, np.uint8, mode="r"))
    except ValueError as error:  # numpy cannot map a file without bytes
        raise FileUnreadable(
            f"{path} is empty", hint="austin wrote nothing: see its messages in the same folder"
        ) from error
    except OSError as error:
        raise FileUnreadable(
            f"{path} cannot be read: {error.strerror}", hint="name a file that austin wrote"
        ) from error


def _version_of(path: Path, data: Bytes) -> int:
    head = bytes(data[:HEADER_BYTES])
    if len(head) < HEADER_BYTES or head[:3] != MAGIC or head[3] == 0:
        raise FileUnreadable(
            f"{path} is no MOJO file: it begins with {head!r}",
            hint="austin 3 writes MOJO with -b, austin 4 always",
        )
    if head[3] > NEWEST_VERSION:
        raise FileUnreadable(
            f"{path}: MOJO {head[3]}; this vlmprof reads up to {NEWEST_VERSION}",
            hint="upgrade vlmprof, or record with an older austin",
        )
    return head[3]


def _text_at(data: Bytes, at: int) -> str:
    """The string that begins at a position."""
    size = 64
    while not (text := bytes(data[at : at + size])).count(0) and at + size < len(data):
        size *= 4
    return text.split(b"\0", 1)[0].decode(errors="replace")


def _metadata(data: Bytes, found: Found) -> dict[str, str]:
    metadata = {}
    for at in found.metadata_at.tolist():
        key = _text_at(data, at + 1)
        value_at = at + 1 + bytes(data[at + 1 :][: 4 * len(key) + 1]).index(0) + 1
        metadata[key] = _text_at(data, value_at)
    return metadata


def _distinct_frames(
    data: Bytes, stacks: Stacks, symbols: Symbols
) -> tuple[tuple[Frame, ...], Stacks, Numbers]:
    """Name the frames that the stacks use, and unite those that processes and caches told apart.

    Returns:
        The frames, the stacks over them, and for each old stack its number among these.
    """
    strings = [_string(data, symbols, number) for number in range(int(symbols.used[0]))]
    first_with = {text: number for number, text in reversed(list(enumerate(strings)))}
    united = np.array([first_with[text] for text in strings], np.int64)
    used, position = np.unique(stacks.frames, return_inverse=True)
    keys = symbols.frames[used]
    keys[:, :2] = united[keys[:, :2]]
    keys[(keys[:, 2] < 0) | (keys[:, 2] > LAST_LINE), 2] = 0  # as `known_line`
    distinct, number = np.unique(keys, axis=0, return_inverse=True)
    frames = tuple(
        Frame(strings[function], strings[file], line) for function, file, line in distinct.tolist()
    )
    renumbered = number.reshape(-1).astype(np.int32)[position]
    stacks, new_number = intern_stacks(Stacks(stacks.starts, renumbered))
    return frames, stacks, new_number


def _string(data: Bytes, symbols: Symbols, number: int) -> str:
    if number == EMPTY_STRING:
        return ""
    return "<unknown>" if number == UNKNOWN_STRING else _text_at(data, int(symbols.string_at[number]))


def _source_times(rows: Rows, has_frames: Flags, thread_names: Mapping[int, str]) -> Integers:
    """Time of each row in microseconds on its process's axis."""
    pids = np.unique(rows.pid).astype(np.int64)
    main_name_tid = next((tid for tid, name in thread_names.items() if name == MAIN_THREAD_NAME), None)
    pid, tid = rows.pid[has_frames], rows.tid[has_frames]
    closing_tids = closing_threads(pid, tid, pids, main_name_tid)
    return round_times(rows, has_frames, pids, closing_tids)
