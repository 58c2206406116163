"""Nsight Systems: what is made of its recordings, and the real one where it is installed."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.unit.sampled_program import eventually
from vlmprof.collect.base import Collector, Served
from vlmprof.collect.nsys import NsysCollector, launch_command
from vlmprof.collect.nsys_report import (
    find_importer,
    find_nsys,
    leaked_names,
    make_report,
    nsys_finds_importer,
    redact,
)
from vlmprof.collect.process_tree import is_alive, python_root
from vlmprof.collect.tools import Tool
from vlmprof.errors import FileUnreadable, ToolMissing
from vlmprof.read.nsys_sqlite import read_nvtx

_SECRET = "hf_0123456789abcdef"
_ENVIRONMENT = {"HF_TOKEN": _SECRET, "HOME": "/home/user", "EMPTY_KEY": "", "SHORT_KEY": "1234"}

_RANGES = """
import os, sys, time
import nvtx
print(os.getpid(), flush=True)
progress, end = sys.argv[1:]
with open(progress, "wb", buffering=0) as made:
    while not os.path.exists(end):
        nvtx.push_range("mm.hf_processor", domain="vlmprof")
        time.sleep(0.002)
        nvtx.pop_range(domain="vlmprof")
        made.write(b".")
print("unharmed", flush=True)
"""


# A worker, as vLLM's are started under nsys: another interpreter, which loads nsys's libraries for itself.
_SPAWNS = f"""
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", {_RANGES!r}, sys.argv[1] + ".worker", sys.argv[2]],
                          stdout=subprocess.PIPE)
