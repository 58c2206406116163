"""NVTX ranges of Nsight Systems' SQLite export: pushed and popped, or started and ended; text or text id."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.errors import FileUnreadable
from vlmprof.read.nsys_export import ROW_ID, Columns, NsysExport, NsysSession, open_export
from vlmprof.read.sqlite_pages import NULL

Ints = npt.NDArray[np.int64]

PUSH_POP, START_END = (59, 70), (60, 71)
"""Event types of finished ranges, of NVTX itself and of its text files (NVTXT)."""

_DOMAIN_CREATE = 75
_COLUMNS = ("start", "end", "eventType", "globalTid", "textId", "domainId")


@dataclass(frozen=True, slots=True)
class NvtxRanges:
    """n ranges sorted by start, ns since the start of the recording.

    Attributes:
        name: index into `names` of each range.
        unfinished: ranges still open when the recording stopped; left out unless they were asked for.
    """

    session: NsysSession
    start_ns: Ints
    end_ns: Ints
    pid: Ints
    tid: Ints
    name: Ints
    names: list[str]
    unfinished: int

    def __len__(self) -> int:
        return len(self.start_ns)


def read_nvtx(
    path: Path,
    domain: str | None = None,
    *,
    kinds: tuple[int, ...] = PUSH_POP,
    close_open_ranges: bool = False,
) -> NvtxRanges:
    """The NVTX ranges of one domain, or of all; none where the recording has none.

    Args:
        kinds: PUSH_POP, which nest within a thread, or START_END, which need not; or both.
        close_open_ranges: let those that had not ended last until the end of the recording.

    Raises:
        FileUnreadable: it is no export of Nsight Systems, or a damaged one.
    """
    with open_export(path) as export:
        events = export.integers("NVTX_EVENTS", *_COLUMNS, needs=4)
        chosen = np.isin(events["eventType"], kinds)
        if domain is not None:
            chosen &= _in_domain(export, events, domain)
        is_open = chosen & (events["end"] == NULL)
        ends = np.where(is_open, _end_of_recording(export, events), events["end"])
        _check_forward(path, events["start"], ends, chosen)
        kept = np.flatnonzero(chosen if close_open_ranges else chosen & ~is_open)
        kept = kept[np.lexsort((ends[kept], events["start"][kept]))]
        codes, names = _names(export, events, kept)
        return NvtxRanges(
            session=export.session,
            start_ns=events["start"][kept],
            end_ns=ends[kept],
            pid=pid_of(events["globalTid"][kept]),
            tid=tid_of(events["globalTid"][kept]),
            name=codes,
            names=names,
            unfinished=int(np.count_nonzero(is_open)),
        )


def pid_of(global_id: Any) -> Any:
    """The process of a globalTid or globalPid: bits 24 to 47; the bits below are the thread's."""
    return global_id >> 24 & 0xFFFFFF


def tid_of(global_id: Any) -> Any:
    """The thread of a globalTid."""
    return global_id & 0xFFFFFF


def _end_of_recording(export: NsysExport, events: Columns) -> int:
    latest = max(events["end"].max(initial=0), events["start"].max(initial=0))
    return max(int(latest), export.session.length_ns or 0)


def _check_forward(path: Path, start_ns: Ints, end_ns: Ints, chosen: Any) -> None:
    backward = np.flatnonzero(chosen & (end_ns < start_ns))
    if len(backward):
        first = backward[0]
        raise FileUnreadable(
            f"{path}: {len(backward)} ranges of NVTX_EVENTS last a negative time, the first from "
            f"{start_ns[first]} ns to {end_ns[first]} ns",
            hint="record again with a newer nsys",
        )


def _in_domain(export: NsysExport, events: Columns, domain: str) -> Any:
    """Which events are of a domain; each process numbers its domains itself."""
    created = np.flatnonzero(events["eventType"] == _DOMAIN_CREATE)
    codes, names = _names(export, events, created)
    wanted = created[codes == names.index(domain)] if domain in names else created[:0]
    inside = np.zeros(len(events["start"]), np.bool_)
    for row in wanted:
        same_process = pid_of(events["globalTid"]) == pid_of(events["globalTid"][row])
        inside |= same_process & (events["domainId"] == events["domainId"][row])
    return inside


def _names(export: NsysExport, events: Columns, rows: Ints) -> tuple[Ints, list[str]]:
    """Codes and sorted names of some events: the text that stands in the row, else that of its id."""
    written = export.row_texts("NVTX_EVENTS", "text")
    ids = export.texts(events["textId"][rows]).to_pylist()
    row_ids = events[ROW_ID][rows].tolist()
    texts = [written.get(row_id, text) for row_id, text in zip(row_ids, ids, strict=True)]
    coded = pa.array(texts, pa.string()).dictionary_encode()
    order = pc.sort_indices(coded.dictionary)
    ranks = np.empty(len(order), np.int64)
    ranks[order.to_numpy()] = np.arange(len(order))
    return ranks[coded.indices.to_numpy()], coded.dictionary.take(order).to_pylist()
