"""Collapsed stacks, for FlameGraph, speedscope and others: a line per thread and stack, in microseconds."""

from collections import Counter
from pathlib import Path

from vlmprof.export.timeline import Timeline, ints, stacks_by_id
from vlmprof.units import NS_PER_US


def write_collapsed(timeline: Timeline, path: Path) -> None:
    """Write the samples as `P41;T42;function (file:line);... 1500`: places as austin, frames as py-spy."""
    total_ns: Counter[tuple[int, int, int]] = Counter()
    columns = [ints(timeline.samples, name) for name in ("pid", "tid", "stack_id", "duration_ns")]
    for pid, tid, stack_id, duration_ns in zip(*(column.tolist() for column in columns), strict=True):
        total_ns[pid, tid, stack_id] += duration_ns
    frames = {row["frame_id"]: _text(**row) for row in timeline.frames.to_pylist()}
    stacks = stacks_by_id(timeline)
    with path.open("w", encoding="utf-8") as file:
        for (pid, tid, stack_id), weight_ns in sorted(total_ns.items()):
            stack = ";".join(frames[frame] for frame in stacks[stack_id])
            file.write(f"P{pid};T{tid};{stack} {round(weight_ns / NS_PER_US)}\n")


def _text(frame_id: int, function: str, file: str, line: int) -> str:
    text = f"{function} ({file}:{line})" if file else function
    return text.replace(";", ",").replace("\n", " ")
