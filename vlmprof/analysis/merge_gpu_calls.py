"""Which CUDA call launched each kernel and copy: by process and correlation id."""

from typing import Any

import numpy as np
import pyarrow as pa

from vlmprof.analysis.stack_table import Ints, as_ints

NONE = -1
_MOST_KEYS = 1 << 62


def launching_calls(work: Any, calls: Any) -> Ints:
    """Row in `calls` of each piece of work, NONE where the recording lacks it.

    The nodes of a CUDA graph carry the correlation id of the call that launched the graph. Where several calls of
    a process share an id, as those of two recordings may, it is the last that began before the work did.

    Args:
        work: a table with pid, correlation_id and start_ns; an id of 0 is none.
        calls: the table `cuda_api`, sorted by start.
    """
    if not calls.num_rows or not work.num_rows:
        return np.full(work.num_rows, NONE, np.int64)
    wanted, offered = _keys(work, calls)
    order = np.argsort(offered, kind="stable")
    keys = offered[order]
    first = np.searchsorted(keys, wanted, side="left")
    found = (wanted != NONE) & (keys[np.minimum(first, len(keys) - 1)] == wanted)
    rows = np.where(found, order[np.minimum(first, len(keys) - 1)], NONE)
    if np.any(keys[1:] == keys[:-1]):
        again = np.unique(keys[1:][keys[1:] == keys[:-1]])
        mine = np.flatnonzero((rows != NONE) & np.isin(wanted, again))
        theirs = order[np.isin(keys, again)]
        latest = _latest_before(
            (wanted[mine], as_ints(work["start_ns"])[mine]),
            (offered[theirs], as_ints(calls["start_ns"])[theirs]),
        )
        rows[mine] = np.where(latest >= 0, theirs[latest], rows[mine])
    return rows


def _latest_before(work: tuple[Ints, Ints], calls: tuple[Ints, Ints]) -> Ints:
    """For each (key, time) of some work the last call of that key that is not later; NONE where all are."""
    key, at_ns = (np.concatenate(columns) for columns in zip(calls, work, strict=True))
    count = len(calls[0])
    is_work = np.arange(len(key)) >= count
    by_time = np.lexsort((is_work, at_ns, key))
    last = np.maximum.accumulate(np.where(is_work[by_time], NONE, np.arange(len(by_time))))
    call = np.where(last >= 0, by_time[last], 0)
    same = (last >= 0) & (key[call] == key[by_time])
    found = np.empty(len(key), np.int64)
    found[by_time] = np.where(same, call, NONE)
    return found[count:]


def _keys(work: Any, calls: Any) -> tuple[Ints, Ints]:
    """One number for each process and correlation id, the same on both sides; NONE for no id."""
    pids = pa.chunked_array([*work["pid"].chunks, *calls["pid"].chunks]).combine_chunks().dictionary_encode()
    process = as_ints(pids.indices)
    ids = np.concatenate([as_ints(work["correlation_id"]), as_ints(calls["correlation_id"])])
    low, high = int(ids.min()), int(ids.max())
    if (high - low + 1) * len(pids.dictionary) >= _MOST_KEYS:
        ids = np.unique(ids, return_inverse=True)[1] + (0 if low == 0 else 1)
        low, high = 0, int(ids.max())
    keys = np.where(ids == 0, NONE, process * (high - low + 1) + (ids - low))
    return keys[: work.num_rows], keys[work.num_rows :]