worker.stdout.readline()
{_RANGES}
"""


def _tool(path: Path, version: str = "2022.4.2.1") -> Tool:
    return Tool("nsys", path, version)


def _program(path: Path, script: str = "true") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def _export(path: Path, secret: str = _SECRET, leak: str = "") -> Path:
    """A small export with the copies of the environment that versions from 2022 to 2026 make."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            f"""
            CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT);
            INSERT INTO StringIds VALUES (1, 'mm.hf_processor'), (2, 'token {secret} in the server''s log');
            INSERT INTO StringIds VALUES (3, 'HF_TOKEN={secret}' || char(0) || 'HOME=/home/user'), (4, '{leak}');
            CREATE TABLE ProcessStreams (globalPid INTEGER, filenameId INTEGER, contentId INTEGER);
            INSERT INTO ProcessStreams VALUES (7, 1, 2);
            CREATE TABLE TARGET_INFO_SYSTEM_ENV (name TEXT, value TEXT);
            INSERT INTO TARGET_INFO_SYSTEM_ENV VALUES ('DeviceEnvironment', 'HF_TOKEN={secret}');
            CREATE TABLE META_DATA_CAPTURE (name TEXT, value TEXT);
            INSERT INTO META_DATA_CAPTURE VALUES ('PROCESS_0:ENVIRONMENT_VARIABLE', 'HF_TOKEN="{secret}"');
            INSERT INTO META_DATA_CAPTURE VALUES ('RATE_HZ', '0');
            """
        )
    return path


def test_it_is_a_collector(tmp_path: Path) -> None:
    """The type checker holds the class against the interface; spans become NVTX ranges, workers are spawned."""
    collector: Collector = NsysCollector(tmp_path, _tool(Path("nsys")), gpu=False)
    wrapped = collector.wrap_command(["vllm", "serve"])
    assert wrapped[4:6] == ["nsys", "launch"]
    assert wrapped[-2:] == ["vllm", "serve"]
    assert collector.environment() == {"VLMPROF_NVTX": "1", "VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
    assert collector.info.state == "off"


def test_cuda_is_traced_where_there_is_a_gpu() -> None:
    """Node by node: a graph that is traced as a whole hides its kernels."""
    tool = _tool(Path("nsys"))
    assert "--trace=nvtx,osrt" in launch_command(tool, "s", gpu=False)
    with_gpu = launch_command(tool, "s", gpu=True)
    assert {"--trace=cuda,nvtx,osrt", "--cuda-graph-trace=node"} <= set(with_gpu)


def test_every_copy_of_the_environment_is_removed(tmp_path: Path) -> None:
    """Four copies of one token: after it no byte of the file has it; names and settings stay."""
    database = _export(tmp_path / "nsys.0.sqlite")
    assert leaked_names(database, _ENVIRONMENT) == ["HF_TOKEN"]
    redact(database, _ENVIRONMENT)
    assert _SECRET.encode() not in database.read_bytes()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT value FROM StringIds WHERE id = 1").fetchone() == (
            "mm.hf_processor",
        )
        assert connection.execute("SELECT name FROM META_DATA_CAPTURE").fetchall() == [("RATE_HZ",)]


def test_a_database_that_still_holds_a_secret_is_deleted(tmp_path: Path) -> None:
    """A copy in a place that nobody knew of: no database is better than that one."""
    database = _export(tmp_path / "nsys.0.sqlite", leak=f"--hf-token {_SECRET}")
    with pytest.raises(FileUnreadable, match="HF_TOKEN"):
        redact(database, _ENVIRONMENT)
    assert not database.exists()


def test_a_damaged_database_is_deleted_rather_than_kept_unredacted(tmp_path: Path) -> None:
    """It may hold the environment in the part that SQLite cannot read."""
    database = tmp_path / "nsys.0.sqlite"
    database.write_bytes(b"SQLite format 3\0 and nothing that follows")
    with pytest.raises(FileUnreadable, match="cannot be redacted"):
        redact(database, _ENVIRONMENT)
    assert not database.exists()


def test_the_importer_is_found_beside_any_link_to_nsys(tmp_path: Path) -> None:
    """Debian's layout: bin/nsys -> lib/bin/nsys -> ../target/nsys, lib/target -> arch/target, lib/host."""
    nsys = _program(tmp_path / "arch" / "target-linux-x64" / "nsys")
    importer = _program(tmp_path / "lib" / "host-linux-x64" / "QdstrmImporter")
    (tmp_path / "lib" / "bin").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib" / "target-linux-x64").symlink_to("../arch/target-linux-x64")
    (tmp_path / "lib" / "bin" / "nsys").symlink_to("../target-linux-x64/nsys")
    (tmp_path / "bin" / "nsys").symlink_to("../lib/bin/nsys")
    tool = _tool(tmp_path / "bin" / "nsys")
    assert find_importer(tool) == importer
    assert not nsys_finds_importer(tool)
    (tmp_path / "arch" / "host-linux-x64").symlink_to(importer.parent)
    assert nsys_finds_importer(tool)
    assert find_importer(_tool(nsys)) is not None


def test_half_an_installation_is_named_with_its_fix(tmp_path: Path) -> None:
    """nsys without its importer leaves a raw stream that nobody can read."""
    (tmp_path / "nsys.0.qdstrm").write_bytes(b"stream")
    tool = _tool(_program(tmp_path / "target" / "nsys"))
    with pytest.raises(ToolMissing, match="QdstrmImporter") as raised:
        make_report(tool, tmp_path / "nsys.0")
    assert raised.value.hint == "apt-get install nsight-systems"


def test_an_importer_that_refuses_is_quoted(tmp_path: Path) -> None:
    """A damaged stream: the importer's own words are the reason."""
    (tmp_path / "nsys.0.qdstrm").write_bytes(b"stream")
    tool = _tool(_program(tmp_path / "target" / "nsys"))
    _program(tmp_path / "host-linux-x64" / "QdstrmImporter", "echo file is damaged >&2; exit 1")
    with pytest.raises(FileUnreadable, match="file is damaged"):
        make_report(tool, tmp_path / "nsys.0")


