"""Reads each raw capture of a run and puts it on the session clock; what cannot be read becomes a warning."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.analysis.align import Witness, clock_evidence
from vlmprof.analysis.align_nsys import NamedRanges, align_nsys
from vlmprof.analysis.align_pyspy import align_pyspy
from vlmprof.analysis.align_sweep import align_sweeps
from vlmprof.analysis.witness import austin_witness
from vlmprof.errors import ClockError, FileUnreadable
from vlmprof.model.clock import ClockMap
from vlmprof.model.run_info import ClockEvidence, SourceQuality
from vlmprof.model.tables import CUDA_API, FRAMES, GPU_COPIES, GPU_KERNELS, GPU_SYNCS, SAMPLES, STACKS
from vlmprof.read.gpu_trace import GpuTrace
from vlmprof.read.kineto import read_kineto
from vlmprof.read.mojo import MojoCapture, read_arrivals, read_mojo
from vlmprof.read.mojo_tables import mojo_quality, mojo_tables
from vlmprof.read.nsys_sqlite import read_gpu, read_nvtx
from vlmprof.read.pyspy import read_pyspy
from vlmprof.read.pyspy_index import PySpyFile, read_index
from vlmprof.read.spans import SpanCapture

AGENT_FILES = "vlmprof/agent/"

# Functions that are on the stack from the start of their span to its end: no coroutines, no wrappers' inner parts.
WITNESS_FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "worker.encoder": ("_execute_mm_encoder", "execute_mm_encoder"),
    "worker.forward": ("_model_forward", "run_fullgraph"),
    "mm.process": ("_process_multimodal",),
    "mm.hf_processor": ("call_hf_processor",),
    "core.wait_worker": ("result",),
    "image.decode": ("load_bytes",),
}


@dataclass(slots=True)
class Sampled:
    """Stack samples on the session clock, and how far they can be trusted."""

    samples: Any = field(default_factory=SAMPLES.empty_table)
    stacks: Any = field(default_factory=STACKS.empty_table)
    frames: Any = field(default_factory=FRAMES.empty_table)
    clocks: list[ClockEvidence] = field(default_factory=list)
    quality: list[SourceQuality] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_samples(raw: Path, spans: SpanCapture) -> Sampled:
    """austin's samples, or py-spy's, or none."""
    mojo, index = raw / "austin.mojo", raw / "pyspy.index.json"
    sampled = Sampled()
    try:
        if mojo.exists() and mojo.stat().st_size > 0:
            return _austin(mojo, raw / "austin.arrivals.bin", spans)
        if index.exists():
            return _pyspy(raw, read_index(index), spans)
    except (FileUnreadable, ClockError) as error:
        sampled.warnings.append(f"stack samples left out: {error.message}")
    return sampled


def _austin(mojo: Path, arrivals_path: Path, spans: SpanCapture) -> Sampled:
    sampled = Sampled()
    capture = read_mojo(mojo)
    arrivals = read_arrivals(arrivals_path) if arrivals_path.exists() else None
    served = {process.pid for process in spans.processes}
    # Others are helpers of the interpreter, such as multiprocessing's resource tracker.
    rows = {pid: capture.rows_of(pid) for pid in capture.pids if pid in served or not served}
    clocks, refused = align_sweeps(rows, arrivals, spans.beacons)
    sampled.warnings += [
        f"samples of process {pid} left out: {error.message}" for pid, error in refused.items()
    ]
    sampled.samples, sampled.stacks, sampled.frames = mojo_tables(capture, clocks)
    sampled.clocks = [
        clock_evidence(clock, _witness_of(pid, capture, sampled, spans)) for pid, clock in clocks.items()
    ]
    sampled.stacks = without_agent(sampled.stacks, sampled.frames)
    sampled.quality.append(mojo_quality(capture, clocks))
    sampled.warnings += _unseen(capture, spans)
    return sampled


def without_agent(stacks: Any, frames: Any) -> Any:
    """Stacks without the frames of our own wrappers: each boundary would show as one level more."""
    own = pc.match_substring(frames["file"], AGENT_FILES)
    own_ids = frames["frame_id"].filter(own)
    lists = stacks["frame_ids"].combine_chunks()
    kept = pc.invert(pc.is_in(lists.flatten(), value_set=own_ids.combine_chunks()))
    kept_before = np.concatenate([[0], np.cumsum(kept.to_numpy(zero_copy_only=False))])
    offsets = lists.offsets.to_numpy()
    moved = pa.array(kept_before[offsets - offsets[0]], pa.int32())
    frame_ids = pa.ListArray.from_arrays(moved, lists.flatten().filter(kept))
    return stacks.set_column(1, "frame_ids", frame_ids).cast(STACKS)


def _witness_of(pid: int, capture: MojoCapture, sampled: Sampled, spans: SpanCapture) -> Witness | None:
    return austin_witness(
        sampled.samples.filter(pc.equal(sampled.samples["pid"], pid)),
        sampled.stacks,
        sampled.frames,
        spans.table.filter(pc.equal(spans.table["pid"], pid)),
        functions=WITNESS_FUNCTIONS,
        interval_ns=capture.interval_ns,
    )


def _unseen(capture: MojoCapture, spans: SpanCapture) -> list[str]:
    """austin's exit code says nothing: a served process without a sample is a part that is missing."""
    return [
        f"austin took no sample of {process.label} (process {process.pid})"
        for process in spans.processes
        if process.role != "other" and process.pid not in capture.pids
    ]


