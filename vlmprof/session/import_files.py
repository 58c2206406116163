"""Other programs' files into one run folder: each recognised by its content, on one clock where it says the time.

The clock of an imported run is unix time. A file that does not say when it was recorded is laid beside the others:
it starts with the earliest of them, and the run's warnings say so. Tables are made, the files themselves are not
copied: nsys and PyTorch keep the environment of the program in them.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlmprof import __version__
from vlmprof.analysis.gpu_tables import GpuTables
from vlmprof.analysis.merge_gpu_stacks import enclosing_stacks
from vlmprof.analysis.request_spans import SpanIndex
from vlmprof.analysis.summary import summarise
from vlmprof.model.clock import ClockMap
from vlmprof.model.process import Process, Role
from vlmprof.model.results import BreakdownResult
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import (
    IMPORTED,
    SCHEMA_VERSION,
    ClockEvidence,
    CollectorInfo,
    HostInfo,
    ModelInfo,
    RunInfo,
)
from vlmprof.model.table_io import write_table
from vlmprof.model.tables import PROCESSES, SCHEMAS, SPANS
from vlmprof.read.gpu_trace import map_times
from vlmprof.session.capture import merge_samples
from vlmprof.session.gpu_results import gpu_result, merge_run
from vlmprof.session.import_readers import Imported, read_any
from vlmprof.units import NS_PER_MS, NS_PER_S

_UNIX_UNCERTAINTY_NS = NS_PER_MS
_GPU_TABLES = {"gpu_kernels": "kernels", "gpu_copies": "copies", "cuda_api": "calls", "gpu_syncs": "syncs"}
_UNKNOWN_NS = 24 * 3600 * NS_PER_S
"""Uncertainty of a file that says no time: it may be of another day."""


def import_files(
    paths: Sequence[Path], out: Path, command: Sequence[str] = (), *, overwrite: bool = False
) -> RunFolder:
    """Read files of any mixture of formats and write a run.

    Args:
        command: the command line, for run.json.
        overwrite: replace the run that `out` may hold.

    Raises:
        FileUnreadable: a file is of no format that is read, or damaged, or `out` holds a run; nothing has been
            written then.
    """
    files = [(path, read_any(path)) for path in paths]
    if overwrite:
        RunFolder(out).remove()
    folder = RunFolder.create(out)
    clocks = _clocks(files)
    placed = list(zip((file for _, file in files), clocks, strict=True))
    samples, stacks, frames = merge_samples([(file.stacks, clock) for file, clock in placed if file.stacks])
    tables = {
        "samples": samples,
        "stacks": stacks,
        "frames": frames,
        "spans": _joined(
            "spans", [map_times(file.spans, clock) for file, clock in placed if file.spans is not None]
        ),
        "processes": _process_table([process for file, _ in placed for process in file.processes], samples),
        "requests": SCHEMAS["requests"].empty_table(),
    }
    gpus = [file.gpu.on_clock(clock) for file, clock in placed if file.gpu]
    gpu = GpuTables(
        *(_joined(name, [getattr(each, kind) for each in gpus]) for name, kind in _GPU_TABLES.items())
    )
    # Stacks on a GPU's clock are PyTorch's, which records every call: none is guessed from a moment nearby.
    no_requests = SpanIndex(SPANS.empty_table(), {})
    merge = merge_run(
        gpu, tables["spans"], samples, no_requests, tables["requests"], stacks_at=enclosing_stacks
    )
    tables |= merge.tables()
    info = _info(files, clocks, folder, command)
    for name, table in tables.items():
        write_table(folder, name, table)
    breakdown = BreakdownResult(requests=[])
    wanted = ("requests", "processes", "samples", "stacks", "frames")
    folder.write_result("breakdown", breakdown)
    if merge.gpu.size:
        folder.write_result("gpu", gpu_result(merge, tables["requests"], breakdown))
    folder.write_result("summary", summarise(info, breakdown, **{name: tables[name] for name in wanted}))
    folder.write_info(info)
    return folder


def count_rows(folder: RunFolder) -> dict[str, int]:
    """Rows of each table of a run."""
    return {
        name: pq.read_metadata(folder.table_path(name)).num_rows for name in SCHEMAS if folder.has_table(name)
    }


def _clocks(files: Sequence[tuple[Path, Imported]]) -> list[ClockMap]:
    """Unix time for those that say it; the others start with the earliest of these, or at 0."""
    known = [file.origin_unix_ns + file.start_ns for _, file in files if file.origin_unix_ns is not None]
    earliest_ns = min(known, default=0)
    return [
        ClockMap(
            source=f"{file.format}:{path.name}",
            offset_ns=earliest_ns - file.start_ns if file.origin_unix_ns is None else file.origin_unix_ns,
            uncertainty_ns=_UNKNOWN_NS if file.origin_unix_ns is None else _UNIX_UNCERTAINTY_NS,
            evidence={"method": _method(file)},
        )
        for path, file in files
    ]


def _method(file: Imported) -> str:
    if file.origin_unix_ns is None:
        return "side by side: the file does not say when it was recorded"
    return "unix time of the recording"


def _joined(name: str, tables: list[Any]) -> Any:
    """Tables of several files as one, by start."""
    if not tables:
        return SCHEMAS[name].empty_table()
    whole = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    start_ns = whole["start_ns"].to_numpy()
    return whole if (start_ns[1:] >= start_ns[:-1]).all() else whole.sort_by("start_ns")


def _process_table(processes: list[Process], samples: Any) -> Any:
    """Those that files list, and those that were sampled."""
    listed = {process.pid: process for process in processes}
    sampled = sorted(set(samples["pid"].to_pylist()) - listed.keys())
    rows = [
        {
            "pid": process.pid,
            "parent_pid": process.parent_pid,
            "role": str(process.role),
            "rank": process.rank,
            "name": process.name,
            "threads": [{"tid": thread.tid, "name": thread.name} for thread in process.threads],
        }
        for process in (*listed.values(), *(Process(pid, 0, Role.OTHER, None, "") for pid in sampled))
    ]
    return pa.Table.from_pylist(rows, schema=PROCESSES)


def _info(
    files: Sequence[tuple[Path, Imported]],
    clocks: Sequence[ClockMap],
    folder: RunFolder,
    command: Sequence[str],
) -> RunInfo:
    aside = [path.name for path, file in files if file.origin_unix_ns is None]
    warnings = [f"{name} does not say when it was recorded: it is laid beside the others" for name in aside]
    gpus = list({gpu.name: gpu for _, file in files for gpu in file.gpus}.values())
    return RunInfo(
        schema_version=SCHEMA_VERSION,
        vlmprof_version=__version__,
        name=folder.path.name,
        status="complete",
        created_unix_ns=time.time_ns(),
        command=list(command),
        model=ModelInfo(name=IMPORTED),
        host=HostInfo(cpu="", cores=0, memory_bytes=0, kernel="", os="", gpus=gpus),
        collectors=[
            CollectorInfo(name=file.format, kind="gpu" if file.gpu else "cpu", detail=path.name)
            for path, file in files
        ],
        clocks=[
            ClockEvidence(
                source=clock.source,
                method=str(clock.evidence["method"]),
                offset_ns=clock.offset_ns,
                drift_ppm=0.0,
                uncertainty_ns=clock.uncertainty_ns,
            )
            for clock in clocks
        ],
        quality=[each for _, file in files for each in file.quality],
        warnings=warnings if len(files) > 1 else [],
    )
