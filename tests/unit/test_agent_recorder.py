"""The recorder: what is added is read back, also after a fork, a full disk and a sudden end."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.unit.agent_spans import names_and_requests, read_back
from vlmprof.agent.recorder import RECORD, Recorder, process_role
from vlmprof.read.spans import RECORD as READ_RECORD
from vlmprof.read.spans import read_spans

_PREAMBLE = """
import json, os, resource, sys, time
from vlmprof.agent.recorder import Recorder
recorder = Recorder(sys.argv[1])
name = recorder.name_id("work")
"""


def _run(program: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", _PREAMBLE + program, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_writer_and_reader_agree_on_the_size_of_a_record() -> None:
    """2 + 2 + 4 + 8 + 8 + 4 = 28 bytes, on either side of the file."""
    assert RECORD.size == READ_RECORD.itemsize == 28


def test_spans_are_read_back_as_they_were_added(tmp_path: Path) -> None:
    """One with a request, one with a batch of two, one with none."""
    recorder = Recorder(str(tmp_path))
    recorder.add(recorder.name_id("mm.hash"), 100, 250, "r-1")
    recorder.add(recorder.name_id("core.schedule"), 300, 310, ("r-1", "r-2"))
    recorder.add(recorder.name_id("mm.hash"), 400, 410, None)
    spans = read_back(tmp_path, recorder)
    assert [(span.name, span.requests, span.start_ns, span.end_ns) for span in spans] == [
        ("mm.hash", ("r-1",), 100, 250),
        ("core.schedule", ("r-1", "r-2"), 300, 310),
        ("mm.hash", (), 400, 410),
    ]
    assert {(span.pid, span.tid) for span in spans} == {(os.getpid(), threading.get_native_id())}


def test_later_flushes_append(tmp_path: Path) -> None:
    """Two flushes of one span each: two spans, whose request has one number in both."""
    recorder = Recorder(str(tmp_path))
    name_id = recorder.name_id("work")
    recorder.add(name_id, 1, 2, "r")
    recorder.flush()
    recorder.add(name_id, 3, 4, "r")
    assert names_and_requests(tmp_path, recorder) == [("work", ("r",))] * 2
    assert json.loads((tmp_path / f"spans.{os.getpid()}.json").read_text())["requests"] == [None, "r"]


def test_each_thread_is_recorded_under_its_kernel_id_and_name(tmp_path: Path) -> None:
    """The tid is what samplers and nsys know a thread by; its name is for people."""
    recorder = Recorder(str(tmp_path))
    written = threading.Event()

    def work() -> None:
        recorder.add(recorder.name_id("work"), 1, 2, None)
        recorder.flush()
        written.set()

    thread = threading.Thread(target=work, name="tokenizer")
    thread.start()
    thread.join()
    assert written.is_set()
    (span,) = read_back(tmp_path)
    assert span.tid == thread.native_id
    (process,) = read_spans(tmp_path).processes
    assert (span.tid, "tokenizer") in [(known.tid, known.name) for known in process.threads]


def test_the_sidecar_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that is cut off leaves the old one: what the records of before refer to stays readable."""
    recorder = Recorder(str(tmp_path))
    recorder.add(recorder.name_id("work"), 1, 2, "r")
    recorder.flush()
    before = (tmp_path / f"spans.{os.getpid()}.json").read_bytes()

    def cut_off(_description: object, file: object) -> None:
        file.write("{")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vlmprof.agent.recorder.json.dump", cut_off)
    recorder.flush()
    assert (tmp_path / f"spans.{os.getpid()}.json").read_bytes() == before


def test_the_background_thread_and_the_exit_write_what_waits(tmp_path: Path) -> None:
    """A program that only starts the recorder and ends: its last span is in the file."""
    _run("recorder.start(); recorder.add(name, 1, 2, 'last')", tmp_path)
    assert names_and_requests(tmp_path) == [("work", ("last",))]


