"""Turns a MOJO capture into the tables `samples`, `stacks` and `frames`, on the session clock."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from vlmprof.errors import ClockError
from vlmprof.model.clock import ClockMap
from vlmprof.model.run_info import SourceQuality
from vlmprof.model.tables import FRAMES, SAMPLES, STACKS
from vlmprof.read.mojo import Flags, MojoCapture
from vlmprof.read.mojo_events import Flag
from vlmprof.units import NS_PER_S, format_ns

PAUSE_INTERVALS = 20
_EARLY_NS = NS_PER_S


def mojo_tables(capture: MojoCapture, clock_maps: Mapping[int, ClockMap]) -> tuple[Any, Any, Any]:
    """The tables samples (sorted by start_ns), stacks and frames.

    A sample ends at the instant at which it was taken and lasts since the process's previous round, on the session
    clock: where austin lost rounds, the next one stands for them. After a pause of the sampler, told by more than
    20 intervals, it stands for one interval only. Left out are rows
    without frames, which are threads that are being started, and processes without a clock.

    Args:
        clock_maps: pid -> map of that process's times.

    Raises:
        ClockError: there are rows, and not one of their processes has a clock.
    """
    placed = _placed(capture, clock_maps)
    if capture.row_count and not placed.any():
        raise ClockError(
            f"none of the processes {capture.pids} in {capture.path.name} has a clock",
            hint="align them first, or leave austin's samples out",
        )
    rows = np.flatnonzero(placed & (np.diff(capture.stack_starts)[capture.stack_id] > 0))
    instant_ns, duration_ns = (column[rows] for column in _session_times(capture, clock_maps))
    start_ns = instant_ns - duration_ns
    order = np.argsort(start_ns, kind="stable")
    rows = rows[order]
    idle = (capture.flags[rows] & Flag.IDLE) > 0
    samples = pa.table(
        {
            "pid": capture.pid[rows],
            "tid": capture.tid[rows].astype(np.int32),
            "stack_id": capture.stack_id[rows],
            "start_ns": start_ns[order],
            "duration_ns": duration_ns[order],
            "on_cpu": ~idle if capture.knows_idle else _unknown(len(rows)),
            "holds_gil": _unknown(len(rows)),
        },
        schema=SAMPLES,
    )
    return samples, _stacks(capture), _frames(capture)


def mojo_quality(capture: MojoCapture, clock_maps: Mapping[int, ClockMap]) -> SourceQuality:
    """What is known to be missing or wrong in a capture.

    Missed samples are those for which the interval left time and austin did not, pauses excepted.
    """
    pauses = is_pause(capture)
    interval_ns = max(1, capture.interval_ns)
    missed = (capture.duration_ns + interval_ns // 2) // interval_ns - 1
    placed = _placed(capture, clock_maps)
    notes = []
    if pauses.any():
        notes.append(f"{_rounds(capture, pauses)} pauses of the sampler")
    if not placed.all():
        lost = np.unique(capture.pid[~placed]).tolist()
        notes.append(f"no clock for processes {', '.join(map(str, lost))}")
    notes += _early_ends(capture, clock_maps)
    if capture.damaged:
        notes.append(f"{capture.damaged} damaged places in the file")
    return SourceQuality(
        source="austin",
        samples=capture.row_count,
        samples_missed=int(np.maximum(0, missed[~pauses]).sum()),
        errors=capture.error_count,
        dropped=int(np.count_nonzero(~placed)),
        truncated=capture.truncated,
        note="; ".join(notes),
    )


def _early_ends(capture: MojoCapture, clock_maps: Mapping[int, ClockMap]) -> list[str]:
    """A note for each process whose samples end early: austin 3.7 drops a process that it fails to read."""
    last_ns = {
        pid: int(clock_maps[pid].to_session(capture.source_ns[capture.pid == pid][-1:])[0])
        for pid in capture.pids
        if pid in clock_maps
    }
    end_ns = max(last_ns.values(), default=0)
    return [
        f"samples of process {pid} end {format_ns(end_ns - at_ns)} before the last"
        for pid, at_ns in last_ns.items()
        if end_ns - at_ns > _EARLY_NS
    ]


def is_pause(capture: MojoCapture) -> Flags:
    """Rows whose duration is a pause of the sampler: more than 20 sampling intervals."""
    paused: Flags = capture.duration_ns > PAUSE_INTERVALS * capture.interval_ns
    return paused


def _rounds(capture: MojoCapture, chosen: Flags) -> int:
    """In how many sampling rounds of one process the chosen rows were taken, at most over the processes."""
    pids, source_ns = capture.pid[chosen], capture.source_ns[chosen]
    return max(len(np.unique(source_ns[pids == pid])) for pid in np.unique(pids))


def _placed(capture: MojoCapture, clock_maps: Mapping[int, ClockMap]) -> Flags:
    placed: Flags = np.isin(capture.pid, np.array(list(clock_maps), np.int32))
    return placed


def _session_times(capture: MojoCapture, clock_maps: Mapping[int, ClockMap]) -> tuple[Any, Any]:
    """Each row's instant, and the time since the previous round of its process."""
    instant_ns = np.zeros(capture.row_count, np.int64)
    since_ns = np.zeros(capture.row_count, np.int64)
    for pid, clock in clock_maps.items():
        mine = np.flatnonzero(capture.pid == pid)
        if not len(mine):
            continue
        source_ns = capture.source_ns[mine]
        instant_ns[mine] = clock.to_session(source_ns)
        first = np.flatnonzero(np.diff(source_ns, prepend=source_ns[0] - 1))
        rounds_ns = instant_ns[mine[first]]
        lengths_ns = np.diff(rounds_ns, prepend=rounds_ns[0] - capture.interval_ns)
        lengths_ns[lengths_ns > PAUSE_INTERVALS * capture.interval_ns] = capture.interval_ns
        since_ns[mine] = np.repeat(np.maximum(lengths_ns, 0), np.diff(first, append=len(mine)))
    return instant_ns, since_ns


def _unknown(count: int) -> Any:
    return pa.nulls(count, pa.bool_())


def _stacks(capture: MojoCapture) -> Any:
    starts = capture.stack_starts.astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(starts), pa.array(capture.stack_frames))
    return pa.table({"stack_id": np.arange(len(lists), dtype=np.int32), "frame_ids": lists}, schema=STACKS)


def _frames(capture: MojoCapture) -> Any:
    frames = capture.frames
    return pa.table(
        {
            "frame_id": np.arange(len(frames), dtype=np.int32),
            "function": [frame.function for frame in frames],
            "file": [frame.file for frame in frames],
            "line": [frame.line for frame in frames],
        },
        schema=FRAMES,
    )