def _pyspy(raw: Path, index: list[PySpyFile], spans: SpanCapture) -> Sampled:
    sampled = Sampled()
    traces = [(entry, read_pyspy(raw / entry.file)) for entry in index if (raw / entry.file).exists()]
    parts = []
    for entry, trace in traces:
        clock = align_pyspy(
            entry.pid,
            trace.samples,
            trace.stacks,
            trace.frames,
            started_ns=entry.started_ns,
            beacons=spans.beacons.get(entry.pid),
        )
        parts.append((trace, clock))
        sampled.clocks.append(clock_evidence(clock))
    sampled.samples, sampled.stacks, sampled.frames = merge_samples(parts)
    sampled.quality.append(SourceQuality(source="py-spy", samples=sampled.samples.num_rows))
    return sampled


def merge_samples(parts: list[tuple[Any, ClockMap]]) -> tuple[Any, Any, Any]:
    """Samples, stacks and frames of several files in one set: ids are shifted past those of the files before."""
    samples, stacks, frames = [SAMPLES.empty_table()], [STACKS.empty_table()], [FRAMES.empty_table()]
    stack_base = frame_base = 0
    for trace, clock in parts:
        starts_ns = clock.to_session(trace.samples["start_ns"].to_numpy())
        columns = {name: trace.samples[name] for name in SAMPLES.names}
        columns["start_ns"] = pa.array(starts_ns)
        columns["stack_id"] = pa.array(trace.samples["stack_id"].to_numpy() + stack_base)
        samples.append(pa.table(columns).cast(SAMPLES))
        stacks.append(_shifted_stacks(trace.stacks, stack_base, frame_base))
        shifted = pa.array(trace.frames["frame_id"].to_numpy() + frame_base, pa.int32())
        frames.append(trace.frames.set_column(0, "frame_id", shifted).cast(FRAMES))
        stack_base += trace.stacks.num_rows
        frame_base += trace.frames.num_rows
    return pa.concat_tables(samples).sort_by("start_ns"), pa.concat_tables(stacks), pa.concat_tables(frames)


def _shifted_stacks(stacks: Any, stack_base: int, frame_base: int) -> Any:
    lists = stacks["frame_ids"].combine_chunks()
    values = pa.array(lists.flatten().to_numpy() + frame_base, pa.int32())
    moved = pa.ListArray.from_arrays(lists.offsets, values)
    ids = pa.array(stacks["stack_id"].to_numpy() + stack_base, pa.int32())
    return pa.table({"stack_id": ids, "frame_ids": moved}).cast(STACKS)


@dataclass(slots=True)
class GpuCapture:
    """GPU work of all files on the session clock."""

    kernels: Any = field(default_factory=GPU_KERNELS.empty_table)
    copies: Any = field(default_factory=GPU_COPIES.empty_table)
    calls: Any = field(default_factory=CUDA_API.empty_table)
    syncs: Any = field(default_factory=GPU_SYNCS.empty_table)
    clocks: list[ClockEvidence] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, trace: GpuTrace) -> None:
        """Append a trace that is on the session clock."""
        self.kernels = pa.concat_tables([self.kernels, trace.kernels], promote_options="permissive")
        self.copies = pa.concat_tables([self.copies, trace.copies], promote_options="permissive")
        self.calls = pa.concat_tables([self.calls, trace.calls], promote_options="permissive")
        self.syncs = pa.concat_tables([self.syncs, trace.syncs], promote_options="permissive")


def read_gpu_files(raw: Path, spans: SpanCapture) -> GpuCapture:
    """Every nsys export and torch trace in `raw`; one that cannot be read or aligned becomes a warning."""
    capture = GpuCapture()
    for path in sorted(raw.glob("*.sqlite")):
        _add(capture, path, spans, _nsys)
    for path in sorted(raw.glob("**/*.pt.trace.json*")):
        _add(capture, path, spans, _torch)
    return capture


def _add(capture: GpuCapture, path: Path, spans: SpanCapture, read: Any) -> None:
    try:
        trace, evidence = read(path, spans)
    except (FileUnreadable, ClockError) as error:
        capture.warnings.append(f"{path.name} left out: {error.message}")
        return
    capture.add(trace)
    capture.clocks.append(evidence)


def _nsys(path: Path, spans: SpanCapture) -> tuple[GpuTrace, ClockEvidence]:
    found = read_nvtx(path, "vlmprof")
    ranges = NamedRanges(found.pid, found.tid, found.name, found.names, found.start_ns, found.end_ns)
    clock, witness = align_nsys(ranges, spans.table, found.session.start_unix_ns, spans.unix_minus_session_ns)
    return read_gpu(path).on_clock(clock), clock_evidence(clock, witness)


def _torch(path: Path, spans: SpanCapture) -> tuple[GpuTrace, ClockEvidence]:
    trace = read_kineto(path).gpu
    if trace.origin_unix_ns is None or not spans.unix_minus_session_ns:
        raise ClockError(f"{path.name} says no origin of its times", hint="record with torch 2.2 or newer")
    offsets = sorted(spans.unix_minus_session_ns.values())
    offset_ns = trace.origin_unix_ns - offsets[len(offsets) // 2]
    clock = ClockMap(
        source=f"torch:{path.name}",
        offset_ns=offset_ns,
        uncertainty_ns=max(40_000, (offsets[-1] - offsets[0]) // 2),
        evidence={"method": "unix time of the trace and of the span files"},
    )
    return trace.on_clock(clock), clock_evidence(clock)