def test_a_recorder_that_was_not_started_writes_nothing(tmp_path: Path) -> None:
    """Interpreters in which nothing is patched, as pip's or a compiler's, leave no file."""
    _run("recorder.add(name, 1, 2, None)", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_writes_a_file_of_its_own(tmp_path: Path) -> None:
    """What the parent had not yet written stays the parent's: one span in each file."""
    _run(
        "recorder.start(); os.register_at_fork(after_in_child=recorder.restart_in_child)\n"
        "recorder.add(name, 1, 2, 'parent')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    recorder.add(name, 3, 4, 'child'); recorder.flush(); os._exit(0)\n"
        "os.waitpid(child, 0)\n",
        tmp_path,
    )
    spans = read_back(tmp_path)
    assert [span.requests for span in spans] == [("parent",), ("child",)]
    assert len({span.pid for span in spans}) == 2


def test_a_forked_childs_own_thread_writes(tmp_path: Path) -> None:
    """Threads do not survive a fork: without a new one the child's spans would wait for ever."""
    run = _run(
        "recorder.start(); os.register_at_fork(after_in_child=recorder.restart_in_child)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    recorder.add(name, 3, 4, 'child')\n"
        "    path = f'{sys.argv[1]}/spans.{os.getpid()}.json'\n"
        "    deadline = time.monotonic() + 20\n"
        "    while not os.path.exists(path) and time.monotonic() < deadline: time.sleep(0.02)\n"
        "    os._exit(0 if os.path.exists(path) else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n",
        tmp_path,
    )
    assert run.stdout.strip() == "0"
    assert [span.requests for span in read_back(tmp_path)] == [("child",)]


def test_a_full_disk_keeps_whole_records_and_counts_the_rest(tmp_path: Path) -> None:
    """Files may grow to 60 000 bytes: 1000 records of 28 bytes fit, the next 2000 would end at 84 000.

    The write of the 2000 is cut off inside a record; the file goes back to 28 000 bytes and 2000 count as lost.
    """
    run = _run(
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "for at in range(1000): recorder.add(name, at, at + 1, 'r')\n"
        "recorder.flush()\n"
        "for at in range(2000): recorder.add(name, at, at + 1, 'r')\n"
        "recorder.flush(); recorder.flush()\n",
        tmp_path,
    )
    capture = read_spans(tmp_path)
    assert capture.table.num_rows == 1000
    assert (capture.agents[0].dropped, capture.quality[0].truncated) == (2000, False)
    assert "could not be written" in capture.agents[0].missing[0]
    assert run.stderr.count("could not be written") == 1


def test_a_folder_that_is_gone_does_not_stop_the_program(tmp_path: Path) -> None:
    """The engine goes on; the agent says once that it cannot write, and counts the two spans."""
    run = _run(
        "os.rmdir(sys.argv[1]); recorder.start(); recorder.add(name, 1, 2, None); recorder.flush()\n"
        "recorder.add(name, 1, 2, None); recorder.flush(); print('served', recorder.dropped)\n",
        tmp_path,
    )
    assert run.stdout == "served 2\n"
    assert run.stderr.count("could not be written") == 1


def test_a_flusher_that_cannot_keep_up_drops_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten may wait: eleven are dropped together, and the next one is written."""
    monkeypatch.setattr("vlmprof.agent.recorder.MAX_WAITING", 10)
    recorder = Recorder(str(tmp_path))
    name_id = recorder.name_id("work")
    for at in range(11):
        recorder.add(name_id, at, at + 1, None)
    recorder.flush()
    recorder.add(name_id, 20, 21, None)
    assert len(read_back(tmp_path, recorder)) == 1
    assert read_spans(tmp_path).agents[0].dropped == 11


@pytest.mark.parametrize(
    ("process_name", "role", "rank"),
    [
        ("VllmWorker-0", "worker", 0),
        ("VllmWorker-3", "worker", 3),
        ("VllmWorker_2", "worker", 2),
        ("Worker", "worker", 0),
        ("EngineCore", "engine_core", None),
        ("EngineCore_DP1", "engine_core", None),
        ("ApiServer_0", "api_server", None),
    ],
)
def test_the_part_of_a_process_is_known_by_its_name(
    process_name: str, role: str, rank: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names that vLLM gives to its children for multiprocessing."""
    monkeypatch.setattr("multiprocessing.current_process", lambda: type("P", (), {"name": process_name}))
    assert process_role() == (role, rank)
