"""An agent that stands by in a server until a profiler attaches, and again after that."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.sampled_program import eventually
from vlmprof.agent.recorder import RECORD
from vlmprof.agent.standing import HeldByAnother, StandingAgent, standing_environment
from vlmprof.agent.switch import SPANS_ON, create_standing_switch, is_held, open_switch
from vlmprof.read.spans import SpanCapture, read_spans

_ROOT = Path(__file__).parents[2]
# Of vLLM's shape: a module that the agent patches, and a loop that calls it a hundred times a second.
_RENDERERS = """
class BaseRenderer:
    def _tokenize_prompt(self, prompt):
        return prompt.split()
"""
_SERVER = """
import os, time
{load}
from vllm.renderers.base import BaseRenderer
{fork}
while True:
    BaseRenderer()._tokenize_prompt("a b")
    time.sleep(0.01)
"""
_LOADS = {"plugin": "from vlmprof.plugin import load; load()", "PYTHONPATH": ""}


class _Served:
    """A running program with its folder of spans."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.process = folder, process

    @property
    def pid(self) -> int:
        return self.process.pid

    def agent(self, *more: int) -> StandingAgent:
        return StandingAgent(self.folder, [self.pid, *more])

    def writes(self, spans: int = 1) -> bool:
        """Whether so many more spans are written."""
        before = self.written_bytes()
        return eventually(lambda: self.written_bytes() >= before + spans * RECORD.size)

    def written_bytes(self) -> int:
        records = self.folder / f"spans.{self.pid}.bin"
        return records.stat().st_size if records.exists() else 0


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., _Served]]:
    """Starts the program with an agent that stands by, loaded in one of two ways."""
    package = tmp_path / "engine" / "vllm" / "renderers"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("")
    (package / "base.py").write_text(_RENDERERS)
    folder = tmp_path / "spans"
    started: list[_Served] = []

    def start(way: str = "plugin", fork: str = "") -> _Served:
        variables = standing_environment(folder)
        bootstrap = variables.pop("PYTHONPATH") if way == "PYTHONPATH" else str(_ROOT)
        path = os.pathsep.join([bootstrap, str(package.parents[1])])
        program = _SERVER.format(load=_LOADS[way], fork=fork)
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **variables, "PYTHONPATH": path},
            start_new_session=True,
        )
        started.append(_Served(folder, process))
        assert eventually((folder / f"spans.{process.pid}.json").exists)
        return started[-1]

    yield start
    for served in started:
        os.killpg(served.pid, signal.SIGKILL)
        served.process.wait()


def _recorded(agent: StandingAgent, raw: Path) -> SpanCapture:
    raw.mkdir()
    agent.copy_into(raw)
    return read_spans(raw)


@pytest.mark.parametrize("way", _LOADS)
def test_spans_are_recorded_while_a_profiler_wants_them(
    way: str, serve: Callable[..., _Served], tmp_path: Path
) -> None:
    """Nothing before it, nothing after it; beacons beat meanwhile, for a sampler's clock."""
    served = serve(way)
    assert served.written_bytes() == 0
    agent = served.agent()
    assert agent.begin() == []
    assert served.writes(100)
    assert agent.end() == []
    spans = _recorded(agent, tmp_path / "raw")
    assert set(spans.table["name"].to_pylist()) == {"text.tokenize"}
    assert len(spans.beacons[served.pid].kind) > 0
    assert not is_held(str(served.folder))
    assert eventually(lambda: _is_quiet(served))


def _is_quiet(served: _Served) -> bool:
    before = served.written_bytes()
    return not eventually(lambda: served.written_bytes() > before, timeout_s=1)


def test_a_second_profiler_gets_its_own_spans_only(serve: Callable[..., _Served], tmp_path: Path) -> None:
    """The server's file holds those of both; each copy begins with its own, also at once after the first."""
    served = serve()
    starts = []
    for number in range(2):
        agent = served.agent()
        assert agent.begin() == []
        assert served.writes(200)
        agent.end()
        spans = _recorded(agent, tmp_path / f"raw{number}")
        starts.append(spans.table["start_ns"].to_numpy())
        assert len(spans.beacons[served.pid].kind) > 0
    assert starts[0].max() < starts[1].min()


def test_a_forked_child_records_into_a_file_of_its_own(serve: Callable[..., _Served], tmp_path: Path) -> None:
    """As vLLM's engine core is forked where no GPU is in use."""
    served = serve(fork="os.fork()")
    assert eventually(lambda: len(list(served.folder.glob("spans.*.json"))) == 2)
    pids = [int(path.name.split(".")[1]) for path in served.folder.glob("spans.*.json")]
    agent = served.agent(*pids)
    assert agent.begin() == []
    assert eventually(lambda: len(list(served.folder.glob("spans.*.bin"))) == 2)
    agent.end()
    spans = _recorded(agent, tmp_path / "raw")
    assert {process.pid for process in spans.processes} == set(pids)
    assert all(len(spans.beacons[pid].kind) for pid in pids)


def test_two_profilers_do_not_record_at_once(serve: Callable[..., _Served]) -> None:
    """The second is told; the first is not disturbed."""
    served = serve()
    first, second = served.agent(), served.agent()
    first.begin()
    with pytest.raises(HeldByAnother):
        second.begin()
    assert served.writes()
    first.end()
    assert second.begin() == []
    second.end()


def test_a_profiler_that_is_killed_does_not_leave_the_server_recording(
    serve: Callable[..., _Served],
) -> None:
    """The kernel drops its lock; the server's own process finds the switch on and nobody behind it."""
    served = serve()
    program = (
        "import sys, time; from pathlib import Path; from vlmprof.agent.standing import StandingAgent\n"
        "agent = StandingAgent(Path(sys.argv[1]), [int(sys.argv[2])]); agent.begin(); print(flush=True)\n"
        "time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(served.folder), str(served.pid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT) as profiler:
        assert profiler.stdout is not None
        profiler.stdout.readline()
        switch = open_switch(str(served.folder))
        assert switch[SPANS_ON] == 1
        profiler.kill()
    assert eventually(lambda: switch[SPANS_ON] == 0)
    assert eventually(lambda: _is_quiet(served))


def test_files_of_an_earlier_server_are_not_this_ones(tmp_path: Path) -> None:
    """A folder that a server had before: only processes of the tree count."""
    create_standing_switch(str(tmp_path))
    (tmp_path / "spans.4194000.json").write_text("{}")
    assert StandingAgent(tmp_path, [os.getpid()]).loaded_pids() == []


def test_many_processes_make_one_switch(tmp_path: Path) -> None:
    """The second finds the first's, on as it was left; nothing but the switch stays in the folder."""
    first = create_standing_switch(str(tmp_path / "new"))
    first[SPANS_ON] = 1
    assert create_standing_switch(str(tmp_path / "new"))[SPANS_ON] == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["switch"]


def test_a_folder_that_cannot_be_made_stops_no_engine(tmp_path: Path) -> None:
    """The agent says so on stderr, through the plugin as well as through PYTHONPATH."""
    (tmp_path / "file").write_text("")
    for variables, program in (
        ({"PYTHONPATH": str(_ROOT)}, "from vlmprof.plugin import load; load(); print('serves')"),
        (standing_environment(tmp_path), "print('serves')"),
    ):
        environment = {**os.environ, **variables, "VLMPROF_SPANS": str(tmp_path / "file" / "spans")}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        assert (run.returncode, run.stdout) == (0, "serves\n")
        assert "vlmprof: span agent not loaded" in run.stderr
