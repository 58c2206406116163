"""The real py-spy on a small Python program."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sampled_program import group_members, sampled_program
from vlmprof.collect.base import Collector, Served
from vlmprof.collect.permission import confinement
from vlmprof.collect.process_tree import python_pids
from vlmprof.collect.pyspy import PySpyCollector, find_pyspy, pyspy_command
from vlmprof.collect.tools import Tool
from vlmprof.errors import ToolMissing
from vlmprof.read.pyspy import PySpyTrace, read_pyspy
from vlmprof.read.pyspy_index import read_index

pytestmark = pytest.mark.skipif(not confinement().cap_sys_ptrace, reason="needs the capability SYS_PTRACE")


@pytest.fixture
def pyspy(tmp_path: Path) -> Iterator[PySpyCollector]:
    try:
        tool = find_pyspy()
    except ToolMissing as missing:
        pytest.skip(missing.message)
    collector = PySpyCollector(tmp_path, tool)
    yield collector
    collector.stop()


def test_it_is_a_collector(tmp_path: Path) -> None:
    """The type checker holds the class against the interface."""
    collector: Collector = PySpyCollector(tmp_path, Tool("py-spy", tmp_path / "py-spy", "0.4.3"))
    assert collector.info.state == "off"
    assert collector.files == []


def test_idle_threads_and_the_kernels_thread_ids_are_asked_for(tmp_path: Path) -> None:
    """Without `--idle` a waiting thread would look busy until its next sample."""
    tool = Tool("py-spy", Path("py-spy"), "0.4.3")
    command = pyspy_command(tool, 7, tmp_path / "out.json", rate_hz=50, nonblocking=False)
    assert {"--idle", "--threads"} <= set(command)
    assert "--nonblocking" not in command
    assert "--nonblocking" in pyspy_command(tool, 7, tmp_path / "out.json", rate_hz=50, nonblocking=True)


def test_each_block_has_a_file_for_each_process(pyspy: PySpyCollector, tmp_path: Path) -> None:
    """Two blocks, root and child: four files, an index in step with them, nobody harmed, no py-spy left."""
    with sampled_program() as program:
        pyspy.attach(Served(program.pid, ""))
        groups = []
        for _ in range(2):
            pyspy.resume()
            groups += [os.getpgid(recorder.process.pid) for recorder in pyspy._recorders]
            pyspy.pause()
        pyspy.stop()
        assert program.runs()
    index = read_index(tmp_path / "pyspy.index.json")
    pids = [program.pid, program.child_pid]
    assert [(entry.block, entry.pid) for entry in index] == [(block, pid) for block in (0, 1) for pid in pids]
    assert all(entry.started_ns < entry.ended_ns for entry in index)
    assert all((tmp_path / entry.file).exists() for entry in index)
    assert all(group_members(group) == [] for group in groups)
    assert pyspy.info.state == "ok", pyspy.info.detail


def test_a_recording_reads_back_with_native_thread_ids(pyspy: PySpyCollector, tmp_path: Path) -> None:
    """Every thread of the root is there under the id that the kernel knows it by.

    How many samples a block holds is the scheduler's affair: blocks follow until one has seen all threads at work.
    """
    with sampled_program() as program:
        threads = {int(thread) for thread in os.listdir(f"/proc/{program.pid}/task")}
        pyspy.attach(Served(program.pid, ""))
        blocks = (
            _record_block(pyspy, tmp_path / f"pyspy.{number}.{program.pid}.json") for number in range(99)
        )
        trace = next(block for block in blocks if _threads_in(block, "busy_function") == threads)
    assert set(trace.samples["tid"].to_pylist()) == threads
    assert set(trace.samples["pid"].to_pylist()) == {program.pid}
    assert trace.pthread_ids == frozenset()


def _record_block(pyspy: PySpyCollector, file: Path) -> PySpyTrace:
    pyspy.resume()
    time.sleep(0.2)
    pyspy.pause()
    return read_pyspy(file)


def _threads_in(trace: PySpyTrace, function: str) -> set[int]:
    """The threads that were seen with the function on their stack."""
    frames = {row["frame_id"] for row in trace.frames.to_pylist() if row["function"] == function}
    stacks = {row["stack_id"] for row in trace.stacks.to_pylist() if frames & set(row["frame_ids"])}
    return {row["tid"] for row in trace.samples.to_pylist() if row["stack_id"] in stacks}


def test_a_server_that_dies_in_a_block_is_no_failure_of_the_sampler(pyspy: PySpyCollector) -> None:
    """py-spy ends with its process and writes what it has."""
    with sampled_program() as program:
        pyspy.attach(Served(program.pid, ""))
        pyspy.resume()
    pyspy.pause()
    pyspy.stop()
    assert pyspy.info.state in ("ok", "partial")
    assert pyspy.files


def test_a_pyspy_that_is_killed_makes_it_partial(pyspy: PySpyCollector) -> None:
    """One of the two recorders dies: the other's file is kept."""
    with sampled_program() as program:
        pyspy.attach(Served(program.pid, ""))
        pyspy.resume()
        pyspy._recorders[0].process.kill()
        pyspy.pause()
        assert program.runs()
    assert pyspy.info.state == "partial"
    assert "wrote nothing" in pyspy.info.detail
    assert len(json.loads((pyspy.files[0].parent / "pyspy.index.json").read_bytes())) == 1


def test_a_program_that_cannot_be_started_is_missing(tmp_path: Path) -> None:
    """The server runs already: nothing is raised, the reason is in the info."""
    with sampled_program() as program:
        collector = PySpyCollector(tmp_path, Tool("py-spy", tmp_path / "absent", "0.4.3"))
        collector.attach(Served(program.pid, ""))
        collector.resume()
        collector.pause()
        collector.stop()
        assert program.runs()
    assert collector.info.state == "missing"
    assert "did not start" in collector.info.detail


def test_only_python_processes_of_a_tree_are_sampled() -> None:
    """The program's root and its child; a shell above them is none, and a pid that is gone has none."""
    with sampled_program() as program:
        assert python_pids(program.pid) == [program.pid, program.child_pid]
    assert python_pids(program.pid) == []