def test_a_recording_without_a_file_says_so(tmp_path: Path) -> None:
    """Neither stream nor report was written."""
    with pytest.raises(FileUnreadable, match="recorded nothing"):
        make_report(_tool(tmp_path / "nsys"), tmp_path / "nsys.0")


def test_a_session_that_never_started_makes_it_missing(tmp_path: Path) -> None:
    """`nsys start` fails: noted with its exit code, nothing is raised, nothing is left in `raw`."""
    collector = NsysCollector(tmp_path, _tool(_program(tmp_path / "bin" / "nsys", "exit 3")), gpu=False)
    collector.attach(Served(os.getpid(), ""))
    collector.resume()
    collector.pause()
    collector.stop()
    assert collector.info.state == "missing"
    assert "nsys start failed with exit code 3" in collector.info.detail
    assert not (tmp_path / "nsys.private").exists()


_FAILS_TWICE = """
echo >>launches
[ "$(wc -l <launches)" -gt 2 ] || exit 1
while [ "$1" != /bin/sh ]; do shift; done
exec "$@"
"""


def _launched(tmp_path: Path, *program: str) -> "subprocess.Popen[str]":
    """A program under an nsys that loses its race twice; each launch adds a line to the file `launches`."""
    nsys = _program(tmp_path / "bin" / "nsys", _FAILS_TWICE)
    command = NsysCollector(tmp_path, _tool(nsys), gpu=False).wrap_command(list(program))
    return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)


def test_a_program_that_was_never_started_is_launched_again(tmp_path: Path) -> None:
    """The third launch starts it, once; its own failure is not taken for one of nsys; no mark is left."""
    launched = _launched(tmp_path, "/bin/sh", "-c", "echo started; exit 3")
    said, _ = launched.communicate()
    assert (said, launched.returncode) == ("started\n", 3)
    assert (tmp_path / "launches").read_text() == "\n" * 3
    assert not (tmp_path / "nsys.started").exists()


def test_a_launch_that_is_terminated_ends_and_is_not_repeated(tmp_path: Path) -> None:
    """SIGTERM for the outermost process alone, as the kernel sends it when vlmprof was killed."""
    launched = _launched(tmp_path, "/bin/sh", "-c", "echo started; exec sleep 600")
    assert launched.stdout is not None
    assert launched.stdout.readline() == "started\n"
    launched.terminate()
    said, _ = launched.communicate()
    assert (said, launched.returncode) == ("", 128 + signal.SIGTERM)
    assert (tmp_path / "launches").read_text() == "\n" * 3


@pytest.fixture
def nsys(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NsysCollector]:
    """The installed nsys; its parameter says whether to trace CUDA too, as on a machine with a GPU."""
    monkeypatch.setenv("VLMPROF_TEST_TOKEN", _SECRET)
    try:
        tool = find_nsys()
    except ToolMissing as missing:
        pytest.skip(missing.message)
    if find_importer(tool) is None:
        pytest.skip("nsys came without its importer: apt-get install nsight-systems")
    collector = NsysCollector(tmp_path, tool, gpu=getattr(request, "param", False))
    yield collector
    collector.stop()


class _Launched:
    """The program of _RANGES under nsys, with what it prints in a file, and a byte in another for each range."""

    def __init__(self, collector: NsysCollector, folder: Path, program: str = _RANGES) -> None:
        self.said, self._made, self._end = folder / "server.log", folder / "ranges", folder / "end"
        command = collector.wrap_command([sys.executable, "-c", program, str(self._made), str(self._end)])
        with self.said.open("wb") as log:
            self.launcher = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        # What nsys says of a launch that it has to repeat stands above.
        assert eventually(lambda: self._last_line().isdigit()), self.said.read_text()
        self.pid = int(self._last_line())

    def _last_line(self) -> str:
        return self.said.read_text().rpartition("\n")[0].rpartition("\n")[2].strip()

    def make_ranges(self, count: int) -> None:
        """Wait until it has made so many more."""
        wanted = self._made.stat().st_size + count
        assert eventually(lambda: self._made.stat().st_size >= wanted)

    def end_well(self) -> None:
        """Let it come to its end, where it says its last word."""
        self._end.touch()
        assert eventually(lambda: "unharmed" in self.said.read_text()), self.said.read_text()

    def kill(self) -> None:
        # A worker that it started sees this, and ends.
        self._end.touch()
        for pid in (self.pid, self.launcher.pid):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.launcher.wait()


