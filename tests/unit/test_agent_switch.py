"""The live switch: one byte that every process sees, and how the profiler's side uses it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.agent_spans import instrument_in, names_and_requests
from vlmprof.agent.control import AgentControl
from vlmprof.agent.recorder import Recorder
from vlmprof.agent.switch import SPANS_ON, create_switch, open_switch
from vlmprof.read.spans import read_spans

_REPORTER = """
import sys
from vlmprof.agent.switch import SPANS_ON, open_switch
switch = open_switch(sys.argv[1])
for _ in sys.stdin:
    print(switch[SPANS_ON], flush=True)
"""


def test_another_process_sees_the_switch_turned(tmp_path: Path) -> None:
    """On from the start, then off, then on again, all in the mapping that it made at first."""
    control = AgentControl(tmp_path)
    command = [sys.executable, "-c", _REPORTER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reporter:
        assert reporter.stdin is not None
        assert reporter.stdout is not None
        seen = []
        for on in (None, False, True):
            if on is not None:
                control.record_spans(on)
            reporter.stdin.write("\n")
            reporter.stdin.flush()
            seen.append(reporter.stdout.readline().strip())
        reporter.stdin.close()
    assert seen == ["1", "0", "1"]


def test_a_wrapper_follows_the_switch_call_by_call(tmp_path: Path) -> None:
    """Three calls, the middle one with the switch off: two spans."""
    control = AgentControl(tmp_path)
    instrument = instrument_in(tmp_path, open_switch(str(tmp_path)))
    timed = instrument.timed(lambda: None, "work", None)
    for on in (True, False, True):
        control.record_spans(on)
        timed()
    assert len(names_and_requests(tmp_path, instrument.recorder)) == 2


def test_served_processes_cannot_turn_the_switch(tmp_path: Path) -> None:
    """They map it for reading."""
    create_switch(str(tmp_path))
    with pytest.raises(TypeError):
        open_switch(str(tmp_path))[SPANS_ON] = 0


def test_the_environment_puts_the_agent_before_the_users_own_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PYTHONPATH of the user's stays, behind the bootstrap; the folder is absolute, since engines change theirs."""
    monkeypatch.setenv("PYTHONPATH", "theirs")
    monkeypatch.chdir(tmp_path)
    environment = AgentControl(Path()).environment(beacons=True)
    first, second = environment["PYTHONPATH"].split(os.pathsep)
    assert (Path(first) / "sitecustomize.py").exists()
    assert second == "theirs"
    assert environment["VLMPROF_AGENT_DIR"] == str(tmp_path)
    assert environment["VLMPROF_PTRACER"] == str(os.getpid())
    assert environment["VLMPROF_BEACON"] == "1"


def test_without_a_path_of_the_users_the_bootstrap_stands_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty entry would mean the current folder."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert os.pathsep not in AgentControl(tmp_path).environment(beacons=False)["PYTHONPATH"]


def _write_sidecar(folder: Path, pid: int, flushed_ns: int) -> None:
    (folder / f"spans.{pid}.json").write_text(json.dumps({"flushed_ns": flushed_ns}))


def test_a_flush_is_awaited_from_living_processes_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process has not flushed since the call, a dead one never will: the first is named, after the wait."""
    monkeypatch.setattr("vlmprof.agent.control._FLUSH_WAIT_S", 0.0)
    control = AgentControl(tmp_path)
    dead = subprocess.Popen(["true"])
    dead.wait()
    _write_sidecar(tmp_path, os.getpid(), flushed_ns=0)
    _write_sidecar(tmp_path, dead.pid, flushed_ns=0)
    assert control.loaded_pids() == sorted((os.getpid(), dead.pid))
    assert control.wait_for_flush() == [os.getpid()]


def test_a_running_recorder_flushes_when_it_is_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread writes every quarter of a second: nobody is behind in the end."""
    monkeypatch.setattr("vlmprof.agent.control._FLUSH_WAIT_S", 120.0)
    recorder = Recorder(str(tmp_path))
    control = AgentControl(tmp_path)
    recorder.start()
    recorder.flush()
    assert control.wait_for_flush() == []


_BEATING = """
import sys, time
from vlmprof.agent.beacon import start_beacon
from vlmprof.agent.recorder import Recorder
recorder = Recorder(sys.argv[1])
start_beacon(recorder)
while len(recorder._waiting) < 4:
    time.sleep(0.01)
recorder.flush()
"""


def test_beacons_take_turns_and_do_not_overlap(tmp_path: Path) -> None:
    """Four beats and perhaps one more: a, b, a, b, each beginning after the one before has ended."""
    subprocess.run([sys.executable, "-c", _BEATING, str(tmp_path)], check=True)
    (beacons,) = read_spans(tmp_path).beacons.values()
    assert beacons.kind.tolist()[:4] == [1, 2, 1, 2]
    assert (beacons.start_ns[1:] >= beacons.end_ns[:-1]).all()
    assert (beacons.end_ns > beacons.start_ns).all()
