"""Reads what the agent recorded in each served process: spans, beacons, and who the process is.

`spans.<pid>.bin` holds records of 28 bytes, little-endian: name id and flags (uint16), thread id (uint32), start
and end (uint64, session clock), request reference (uint32). `spans.<pid>.json` beside it says what the numbers
mean; it is replaced after each write of records, so that a killed process may leave it a little older.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlmprof.analysis.align_austin import BEACON_SPANS, Beacons
from vlmprof.errors import FileUnreadable
from vlmprof.model.process import Process, Role, Thread
from vlmprof.model.run_info import AgentInfo, SourceQuality
from vlmprof.model.tables import SPANS
from vlmprof.read.span_depth import enclosing_depth

SCHEMA = 1
RECORD = np.dtype(
    [
        ("name_id", "<u2"),
        ("flags", "<u2"),
        ("tid", "<u4"),
        ("start_ns", "<u8"),
        ("end_ns", "<u8"),
        ("request_ref", "<u4"),
    ]
)
_LATEST_NS = 2**62


class _Sidecar(msgspec.Struct, frozen=True):
    """`spans.<pid>.json`."""

    schema: int
    pid: int
    ppid: int = 0
    argv: list[str] = []
    role: str = Role.OTHER.value
    rank: int | None = None
    name: str = ""
    names: list[str] = []
    requests: list[str | list[str] | None] = []
    threads: dict[str, str] = {}
    clock: dict[str, int] = {}
    missing: list[str] = []
    patched: int = 0
    dropped: int = 0
    span_cost_ns: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SpanCapture:
    """All that the agents of a run recorded.

    Attributes:
        table: schema `SPANS`, by start_ns, without the beacons.
        beacons: per pid.
        unix_minus_session_ns: per pid, the realtime clock less the session clock when the agent started.
        quality: one entry per process, its losses told in the note.
    """

    table: Any
    processes: list[Process]
    agents: list[AgentInfo]
    beacons: Mapping[int, Beacons]
    unix_minus_session_ns: Mapping[int, int]
    quality: list[SourceQuality]


def read_spans(folder: Path) -> SpanCapture:
    """Read the span files of a run's `raw` folder; one that is damaged costs its own spans only.

    Raises:
        FileUnreadable: a file is of a newer schema, or the folder cannot be read.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.match("spans.*.bin"))
    except OSError as error:
        raise FileUnreadable(
            f"cannot read spans from {folder}: {error.strerror}", hint="name the raw folder of a run"
        ) from error
    parts = [_read_process(path) for path in paths]
    known = [part for part in parts if part.pid is not None]
    return SpanCapture(
        table=_table(known),
        processes=[_process(part) for part in known],
        agents=[_agent(part) for part in known],
        beacons={part.pid: part.beacons for part in known if part.pid and len(part.beacons.kind)},
        unix_minus_session_ns={
            part.pid: part.sidecar.clock["realtime_ns"] - part.sidecar.clock["monotonic_ns"]
            for part in known
            if part.pid and {"realtime_ns", "monotonic_ns"} <= part.sidecar.clock.keys()
        },
        quality=[_quality(part) for part in parts],
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One process's files; pid is None where the file's name has none."""

    path: Path
    pid: int | None
    sidecar: _Sidecar
    records: npt.NDArray[Any]
    beacons: Beacons
    dropped: int = 0
    torn: bool = False
    notes: list[str] = field(default_factory=list)


def _read_process(path: Path) -> _Part:
    notes: list[str] = []
    pid_text = path.name.split(".")[1]
    pid = int(pid_text) if pid_text.isdecimal() else None
    if pid is None:
        notes.append(f"{path.name} is no span file: its name holds no process id")
        return _Part(path, None, _Sidecar(SCHEMA, 0), np.zeros(0, RECORD), _no_beacons(), notes=notes)
    sidecar = _read_sidecar(path.with_suffix(".json"), pid, notes)
    records, torn = _read_records(path, notes)
    resolved = (
        (records["name_id"] < len(sidecar.names))
        & (records["request_ref"] < max(1, len(sidecar.requests)))
        & (records["start_ns"] <= records["end_ns"])
        & (records["end_ns"] < _LATEST_NS)
        & (records["tid"] < 2**31)
    )
    dropped = int(np.count_nonzero(~resolved))
    if dropped:
        notes.append(
            f"{dropped} spans refer to names or requests that {path.stem}.json lacks, or make no sense"
        )
    records = records[resolved]
    beacons, is_beacon = _beacons(records, sidecar.names)
    return _Part(path, pid, sidecar, records[~is_beacon], beacons, dropped, torn, notes)


def _read_sidecar(path: Path, pid: int, notes: list[str]) -> _Sidecar:
    """The process's description; an empty one, with a note, where there is none to be read."""
    try:
        sidecar = msgspec.json.decode(path.read_bytes(), type=_Sidecar)
    except OSError as error:
        notes.append(f"{path.name}: {error.strerror}")
    except msgspec.DecodeError as error:
        notes.append(f"{path.name} is damaged: {error}")
    else:
        if sidecar.schema > SCHEMA:
            raise FileUnreadable(
                f"{path}: schema {sidecar.schema}; this vlmprof reads up to {SCHEMA}",
                hint="upgrade vlmprof to read this run",
            )
        return sidecar
    return _Sidecar(SCHEMA, pid)


def _read_records(path: Path, notes: list[str]) -> tuple[npt.NDArray[Any], bool]:
    """The whole records, and whether a torn one follows them."""
    try:
        content = path.read_bytes()
    except OSError as error:
        notes.append(f"{path.name}: {error.strerror}")
        content = b""
    count, rest = divmod(len(content), RECORD.itemsize)
    if rest:
        notes.append(f"{path.name} ends in a torn record of {rest} bytes")
    return np.frombuffer(content, RECORD, count), bool(rest)


def _beacons(records: npt.NDArray[Any], names: list[str]) -> tuple[Beacons, npt.NDArray[np.bool_]]:
    kind_of_name = np.zeros(len(names) + 1, np.int8)
    for kind, name in enumerate(BEACON_SPANS, 1):
        if name in names:
            kind_of_name[names.index(name)] = kind
    kind = kind_of_name[records["name_id"]]
    chosen = records[kind > 0]
    order = np.argsort(chosen["start_ns"], kind="stable")
    start_ns, end_ns = (chosen[column][order].astype(np.int64) for column in ("start_ns", "end_ns"))
    return Beacons(start_ns, end_ns, kind[kind > 0][order]), kind > 0


def _no_beacons() -> Beacons:
    return Beacons(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int8))


