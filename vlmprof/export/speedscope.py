"""speedscope's JSON: a profile for each sampled thread and for each stream of a GPU."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from vlmprof import __version__
from vlmprof.export.timeline import Ints, Names, Timeline, groups, ints, stacks_by_id, texts
from vlmprof.model.speedscope import Evented, Sampled, Shared, SharedFrame, SpeedscopeFile


def write_speedscope(timeline: Timeline, path: Path) -> None:
    """Write samples and kernels; times count from the run's first event, which `origin_ns` keeps."""
    frames = timeline.frames.to_pylist()
    shared = [SharedFrame(row["function"], row["file"] or None, row["line"] or None) for row in frames]
    kernels = dict.fromkeys(texts(timeline.gpu_kernels, "name"))
    shared += [SharedFrame(name) for name in kernels]
    frame_of_kernel = {name: len(frames) + index for index, name in enumerate(kernels)}
    profiles: list[Sampled | Evented] = [*_threads(timeline), *_streams(timeline, frame_of_kernel)]
    file = SpeedscopeFile(
        Shared(shared), profiles, exporter=f"vlmprof {__version__}", origin_ns=timeline.start_ns
    )
    path.write_bytes(msgspec.json.encode(file))


def _threads(timeline: Timeline) -> Iterator[Sampled]:
    """One profile for each thread that was sampled."""
    samples, names = timeline.samples, Names(timeline.processes)
    frame_rows = {row: index for index, row in enumerate(timeline.frames["frame_id"].to_pylist())}
    stacks = {key: [frame_rows[each] for each in ids] for key, ids in stacks_by_id(timeline).items()}
    stack_ids = ints(samples, "stack_id")
    starts_ns = ints(samples, "start_ns") - timeline.start_ns
    ends_ns = starts_ns + ints(samples, "duration_ns")
    for (pid, tid), rows in groups(ints(samples, "pid"), ints(samples, "tid")):
        title = f"{names.process(pid)} {names.thread(pid, tid)}".strip()
        of_thread = (stacks[stack] for stack in stack_ids[rows].tolist())
        yield _profile(f"{title}, process {pid}, thread {tid}", starts_ns[rows], ends_ns[rows], of_thread)


def _streams(timeline: Timeline, frame_of_kernel: dict[str, int]) -> Iterator[Sampled]:
    """One profile for each stream, whose stacks are single kernels."""
    kernels = timeline.gpu_kernels
    names = texts(kernels, "name")
    starts_ns = ints(kernels, "start_ns") - timeline.start_ns
    ends_ns = ints(kernels, "end_ns") - timeline.start_ns
    keys = [ints(kernels, name) for name in ("pid", "device", "stream")]
    for (pid, device, stream), rows in groups(*keys):
        of_stream = ([frame_of_kernel[names[row]]] for row in rows.tolist())
        yield _profile(
            f"GPU {device}, stream {stream} (process {pid})", starts_ns[rows], ends_ns[rows], of_stream
        )


def _profile(name: str, starts_ns: Ints, ends_ns: Ints, stacks: Iterable[list[int]]) -> Sampled:
    """A profile in which an empty stack fills each gap: speedscope puts weights end to end.

    Where two overlap, the later one begins when the earlier one has ended.
    """
    order = np.argsort(starts_ns, kind="stable")
    in_order = list(stacks)
    samples: list[list[int]] = []
    weights: list[float] = []
    start_ns = at_ns = int(starts_ns[order[0]])
    for row in order.tolist():
        gap_ns, length_ns = int(starts_ns[row]) - at_ns, int(ends_ns[row]) - max(at_ns, int(starts_ns[row]))
        if gap_ns > 0:
            samples.append([])
            weights.append(gap_ns)
        if length_ns > 0:
            samples.append(in_order[row])
            weights.append(length_ns)
        at_ns = max(at_ns, int(ends_ns[row]))
    return Sampled(name, "nanoseconds", start_ns, at_ns, samples, weights)
