"""Nsight Systems' SQLite export as tables: kernels, copies, CUDA calls, synchronizations, processes, GPUs.

Times count from the start of the recording; rows come in no order since 2025, so everything is sorted here. A
correlation id is one process's own: whoever joins by it joins by the process too.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vlmprof.errors import FileUnreadable
from vlmprof.model.process import Process, Role, Thread
from vlmprof.model.run_info import GpuInfo
from vlmprof.model.tables import CUDA_API, GPU_COPIES, GPU_KERNELS, GPU_SYNCS
from vlmprof.read.compiled import Integers
from vlmprof.read.gpu_trace import SYNC_KINDS, GpuTrace, as_table, recoded
from vlmprof.read.nsys_export import Columns, NsysExport, NsysSession, open_export
from vlmprof.read.nsys_nvtx import NvtxRanges, pid_of, read_nvtx, tid_of
from vlmprof.read.sqlite_pages import NULL

__all__ = [
    "NsysSession",
    "NvtxRanges",
    "read_gpu",
    "read_gpus",
    "read_nvtx",
    "read_processes",
    "read_session",
]

_PLACE = ("start", "end", "deviceId", "streamId", "correlationId", "globalPid")

# The export's own ENUM tables, which newer versions write, give the same numbers the same meaning.
_COPY_KINDS = {1: "HtoD", 2: "DtoH", 8: "DtoD", 9: "HtoH", 10: "PtoP", 11: "HtoD", 12: "DtoH", 13: "DtoD"}
_MEMORY_KINDS = {
    0: "pageable",
    1: "pinned",
    2: "device",
    3: "array",
    4: "managed",
    5: "device",
    6: "managed",
}


def read_session(path: Path) -> NsysSession:
    """When the recording was made.

    Raises:
        FileUnreadable: it is no export of Nsight Systems, or a damaged one.
    """
    with open_export(path) as export:
        return export.session


def read_gpu(path: Path) -> GpuTrace:
    """Kernels, copies, CUDA calls and synchronizations, ns since the start of the recording; empty where none are.

    Raises:
        FileUnreadable: it is no export of Nsight Systems, or a damaged one.
    """
    with open_export(path) as export:
        return GpuTrace(
            source=f"nsys {export.session.version}".strip(),
            origin_unix_ns=export.session.start_unix_ns,
            kernels=_kernels(path, export),
            copies=_copies(path, export),
            calls=_calls(path, export),
            syncs=_syncs(path, export),
        )


def read_processes(path: Path) -> list[Process]:
    """The processes whose CUDA calls or NVTX ranges were recorded, with the names of their threads.

    Raises:
        FileUnreadable: it is no export of Nsight Systems, or a damaged one.
    """
    with open_export(path) as export:
        used = np.concatenate([export.integers(table, "globalTid")["globalTid"] for table in _THREAD_TABLES])
        tids = {(pid_of(thread), tid_of(thread)): "" for thread in np.unique(used[used != NULL]).tolist()}
        named = export.integers("ThreadNames", "globalTid", "nameId")
        for thread, name_id in zip(named["globalTid"].tolist(), named["nameId"].tolist(), strict=True):
            if (place := (pid_of(thread), tid_of(thread))) in tids:
                tids[place] = export.strings.get(name_id, "")
        names = {pid: name for pid, name in export.rows("PROCESSES", "pid", "name") if name}
        return [
            Process(pid, 0, Role.OTHER, None, names.get(pid, ""), _threads(pid, tids))
            for pid in sorted({pid for pid, _ in tids})
        ]


def read_gpus(path: Path) -> list[GpuInfo]:
    """The GPUs of the machine; none where the export does not say.

    Raises:
        FileUnreadable: it is no export of Nsight Systems, or a damaged one.
    """
    with open_export(path) as export:
        rows = export.rows("TARGET_INFO_GPU", "name", "totalMemory")
        return [GpuInfo(name=str(name or ""), memory_bytes=memory or 0, driver="") for name, memory in rows]


_THREAD_TABLES = ("CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_DRIVER", "NVTX_EVENTS")


def _threads(pid: int, tids: dict[tuple[int, int], str]) -> tuple[Thread, ...]:
    return tuple(Thread(tid, name) for (of, tid), name in sorted(tids.items()) if of == pid)


def _kernels(path: Path, export: NsysExport) -> Any:
    table = "CUPTI_ACTIVITY_KIND_KERNEL"
    name = "demangledName" if "demangledName" in export.columns(table) else "shortName"
    rows = export.integers(table, *_PLACE, name, "graphNodeId", needs=7)
    kernels = {
        **_places(path, table, rows),
        "name": export.texts(rows[name]),
        "graph_node_id": _nullable(rows["graphNodeId"]),
    }
    # A graph that was traced as a whole has no kernel rows: without it, its time would look idle.
    table = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
    rows = export.integers(table, *_PLACE, "graphId", needs=6)
    graphs = {
        **_places(path, table, rows),
        "name": pa.array([f"CUDA graph {graph}" for graph in _zeroed(rows["graphId"]).tolist()], pa.string()),
        "graph_node_id": pa.nulls(len(rows["start"]), pa.int64()),
    }
    return _joined([kernels, graphs], GPU_KERNELS)


def _copies(path: Path, export: NsysExport) -> Any:
    table = "CUPTI_ACTIVITY_KIND_MEMCPY"
    rows = export.integers(table, *_PLACE, "bytes", "copyKind", "srcKind", "dstKind", needs=8)
    copies = {
        **_places(path, table, rows),
        "size_bytes": _zeroed(rows["bytes"]),
        "kind": _coded(rows["copyKind"], _COPY_KINDS, "other"),
        "source_memory": _coded(rows["srcKind"], _MEMORY_KINDS, "unknown"),
        "target_memory": _coded(rows["dstKind"], _MEMORY_KINDS, "unknown"),
    }
    table = "CUPTI_ACTIVITY_KIND_MEMSET"
    rows = export.integers(table, *_PLACE, "bytes", "memKind", needs=7)
    count = len(rows["start"])
    sets = {
        **_places(path, table, rows),
        "size_bytes": _zeroed(rows["bytes"]),
        "kind": pa.array(["Memset"] * count, pa.string()),
        "source_memory": pa.nulls(count, pa.string()),
        "target_memory": _coded(rows["memKind"], _MEMORY_KINDS, "unknown"),
    }
    return _joined([copies, sets], GPU_COPIES)


def _calls(path: Path, export: NsysExport) -> Any:
    parts = []
    # Today one table holds both interfaces; a driver table of its own is of the oldest exports.
    for table in ("CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_DRIVER"):
        rows = export.integers(table, "start", "end", "globalTid", "correlationId", "nameId", needs=5)
        names = export.texts(rows["nameId"])
        # The export names the version of the entry point too: cudaLaunchKernel_v7000.
        unversioned = [re.sub(r"_v\d+$", "", name) for name in names.dictionary.to_pylist()]
        parts.append(
            {
                **_times(path, table, rows),
                "pid": pid_of(_zeroed(rows["globalTid"])),
                "tid": tid_of(_zeroed(rows["globalTid"])),
                "name": recoded(names.indices, unversioned),
                "correlation_id": _zeroed(rows["correlationId"]),
            }
        )
    return _joined(parts, CUDA_API)


def _syncs(path: Path, export: NsysExport) -> Any:
    table = "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION"
    rows = export.integers(table, *_PLACE, "syncType", needs=2)
    places = _places(path, table, rows)
    # A stream id of 2^32 - 1 is CUPTI's for "all streams".
    stream = np.where(places["stream"] >= 2**32 - 1, -1, places["stream"])
    kinds = _coded(rows["syncType"], dict(enumerate(SYNC_KINDS)), "unknown")
    return as_table({**places, "stream": stream, "kind": kinds}, GPU_SYNCS)


def _places(path: Path, table: str, rows: Columns) -> dict[str, Integers]:
    """The columns that rows selected as _PLACE share."""
    return {
        **_times(path, table, rows),
        "pid": pid_of(_zeroed(rows["globalPid"])),
        "device": _zeroed(rows["deviceId"]),
        "stream": _zeroed(rows["streamId"]),
        "correlation_id": _zeroed(rows["correlationId"]),
    }


def _times(path: Path, table: str, rows: Columns) -> dict[str, Integers]:
    start_ns, end_ns = _zeroed(rows["start"]), _zeroed(rows["end"])
    backward = np.flatnonzero(end_ns < start_ns)
    if len(backward):
        first = backward[0]
        raise FileUnreadable(
            f"{path}: {len(backward)} rows of {table} last a negative time, the first from {start_ns[first]} ns "
            f"to {end_ns[first]} ns",
            hint="the GPU's clock was not converted: record again, with a newer driver and nsys",
        )
    return {"start_ns": start_ns, "end_ns": end_ns}


def _joined(parts: list[dict[str, Any]], schema: Any) -> Any:
    tables = [pa.table({name: part[name] for name in schema.names}).cast(schema) for part in parts]
    filled = [table for table in tables if table.num_rows] or tables[:1]
    whole = pa.concat_tables(filled).unify_dictionaries().combine_chunks()
    return as_table({name: whole[name] for name in schema.names}, schema)


def _zeroed(values: Integers) -> Integers:
    """NULL becomes 0."""
    return np.where(values == NULL, 0, values)


def _nullable(values: Integers) -> Any:
    return pa.array(values, mask=values == NULL)


def _coded(numbers: Integers, meanings: dict[int, str], other: str) -> Any:
    """The names of an enumeration's numbers as a dictionary column."""
    coded = pa.array(numbers).dictionary_encode()
    return recoded(coded.indices, [meanings.get(number, other) for number in coded.dictionary.to_pylist()])
