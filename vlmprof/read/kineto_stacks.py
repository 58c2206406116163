"""Python stacks of a Kineto trace: what each thread was in, from one call or return to the next.

The profiler writes a call of a Python function as an event with a start and a length, and no stack: here calls that
lie in one another become stacks, as a sampler of no interval would have seen them.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from vlmprof.model.tables import FRAMES, SAMPLES, STACKS
from vlmprof.read.compiled import Integers, compiled, grown, new_table, put, slot_of, with_room
from vlmprof.read.kineto_events import Columns
from vlmprof.read.stack_trace import Frame, StackTrace

_NONE = -1
_FUNCTION = re.compile(r"(.+)\((\d+)\): (.+)")
_ADDRESS = re.compile(r" object at 0x[0-9a-f]+")


def python_stacks(columns: Columns, names: Sequence[str]) -> StackTrace:
    """The stacks of all threads; a sample is a stretch in which a thread's stack is the same.

    Args:
        columns: pid, tid, name, start_ns and end_ns of the calls.
        names: the texts that `name` is numbers of.
    """
    # What runs in a thread that the profiler cannot name has neither process nor thread.
    named = np.flatnonzero(columns["tid"] != 0)
    thread = columns["pid"][named] << 32 | columns["tid"][named]
    start_ns, end_ns = columns["start_ns"][named], columns["end_ns"][named]
    order = np.lexsort((-end_ns, start_ns, thread))
    frames, frame_of_name = _frames(names, columns["name"][named])
    calls = frame_of_name[columns["name"][named]][order]
    at_ns, stack, of_thread, parents, own = _walk(thread[order], start_ns[order], end_ns[order], calls)
    lengths_ns = np.diff(at_ns, append=at_ns[-1:])
    kept = np.flatnonzero((stack != _NONE) & (lengths_ns > 0))
    kept = kept[np.argsort(at_ns[kept], kind="stable")]
    samples = {
        "pid": of_thread[kept] >> 32,
        "tid": of_thread[kept] & 0xFFFFFFFF,
        "stack_id": stack[kept],
        "start_ns": at_ns[kept],
        "duration_ns": lengths_ns[kept],
        "on_cpu": pa.nulls(len(kept), pa.bool_()),
        "holds_gil": pa.nulls(len(kept), pa.bool_()),
    }
    return StackTrace(
        source="PyTorch's profiler",
        timed=True,
        samples=pa.table(samples).cast(SAMPLES),
        stacks=_stack_table(parents, own),
        frames=pa.Table.from_pylist(
            [{"frame_id": number, **frame._asdict()} for number, frame in enumerate(frames)], schema=FRAMES
        ),
        threads={},
    )


def _frames(names: Sequence[str], used: Integers) -> tuple[list[Frame], Integers]:
    """Distinct frames of the names in use, and the frame of each name."""
    frames: dict[Frame, int] = {}
    of_name = np.full(len(names), _NONE, np.int64)
    for code in np.unique(used).tolist():
        of_name[code] = frames.setdefault(_frame(names[code]), len(frames))
    return list(frames), of_name


def _frame(name: str) -> Frame:
    """`"torch/nn/modules/linear.py(120): forward"`, or a built-in, whose object is another each time."""
    if found := _FUNCTION.fullmatch(name):
        line = int(found[2]) if len(found[2]) < 9 else 0
        return Frame(found[3], found[1], line)
    return Frame(_ADDRESS.sub("", name))


@compiled
def _walk(
    thread: Integers, start_ns: Integers, end_ns: Integers, frame: Integers
) -> tuple[Integers, Integers, Integers, Integers, Integers]:
    """From calls to changes of stacks.

    Args:
        thread, start_ns, end_ns, frame: of each call, by thread, then start, the longer call first. Times are
            rounded: a call that seems to outlast its caller ends with it.

    Returns:
        When a stack changes, to which (-1: none) and of which thread, thread by thread; and for each stack the one
        without its innermost frame (-1: none) and that frame.
    """
    count = thread.shape[0]
    at_ns, stack = np.empty(2 * count, np.int64), np.empty(2 * count, np.int64)
    of_thread = np.empty(2 * count, np.int64)
    open_end, open_stack = np.empty(64, np.int64), np.empty(64, np.int64)
    parents, own = np.empty(64, np.int64), np.empty(64, np.int64)
    table = new_table(64)
    changes = depth = stacks = 0
    for call in range(count + 1):
        last = call == count or (call > 0 and thread[call] != thread[call - 1])
        while depth > 0 and (last or open_end[depth - 1] <= start_ns[call]):
            depth -= 1
            at_ns[changes], of_thread[changes] = open_end[depth], thread[call - 1]
            stack[changes] = open_stack[depth - 1] if depth > 0 else -1
            changes += 1
        if call == count:
            break
        outer, end = -1, end_ns[call]
        if depth > 0:
            outer, end = open_stack[depth - 1], min(end, open_end[depth - 1])
        table = with_room(table, stacks + 1)
        slot = slot_of(table, outer, frame[call])
        if table[slot, 2] < 0:
            put(table, slot, outer, frame[call], stacks)
            parents, own = grown(parents, stacks + 1), grown(own, stacks + 1)
            parents[stacks], own[stacks] = outer, frame[call]
            stacks += 1
        open_end, open_stack = grown(open_end, depth + 1), grown(open_stack, depth + 1)
        open_end[depth], open_stack[depth] = end, table[slot, 2]
        at_ns[changes], stack[changes], of_thread[changes] = start_ns[call], table[slot, 2], thread[call]
        changes += 1
        depth += 1
    return at_ns[:changes], stack[:changes], of_thread[:changes], parents[:stacks], own[:stacks]


@compiled
def _paths(parents: Integers, own: Integers) -> tuple[Integers, Integers]:
    """Frames of every stack from the root to the leaf, one stack after another, and where each begins."""
    offsets = np.zeros(parents.shape[0] + 1, np.int64)
    for stack in range(parents.shape[0]):
        outer = parents[stack]
        outer_length = offsets[outer + 1] - offsets[outer] if outer >= 0 else 0
        offsets[stack + 1] = offsets[stack] + outer_length + 1
    frames = np.empty(offsets[-1], np.int64)
    for stack in range(parents.shape[0]):
        last = offsets[stack + 1] - 1
        for place in range(last - offsets[stack]):
            frames[offsets[stack] + place] = frames[offsets[parents[stack]] + place]
        frames[last] = own[stack]
    return frames, offsets


def _stack_table(parents: Integers, own: Integers) -> Any:
    frames, offsets = _paths(parents, own)
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(frames.astype(np.int32)))
    return pa.table({"stack_id": np.arange(len(parents)), "frame_ids": lists}).cast(STACKS)