def _mentions(session: str) -> list[str]:
    """Processes that run and have the session's name in their command line."""
    processes = psutil.process_iter(["cmdline", "status"])
    lines = [" ".join(each.info["cmdline"] or []) for each in processes if each.info["status"] != "zombie"]
    return [line for line in lines if session in line]


@pytest.mark.nsys
def test_two_blocks_are_recorded_redacted_and_the_program_unharmed(
    nsys: NsysCollector, tmp_path: Path
) -> None:
    """start, stop, start, stop, shutdown: ranges of both blocks, no token, no nsys left, the program goes on."""
    program = _Launched(nsys, tmp_path)
    try:
        assert python_root(program.launcher.pid) == program.pid
        nsys.attach(Served(program.launcher.pid, ""))
        for _ in range(2):
            nsys.resume()
            program.make_ranges(50)
            nsys.pause()
        assert (tmp_path / "nsys.private").stat().st_mode & 0o777 == 0o700
        nsys.stop()
        assert is_alive(program.pid)
        assert nsys.info.state == "ok", nsys.info.detail
        assert [path.name for path in nsys.files] == ["nsys.0.sqlite", "nsys.1.sqlite", "nsys.log"]
        assert not any(
            _SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
        )
        for path in nsys.files[:2]:
            ranges = read_nvtx(path, "vlmprof")
            assert len(ranges) > 10
            assert ranges.names == ["mm.hf_processor"]
            assert set(ranges.pid) == {program.pid}
    finally:
        program.kill()
    nsys.stop()
    assert eventually(lambda: _mentions(nsys._session) == [])


@pytest.mark.nsys
@pytest.mark.parametrize("nsys", [True], indirect=True)
def test_a_spawned_worker_is_recorded_with_the_options_of_a_gpu(nsys: NsysCollector, tmp_path: Path) -> None:
    """The installed nsys takes them without a GPU as well; ranges come from both processes."""
    program = _Launched(nsys, tmp_path, _SPAWNS)
    try:
        nsys.attach(Served(program.launcher.pid, ""))
        nsys.resume()
        program.make_ranges(50)
        nsys.pause()
        nsys.stop()
        assert nsys.info.state == "ok", nsys.info.detail
        pids = set(read_nvtx(nsys.files[0], "vlmprof").pid)
        assert len(pids) == 2
        assert program.pid in pids
        program.end_well()
    finally:
        program.kill()


@pytest.mark.nsys
def test_a_program_that_ends_after_the_shutdown_ends_well(nsys: NsysCollector, tmp_path: Path) -> None:
    """It says its last word after nsys has gone: nsys let go of it without a signal."""
    program = _Launched(nsys, tmp_path)
    try:
        nsys.attach(Served(program.pid, ""))
        nsys.resume()
        nsys.stop()
        program.end_well()
    finally:
        program.kill()


@pytest.mark.nsys
def test_a_server_that_is_killed_in_a_block_hangs_nothing(nsys: NsysCollector, tmp_path: Path) -> None:
    """The block is cut short; stop returns, and no process of the session is left."""
    program = _Launched(nsys, tmp_path)
    nsys.attach(Served(program.pid, ""))
    nsys.resume()
    os.kill(program.pid, signal.SIGKILL)
    program.launcher.wait()
    nsys.pause()
    nsys.resume()
    nsys.stop()
    assert nsys.info.state in ("ok", "partial")
    assert eventually(lambda: _mentions(nsys._session) == [])
    assert not (tmp_path / "nsys.private").exists()
