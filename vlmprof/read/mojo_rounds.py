"""The time axis of a MOJO file, which holds durations and no times.

austin samples a process in rounds: it takes the time since the process's last round, writes a row with that
duration for each thread, and only then, the round complete, moves the process's clock on by it. It walks the
threads from the newest to the oldest, so that a complete round ends with the main thread's row, and that row
alone moves the clock. Where one thread comes up twice, a round has not ended: a thread that is being started
has its starter's id for a while, and no frames yet. Where the walk fails on a thread that is just ending, the
round breaks off and its time is counted again in the next one; unless austin then attaches to the process anew,
which sets its clock to that moment: the time until then is lost, and shows as a step against other clocks.

Source:
    austin's src/py_proc.c: py_proc__sample; CPython's pystate.c: a new thread state is put at the list's head.
"""

import numpy as np
import numpy.typing as npt

from vlmprof.read.compiled import Integer, Integers, compiled, grown, new_table, put, slot_of, with_room
from vlmprof.read.mojo_scan import Rows

NO_THREAD = -(2**62)


@compiled
def round_times(
    rows: Rows, has_frames: npt.NDArray[np.bool_], pids: Integers, closing_tids: Integers
) -> Integers:
    """Microseconds at which each row's round began, on its process's own axis: 0 when austin attached to it.

    Args:
        pids: all processes, ascending; closing_tids: for each the thread that completes its rounds.
    """
    times = np.empty(rows.pid.shape[0], np.int64)
    elapsed, latest = np.zeros(pids.shape[0], np.int64), np.zeros(pids.shape[0], np.int64)
    process = 0
    for row in range(rows.pid.shape[0]):
        while pids[process] != rows.pid[row]:
            process = (process + 1) % pids.shape[0]
        if elapsed[process] + rows.duration_us[row] < latest[process]:
            elapsed[process] = latest[process]
        times[row] = elapsed[process] + rows.duration_us[row]
        latest[process] = times[row]
        if rows.tid[row] == closing_tids[process] and has_frames[row]:
            elapsed[process] = times[row]
    return times


def closing_threads(
    pid: npt.NDArray[np.int32], tid: Integers, pids: Integers, main_name_tid: int | None
) -> Integers:
    """For each process the thread that completes its rounds: its main thread.

    Args:
        main_name_tid: the number that stands for threads called MainThread, in files that name threads.
    """
    with_main_id = set(np.unique(pid[tid == pid]).tolist())
    with_main_name = (
        set(np.unique(pid[tid == main_name_tid]).tolist()) if main_name_tid is not None else set()
    )
    return np.array(
        [
            process
            if process in with_main_id
            else main_name_tid
            if process in with_main_name
            else usual_last_thread(pid, tid, process)
            for process in pids.tolist()
        ],
        np.int64,
    )


@compiled
def usual_last_thread(pid: npt.NDArray[np.int32], tid: Integers, process: Integer) -> Integer:
    """The thread that most often stands last before the process changes or a thread comes up again; else NO_THREAD.

    Needed where thread ids are those of another pid namespace, so that none equals the process's.
    """
    table, used = new_table(16), 0
    threads, seen_in, times_last = np.zeros(16, np.int64), np.zeros(16, np.int64), np.zeros(16, np.int64)
    this_round = 1
    last = row_before = -2
    for row in range(pid.shape[0]):
        if pid[row] != process:
            continue
        slot = slot_of(table, tid[row], 0)
        thread = table[slot, 2]
        if thread < 0:
            thread = used
            put(table, slot, tid[row], 0, thread)
            used += 1
            table = with_room(table, used)
            threads, seen_in, times_last = grown(threads, used), grown(seen_in, used), grown(times_last, used)
            threads[thread], seen_in[thread], times_last[thread] = tid[row], 0, 0
        if last >= 0 and (row != row_before + 1 or seen_in[thread] == this_round):
            times_last[last] += 1
            this_round += 1
        seen_in[thread] = this_round
        last, row_before = thread, row
    if last >= 0:
        times_last[last] += 1
    return threads[np.argmax(times_last[:used])] if used else NO_THREAD
