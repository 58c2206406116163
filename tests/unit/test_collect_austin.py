"""The real austin, both versions that are supported, on a small Python program."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.unit.native_program import compile_native
from tests.unit.sampled_program import eventually, group_members, sampled_program, thread_states
from vlmprof.collect.austin import AustinCollector, austin_command, find_austin
from vlmprof.collect.base import Collector, Served
from vlmprof.collect.permission import confinement
from vlmprof.collect.process_tree import is_alive
from vlmprof.collect.stream_recorder import ARRIVAL
from vlmprof.collect.tools import Tool
from vlmprof.errors import ToolMissing

_CACHED_AUSTIN_4 = Path(__file__).parents[2] / ".cache" / "austin-4.0.0" / "austin"

pytestmark = pytest.mark.skipif(not confinement().cap_sys_ptrace, reason="needs the capability SYS_PTRACE")


def _find_austin_4() -> Tool:
    return find_austin(Path(os.environ.get("VLMPROF_AUSTIN_4", _CACHED_AUSTIN_4)))


@pytest.fixture(params=["3.7", "4.0"])
def tool(request: pytest.FixtureRequest) -> Tool:
    """Each version that is installed; 4.0 where VLMPROF_AUSTIN_4 names it or `make` has fetched it."""
    try:
        found = _find_austin_4() if request.param == "4.0" else find_austin()
    except ToolMissing as missing:
        pytest.skip(missing.message)
    if not found.version.startswith(request.param):
        pytest.skip(f"austin here is {found.version}")
    return found


@pytest.fixture
def austin(tool: Tool, tmp_path: Path) -> Iterator[AustinCollector]:
    collector = AustinCollector(tmp_path, tool)
    yield collector
    collector.stop()


def _mojo_number(value: int) -> bytes:
    """MOJO's variable length: six bits in the first byte, seven in each further, 0x80 where one follows."""
    parts = [value & 0x3F]
    value >>= 6
    while value:
        parts[-1] |= 0x80
        parts.append(value & 0x7F)
        value >>= 7
    return bytes(parts)


def _samples_of(mojo: Path, pid: int) -> int:
    """Samples of a process: events of type 2 that begin with its pid."""
    return mojo.read_bytes().count(b"\x02" + _mojo_number(pid))


def _has_grown(file: Path, size_bytes: int) -> bool:
    return file.stat().st_size > size_bytes


def _process(collector: AustinCollector) -> subprocess.Popen[bytes]:
    process = collector._process
    assert process is not None
    return process


def test_it_is_a_collector(tmp_path: Path) -> None:
    """The type checker holds the class against the interface; it changes nothing about the server's start."""
    collector: Collector = AustinCollector(tmp_path, Tool("austin", tmp_path / "austin", "3.7.0"))
    assert collector.wrap_command(["vllm", "serve"]) == ["vllm", "serve"]
    assert (collector.environment(), collector.engine_args()) == ({}, [])
    assert collector.info.state == "off"


def test_version_4_is_not_asked_for_the_format_that_it_always_writes() -> None:
    """`-b` exists in 3.x alone; idle threads are never dropped; 2 ms is 2000 us."""
    three, four = (Tool("austin", Path("austin"), version) for version in ("3.7.0", "4.0.0"))
    assert austin_command(three, 7, 2_000_000) == ["austin", "-b", "-i", "2000us", "-C", "-p", "7"]
    assert austin_command(four, 7, 2_000_000) == ["austin", "-i", "2000us", "-C", "-p", "7"]


def test_root_and_child_are_sampled_and_run_on(austin: AustinCollector, tmp_path: Path) -> None:
    """After stop: samples of both, arrivals that add up to the file, no austin left, nothing stopped."""
    mojo = tmp_path / "austin.mojo"
    with sampled_program() as program:
        austin.attach(Served(program.pid, ""))
        group = os.getpgid(_process(austin).pid)
        austin.resume()
        assert eventually(lambda: mojo.stat().st_size > 20_000 and _samples_of(mojo, program.child_pid))
        austin.stop()
        assert program.runs()
    assert austin.info.state == "ok", austin.info.detail
    assert austin.info.command[-2:] == ["-p", str(program.pid)]
    assert _samples_of(mojo, program.pid) > 0
    assert _samples_of(mojo, program.child_pid) > 0
    records = list(ARRIVAL.iter_unpack((tmp_path / "austin.arrivals.bin").read_bytes()))
    assert records == sorted(records)
    assert records[-1][1] == mojo.stat().st_size
    assert {path.name for path in austin.files} == {"austin.mojo", "austin.arrivals.bin", "austin.log"}
    assert group_members(group) == []


def test_paused_it_writes_nothing_and_stops_nobody(austin: AustinCollector, tmp_path: Path) -> None:
    """attach leaves it paused; a paused austin is stopped, the program's threads never are."""
    mojo = tmp_path / "austin.mojo"
    with sampled_program() as program:
        austin.attach(Served(program.pid, ""))
        for _ in range(3):
            assert thread_states(_process(austin).pid) == {"T"}
            assert program.runs()
            # What was written before the pause may still be in the pipe.
            size_bytes = 0
            while mojo.stat().st_size > size_bytes:
                size_bytes = mojo.stat().st_size
                time.sleep(0.1)
            assert program.runs()
            austin.resume()
            assert eventually(partial(_has_grown, mojo, size_bytes + 5_000))
            austin.pause()


