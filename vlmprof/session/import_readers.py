"""Recognises other programs' files by their content, and reads each as what a run is made of."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.collect.nsys_report import export_report, find_nsys
from vlmprof.errors import FileUnreadable
from vlmprof.model.clock import ClockMap
from vlmprof.model.process import Process, Role, Thread
from vlmprof.model.run_info import GpuInfo, SourceQuality
from vlmprof.model.tables import SPANS
from vlmprof.read.collapsed import read_collapsed
from vlmprof.read.gpu_trace import GpuTrace
from vlmprof.read.kineto import read_kineto
from vlmprof.read.mojo import read_mojo
from vlmprof.read.mojo_tables import mojo_quality, mojo_tables
from vlmprof.read.nsys_nvtx import PUSH_POP, START_END
from vlmprof.read.nsys_sqlite import read_gpu, read_gpus, read_nvtx, read_processes
from vlmprof.read.pyspy import read_pyspy
from vlmprof.read.span_depth import enclosing_depth
from vlmprof.read.speedscope import read_speedscope

_HINT = "see `vlmprof import --help` for the formats"


@dataclass(slots=True)
class Imported:
    """What one file holds, on its own clock.

    Attributes:
        origin_unix_ns: unix time of the file's time 0; None where it does not say.
        stacks: anything with `samples`, `stacks` and `frames`.
    """

    format: str
    origin_unix_ns: int | None
    gpu: GpuTrace | None = None
    spans: Any = None
    stacks: Any = None
    processes: list[Process] = field(default_factory=list)
    gpus: list[GpuInfo] = field(default_factory=list)
    quality: list[SourceQuality] = field(default_factory=list)

    @property
    def start_ns(self) -> int:
        """The earliest time in the file, on its own clock."""
        tables = [self.spans, self.stacks and self.stacks.samples]
        tables += [self.gpu.kernels, self.gpu.copies, self.gpu.calls] if self.gpu else []
        starts = [
            int(table["start_ns"].to_numpy().min())
            for table in tables
            if table is not None and table.num_rows
        ]
        return min(starts, default=0)


@dataclass(frozen=True, slots=True)
class _Stacks:
    samples: Any
    stacks: Any
    frames: Any


def read_any(path: Path) -> Imported:
    """A file by whichever reader takes it.

    Raises:
        FileUnreadable: none does; the message says why each refused. A file that begins like one format is
            judged by that reader alone.
    """
    head = _head(path)
    for magic, read in _BY_MAGIC:
        if head.startswith(magic):
            return read(path)
    refusals = []
    for name, read in _BY_CONTENT.items():
        try:
            return read(path)
        except FileUnreadable as error:
            refusals.append(f"{name}: {error.message.replace(str(path), path.name)}")
    tried = "\n  ".join(["nsys report, nsys SQLite, MOJO: other first bytes", *refusals])
    raise FileUnreadable(f"{path} is of no format that is read:\n  {tried}", hint=_HINT)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror}", hint=_HINT) from error
    if not head:
        raise FileUnreadable(f"{path} is empty", hint=_HINT)
    return head


def _nsys(path: Path) -> Imported:
    ranges, gpu = read_nvtx(path, kinds=PUSH_POP + START_END, close_open_ranges=True), read_gpu(path)
    names = pa.DictionaryArray.from_arrays(
        pa.array(ranges.name.astype(np.int32)), pa.array(ranges.names, pa.string())
    )
    spans = {"pid": ranges.pid, "tid": ranges.tid, "name": names}
    spans |= {"start_ns": ranges.start_ns, "end_ns": ranges.end_ns}
    note = f"{ranges.unfinished} NVTX ranges were open at the end of the recording, and end there"
    quality = SourceQuality(
        source=f"nsys:{path.name}", samples=len(ranges), note=note if ranges.unfinished else ""
    )
    return Imported(
        gpu.source,
        gpu.origin_unix_ns,
        gpu,
        spans=_spans(spans),
        processes=read_processes(path),
        gpus=read_gpus(path),
        quality=[quality],
    )


def _nsys_report(path: Path) -> Imported:
    """A report is exported elsewhere first: its folder may not be ours to write to."""
    tool = find_nsys()
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, path.name).with_suffix(".nsys-rep")
        link.symlink_to(path.absolute())
        try:
            return _nsys(export_report(tool, link))
        except FileUnreadable as error:
            raise FileUnreadable(
                f"{path} cannot be exported by nsys {tool.version}: {error.message}",
                hint="a report needs an nsys that is not older than the one that recorded it; or pass its SQLite "
                "export",
            ) from error


def _kineto(path: Path) -> Imported:
    trace = read_kineto(path, python=True)
    marks = trace.ops.filter(pc.equal(trace.ops["category"].cast(pa.string()), "user_annotation"))
    columns = {name: marks[name].to_numpy().astype(np.int64) for name in ("pid", "tid", "start_ns", "end_ns")}
    tids = {(row["pid"], row["tid"]) for row in trace.ops.select(["pid", "tid"]).to_pylist()}
    tids |= {(row["pid"], row["tid"]) for row in trace.gpu.calls.select(["pid", "tid"]).to_pylist()}
    processes = [
        Process(
            each,
            0,
            Role.OTHER,
            trace.rank,
            "",
            tuple(Thread(tid, "") for of, tid in sorted(tids) if of == each),
        )
        for each in sorted({pid for pid, _ in tids})
    ]
    spans = _spans({**columns, "name": marks["name"]})
    return Imported("kineto", 0, trace.gpu, spans=spans, stacks=trace.stacks, processes=processes)


def _mojo(path: Path) -> Imported:
    capture = read_mojo(path)
    clocks = {pid: ClockMap(f"austin:{pid}", 0) for pid in capture.pids}
    return Imported(
        "austin MOJO",
        None,
        stacks=_Stacks(*mojo_tables(capture, clocks)),
        quality=[mojo_quality(capture, clocks)],
    )


def _pyspy(path: Path) -> Imported:
    return Imported("py-spy Chrome trace", None, stacks=read_pyspy(path))


def _speedscope(path: Path) -> Imported:
    return Imported("speedscope", None, stacks=read_speedscope(path))


def _collapsed(path: Path) -> Imported:
    return Imported("collapsed stacks", None, stacks=read_collapsed(path))


_Reader = Callable[[Path], Imported]
_BY_MAGIC: tuple[tuple[bytes, _Reader], ...] = (
    (b"SQLite format 3\0", _nsys),
    (b"MOJ", _mojo),
    (b"NVIDIA Tegra Profiler", _nsys_report),
)
_BY_CONTENT: dict[str, _Reader] = {
    "PyTorch's profiler": _kineto,
    "speedscope": _speedscope,
    "py-spy Chrome trace": _pyspy,
    "collapsed stacks": _collapsed,
}


def _spans(columns: dict[str, Any]) -> Any:
    """Ranges of another program as spans: they work for no known request."""
    requests: list[list[str]] = [[]] * len(columns["pid"])
    thread = columns["pid"] << 32 | columns["tid"]
    depth = enclosing_depth(thread, columns["start_ns"], columns["end_ns"])
    more = {
        "request_ids": pa.array(requests, SPANS.field("request_ids").type),
        "depth": np.minimum(depth, np.iinfo(np.int16).max),
    }
    table = pa.table({name: (columns | more)[name] for name in SPANS.names}).cast(SPANS)
    return table.sort_by([("start_ns", "ascending"), ("end_ns", "descending")])