def _table(parts: list[_Part]) -> Any:
    tables = [_process_table(part) for part in parts]
    table = pa.concat_tables([SPANS.empty_table(), *tables]).unify_dictionaries()
    return table.sort_by([("start_ns", "ascending"), ("end_ns", "descending")])


def _process_table(part: _Part) -> Any:
    records, sidecar = part.records, part.sidecar
    start_ns, end_ns = records["start_ns"].astype(np.int64), records["end_ns"].astype(np.int64)
    requests = pa.array(
        [_request_ids(request) for request in sidecar.requests or [None]], SPANS.field("request_ids").type
    )
    names = pa.DictionaryArray.from_arrays(
        pa.array(records["name_id"].astype(np.int32)), pa.array(sidecar.names, pa.string())
    )
    return pa.table(
        {
            "pid": np.full(len(records), part.pid, np.int32),
            "tid": records["tid"].astype(np.int32),
            "name": names,
            "request_ids": requests.take(pa.array(records["request_ref"].astype(np.int64))),
            "start_ns": start_ns,
            "end_ns": end_ns,
            "depth": enclosing_depth(records["tid"].astype(np.int64), start_ns, end_ns).astype(np.int16),
        },
        schema=SPANS,
    )


def _request_ids(request: str | list[str] | None) -> list[str]:
    if request is None:
        return []
    return [request] if isinstance(request, str) else request


def _process(part: _Part) -> Process:
    sidecar = part.sidecar
    role = sidecar.role if sidecar.role in {str(role) for role in Role} else Role.OTHER
    tids = {int(tid): name for tid, name in sidecar.threads.items() if tid.isdecimal()}
    seen = dict.fromkeys(np.unique(part.records["tid"]).tolist(), "")
    threads = tuple(Thread(tid, name) for tid, name in sorted((seen | tids).items()))
    return Process(part.pid or 0, sidecar.ppid, Role(role), sidecar.rank, sidecar.name, threads)


def _agent(part: _Part) -> AgentInfo:
    sidecar = part.sidecar
    cost_ns = None if sidecar.span_cost_ns is None else round(sidecar.span_cost_ns)
    return AgentInfo(
        pid=part.pid or 0,
        role=_process(part).label,
        patched=sidecar.patched,
        missing=sidecar.missing,
        dropped=sidecar.dropped + part.dropped,
        span_cost_ns=cost_ns,
    )


def _quality(part: _Part) -> SourceQuality:
    return SourceQuality(
        source=f"spans:{part.path.name.split('.')[1]}",
        samples=len(part.records),
        dropped=part.sidecar.dropped + part.dropped,
        truncated=part.torn,
        note="; ".join(part.notes),
    )
