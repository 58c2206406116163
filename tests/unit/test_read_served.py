"""`raw/served.json`: the processes that a profiler which attached to a server saw."""

import time
from pathlib import Path

import pytest

from vlmprof.errors import FileUnreadable
from vlmprof.model.process import Process, Role, Thread
from vlmprof.read.served import SERVED_FILE, read_served, with_served, write_served
from vlmprof.read.spans import read_spans

_API = Process(10, 1, Role.API_SERVER, None, "vllm", (Thread(10, "main"),))
_WORKER = Process(12, 11, Role.WORKER, 0, "VLLM::Worker", (Thread(12, "main"), Thread(13, "pool")))


def test_processes_come_back_as_they_were_written(tmp_path: Path) -> None:
    """A worker that has ended when the list is written again stays on it; the API server's new thread is added."""
    write_served(tmp_path, [_API, _WORKER])
    later = Process(10, 1, Role.API_SERVER, None, "vllm", (Thread(10, "main"), Thread(14, "pool")))
    write_served(tmp_path, [later])
    assert read_served(tmp_path).processes == [later, _WORKER]


def test_a_run_that_started_its_server_has_no_list(tmp_path: Path) -> None:
    assert read_served(tmp_path).processes == []
    assert with_served(read_spans(tmp_path), read_served(tmp_path)).processes == []


def test_processes_without_an_agent_are_added_with_a_clock(tmp_path: Path) -> None:
    """Traces that are dated by the realtime clock can be put beside their samples."""
    write_served(tmp_path, [_API, _WORKER])
    spans = with_served(read_spans(tmp_path), read_served(tmp_path))
    assert [process.label for process in spans.processes] == ["api_server", "worker 0"]
    now_ns = time.time_ns() - time.perf_counter_ns()
    assert all(abs(clock_ns - now_ns) < 10**9 for clock_ns in spans.unix_minus_session_ns.values())
    assert set(spans.unix_minus_session_ns) == {10, 12}


def test_a_damaged_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / SERVED_FILE).write_bytes(b'{"processes": [')
    with pytest.raises(FileUnreadable, match=r"served\.json is damaged"):
        read_served(tmp_path)
