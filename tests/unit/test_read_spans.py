"""Reading the agent's span files: whole ones, and every way in which a killed process leaves them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlmprof.errors import FileUnreadable
from vlmprof.model.process import Role
from vlmprof.model.tables import SPANS
from vlmprof.read.spans import RECORD, read_spans

NAMES = ["beacon.a", "beacon.b", "http.run_asgi", "mm.hf_processor"]

Record = tuple[int, int, int, int, int]
"""name id, tid, start, end, request reference."""


def write(
    folder: Path, pid: int, records: list[Record], sidecar: dict[str, Any] | None = None, tail: bytes = b""
) -> None:
    array = np.zeros(len(records), RECORD)
    for row, (name_id, tid, start_ns, end_ns, request) in enumerate(records):
        array[row] = (name_id, 0, tid, start_ns, end_ns, request)
    (folder / f"spans.{pid}.bin").write_bytes(array.tobytes() + tail)
    described: dict[str, Any] = {
        "schema": 1,
        "pid": pid,
        "ppid": 1,
        "argv": ["vllm", "serve"],
        "role": "worker",
        "rank": 0,
        "name": "VllmWorker-0",
        "names": NAMES,
        "requests": [None, "r1", ["r1", "r2"]],
        "threads": {"70": "MainThread"},
        "clock": {"monotonic_ns": 5, "realtime_ns": 1005, "boottime_ns": 6},
        "missing": ["mm.gone"],
        "patched": 9,
        "dropped": 0,
        "span_cost_ns": 310.4,
        "flushed_ns": 77,
    }
    (folder / f"spans.{pid}.json").write_text(json.dumps(described | (sidecar or {})))


def test_a_record_is_28_bytes() -> None:
    """2 + 2 + 4 + 8 + 8 + 4, as the agent packs `<HHIQQI`."""
    assert RECORD.itemsize == 28


def test_spans_of_all_processes_come_by_their_start(tmp_path: Path) -> None:
    """Names and request ids are resolved per process; a batch has several ids, some spans none."""
    write(tmp_path, 70, [(2, 70, 100, 300, 1), (3, 71, 150, 250, 2)])
    write(
        tmp_path,
        80,
        [(3, 80, 120, 130, 0)],
        {"role": "api_server", "rank": None, "names": [*NAMES[:3], "core.step"]},
    )
    capture = read_spans(tmp_path)
    assert capture.table.schema == SPANS
    assert capture.table.select(["pid", "name", "request_ids", "start_ns"]).to_pylist() == [
        {"pid": 70, "name": "http.run_asgi", "request_ids": ["r1"], "start_ns": 100},
        {"pid": 80, "name": "core.step", "request_ids": [], "start_ns": 120},
        {"pid": 70, "name": "mm.hf_processor", "request_ids": ["r1", "r2"], "start_ns": 150},
    ]
    assert [entry.note for entry in capture.quality] == ["", ""]


def test_beacons_are_kept_apart_from_the_spans(tmp_path: Path) -> None:
    """Two kinds, by start, in the order of the names beacon.a and beacon.b."""
    write(tmp_path, 70, [(1, 72, 500, 560, 0), (0, 72, 400, 499, 0), (2, 70, 100, 300, 1)])
    capture = read_spans(tmp_path)
    beacons = capture.beacons[70]
    assert capture.table.num_rows == 1
    assert (beacons.start_ns.tolist(), beacons.end_ns.tolist(), beacons.kind.tolist()) == (
        [400, 500],
        [499, 560],
        [1, 2],
    )


def test_depth_counts_the_spans_of_the_same_thread_that_enclose_one(tmp_path: Path) -> None:
    """[0, 100) holds [10, 60) and in it [20, 30); [50, 80) only overlaps [10, 60); thread 71 is another matter."""
    records = [
        (2, 70, 20, 30, 0),
        (2, 70, 10, 60, 0),
        (2, 70, 50, 80, 0),
        (2, 70, 0, 100, 0),
        (2, 71, 20, 25, 0),
    ]
    write(tmp_path, 70, records)
    rows = read_spans(tmp_path).table.to_pylist()
    assert {(row["tid"], row["start_ns"]): row["depth"] for row in rows} == {
        (70, 0): 0,
        (70, 10): 1,
        (70, 20): 2,
        (71, 20): 0,
        (70, 50): 1,
    }


def test_of_two_equal_spans_the_one_that_was_written_later_is_outside(tmp_path: Path) -> None:
    """The agent writes a span when it ends: the inner one first. A span that ends where another starts is over."""
    write(tmp_path, 70, [(3, 70, 10, 20, 0), (2, 70, 10, 20, 0), (3, 70, 20, 20, 0)])
    rows = read_spans(tmp_path).table.to_pylist()
    assert [
        (row["name"], row["start_ns"], row["depth"]) for row in rows if row["end_ns"] > row["start_ns"]
    ] == [
        ("mm.hf_processor", 10, 1),
        ("http.run_asgi", 10, 0),
    ]
    assert rows[-1]["depth"] == 0


def test_processes_and_agents_are_told(tmp_path: Path) -> None:
    """Threads are those named by the agent and those that spans came from."""
    write(tmp_path, 70, [(2, 71, 100, 300, 1)])
    capture = read_spans(tmp_path)
    (process,), (agent,) = capture.processes, capture.agents
    assert (process.pid, process.parent_pid, process.role, process.label) == (70, 1, Role.WORKER, "worker 0")
    assert [(thread.tid, thread.name) for thread in process.threads] == [(70, "MainThread"), (71, "")]
    assert (agent.patched, agent.missing, agent.span_cost_ns, agent.role) == (9, ["mm.gone"], 310, "worker 0")
    assert capture.unix_minus_session_ns == {70: 1000}


def test_an_unknown_role_is_other(tmp_path: Path) -> None:
    write(tmp_path, 70, [], {"role": "prefetcher", "rank": None})
    assert read_spans(tmp_path).processes[0].role is Role.OTHER


def test_a_torn_last_record_is_left_out_and_told(tmp_path: Path) -> None:
    """27 of 28 bytes of a record."""
    write(tmp_path, 70, [(2, 70, 100, 300, 1)], tail=b"\1" * 27)
    capture = read_spans(tmp_path)
    assert capture.table.num_rows == 1
    assert capture.quality[0].truncated
    assert "torn record of 27 bytes" in capture.quality[0].note


def test_records_newer_than_their_description_are_dropped_and_counted(tmp_path: Path) -> None:
    """Name 9 and request 3 came after the last description was written."""
    write(tmp_path, 70, [(2, 70, 100, 300, 1), (9, 70, 310, 320, 1), (2, 70, 330, 340, 3)], {"dropped": 4})
    capture = read_spans(tmp_path)
    assert capture.table["start_ns"].to_pylist() == [100]
    assert capture.quality[0].dropped == capture.agents[0].dropped == 6
    assert "2 spans refer to names or requests" in capture.quality[0].note


def test_times_that_make_no_sense_are_dropped_and_counted(tmp_path: Path) -> None:
    """An end before its start, and one in 2^63 ns."""
    write(tmp_path, 70, [(2, 70, 300, 100, 1), (2, 70, 0, 2**63, 1), (2, 70, 5, 6, 1)])
    capture = read_spans(tmp_path)
    assert capture.table["start_ns"].to_pylist() == [5]
    assert capture.quality[0].dropped == 2


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), ('{"schema": 1,', "is damaged"), ("[]", "is damaged")]
)
def test_without_its_description_a_process_has_no_spans_and_a_note(
    tmp_path: Path, content: str | None, said: str
) -> None:
    """The records stand for nothing without the names; the other process is not touched."""
    write(tmp_path, 70, [(2, 70, 100, 300, 1)] * 3)
    write(tmp_path, 80, [(2, 80, 100, 300, 1)])
    sidecar = tmp_path / "spans.70.json"
    sidecar.unlink()
    if content is not None:
        sidecar.write_text(content)
    capture = read_spans(tmp_path)
    assert capture.table["pid"].to_pylist() == [80]
    assert capture.quality[0].dropped == 3
    assert said in capture.quality[0].note


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 70, [], {"schema": 2})
    with pytest.raises(FileUnreadable, match="schema 2; this vlmprof reads up to 1"):
        read_spans(tmp_path)


def test_a_foreign_file_is_told_and_costs_nothing(tmp_path: Path) -> None:
    write(tmp_path, 70, [(2, 70, 100, 300, 1)])
    (tmp_path / "spans.old.bin").write_bytes(b"\0" * 100)
    capture = read_spans(tmp_path)
    assert capture.table.num_rows == 1
    assert [process.pid for process in capture.processes] == [70]
    assert "no span file" in capture.quality[1].note


def test_a_folder_without_spans_is_empty(tmp_path: Path) -> None:
    capture = read_spans(tmp_path)
    assert capture.table.schema == SPANS
    assert (capture.table.num_rows, capture.processes, capture.beacons) == (0, [], {})


def test_an_absent_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable, match="No such file"):
        read_spans(tmp_path / "raw")