def test_pausing_and_resuming_twice_is_harmless(austin: AustinCollector) -> None:
    """Neither waits for something that does not come."""
    with sampled_program() as program:
        austin.attach(Served(program.pid, ""))
        austin.pause()
        austin.resume()
        austin.resume()
        austin.pause()
        assert thread_states(_process(austin).pid) == {"T"}


@pytest.mark.parametrize("paused", [True, False])
def test_a_server_that_dies_ends_the_recording_and_keeps_it(
    austin: AustinCollector, paused: bool, tmp_path: Path
) -> None:
    """austin ends with its target, at the latest in stop: nothing hangs, what was sampled stays."""
    mojo = tmp_path / "austin.mojo"
    with sampled_program() as program:
        austin.attach(Served(program.pid, ""))
        if not paused:
            attached_bytes = mojo.stat().st_size
            austin.resume()
            assert eventually(partial(_has_grown, mojo, attached_bytes))
    austin.pause()
    austin.stop()
    assert austin.info.state == "ok", austin.info.detail
    assert not is_alive(_process(austin).pid)


def test_an_austin_that_dies_leaves_a_partial_recording(austin: AustinCollector, tmp_path: Path) -> None:
    """Killed in mid-run: noticed at once, and what it wrote until then is kept."""
    with sampled_program() as program:
        austin.attach(Served(program.pid, ""))
        austin.resume()
        _process(austin).kill()
        assert eventually(lambda: austin.info.state == "partial")
        austin.pause()
        austin.resume()
        austin.stop()
        assert program.runs()
    assert "ended by itself" in austin.info.detail
    assert (tmp_path / "austin.mojo").stat().st_size > 4


def test_a_process_that_is_no_python_is_missing_with_austins_words(
    austin: AustinCollector, tmp_path: Path
) -> None:
    """`sleep` has no interpreter: there is no sample, and the run goes on."""
    with subprocess.Popen(["sleep", "60"]) as target:
        austin.attach(Served(target.pid, ""))
        austin.resume()
        austin.pause()
        austin.stop()
        assert target.poll() is None
        target.kill()
    assert austin.info.state == "missing"
    assert austin.info.detail


def test_a_program_that_cannot_be_started_is_missing(tmp_path: Path) -> None:
    """The server runs already: nothing is raised, the reason is in the info."""
    with sampled_program() as program:
        collector = AustinCollector(tmp_path, Tool("austin", tmp_path / "absent", "3.7.0"))
        collector.attach(Served(program.pid, ""))
        collector.resume()
        collector.pause()
        collector.stop()
        assert program.runs()
    assert collector.info.state == "missing"
    assert "did not start" in collector.info.detail


_ATTACH = """
import sys
from pathlib import Path
from vlmprof.collect.austin import AustinCollector, find_austin
from vlmprof.collect.base import Served
collector = AustinCollector(Path(sys.argv[2]), find_austin())
collector.attach(Served(int(sys.argv[1]), ""))
print(collector._process.pid if collector._process else 0, flush=True)
print(collector.info.state, collector.info.detail, flush=True)
if len(sys.argv) > 3:
    input()
collector.stop()
"""


def test_without_permission_it_is_missing_and_says_what_permits_it(tmp_path: Path) -> None:
    """Under `deny` austin is not even started: its own message would be wrong."""
    deny = compile_native("deny", tmp_path)
    with sampled_program() as program:
        command = [str(deny), sys.executable, "-c", _ATTACH, str(program.pid), str(tmp_path)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert program.runs()
    assert said[0] == "0"
    assert said[1].startswith("missing process_vm_readv is denied")
    assert "--cap-add SYS_PTRACE" in said[1]


def test_a_vlmprof_that_is_killed_takes_a_paused_austin_along(tmp_path: Path) -> None:
    """The kernel kills it with its parent, also where it is adopted by a process of its own session."""
    with sampled_program() as program:
        command = [sys.executable, "-c", _ATTACH, str(program.pid), str(tmp_path), "wait"]
        owner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert owner.stdout is not None
        austin_pid = int(owner.stdout.readline())
        owner.stdout.readline()
        assert is_alive(austin_pid)
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
        assert eventually(lambda: not is_alive(austin_pid))
        assert program.runs()


def test_a_full_disk_makes_it_partial_and_nothing_blocks(tool: Tool, tmp_path: Path) -> None:
    """64 kB fill within seconds; austin and the program run on, the recording is marked."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a file system that is soon full")
    try:
        collector = AustinCollector(disk, tool, interval_ns=500_000)
        with sampled_program() as program:
            collector.attach(Served(program.pid, ""))
            collector.resume()
            assert eventually(lambda: collector.info.state == "partial")
            assert psutil.pid_exists(_process(collector).pid)
            collector.stop()
            assert program.runs()
        assert "No space left on device" in collector.info.detail
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
