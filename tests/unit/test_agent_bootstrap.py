"""Loading the agent into an interpreter that knows nothing of it, as a served process is started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.agent_spans import names_and_requests
from vlmprof.agent.control import AgentControl
from vlmprof.model.run_info import AgentInfo
from vlmprof.read.spans import read_spans

_LOADED = "import sys; print(getattr(sys, '_vlmprof_agent', None) is not None)"
# Of vLLM's shape, and nothing of its weight: the version's rows find some of their functions and miss others.
_RENDERERS = """
class BaseRenderer:
    def _tokenize_prompt(self, prompt):
        return prompt.split()
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a server is started with; `tmp_path` is the agent's folder."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return {**os.environ, **AgentControl(tmp_path).environment(beacons=False)}


def _python(program: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )


def _with_path(environment: dict[str, str], folder: Path) -> dict[str, str]:
    return {**environment, "PYTHONPATH": os.pathsep.join([environment["PYTHONPATH"], str(folder)])}


def _fake_vllm(folder: Path) -> Path:
    renderers = folder / "vllm" / "renderers"
    renderers.mkdir(parents=True)
    for package in (renderers.parent, renderers):
        (package / "__init__.py").write_text("")
    (renderers / "base.py").write_text(_RENDERERS)
    return folder


def test_the_agent_loads_from_the_environment_alone(environment: dict[str, str]) -> None:
    """Nothing is installed for it; it is silent."""
    run = _python(_LOADED, environment)
    assert (run.stdout, run.stderr, run.returncode) == ("True\n", "", 0)


def test_an_interpreter_that_serves_nothing_leaves_no_file(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Only the switch is there afterwards."""
    _python("import json", environment)
    assert [path.name for path in tmp_path.iterdir()] == ["switch"]


def test_without_its_variable_nothing_of_the_agent_is_imported(environment: dict[str, str]) -> None:
    """The bootstrap's folder on the path of some other program of the user's."""
    del environment["VLMPROF_AGENT_DIR"]
    run = _python("import sys; print([name for name in sys.modules if 'vlmprof' in name])", environment)
    assert (run.stdout, run.stderr) == ("[]\n", "")


def test_the_agent_brings_nothing_heavy_along(environment: dict[str, str]) -> None:
    """Every interpreter of the server pays for what it imports: no asyncio, no ssl, no numpy."""
    ask = "import sys; print({'asyncio', 'ssl', 'numpy', 'torch', 'pyarrow'} & set(sys.modules))"
    assert _python(ask, environment).stdout == "set()\n"


@pytest.mark.parametrize("with_agent", [True, False])
def test_another_sitecustomize_is_still_run(
    environment: dict[str, str], with_agent: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Ours hides the one that comes later on the path, so ours runs it."""
    other = tmp_path_factory.mktemp("other")
    (other / "sitecustomize.py").write_text("print('theirs')\n")
    if not with_agent:
        del environment["VLMPROF_AGENT_DIR"]
    run = _python(_LOADED, _with_path(environment, other))
    assert run.stdout == f"theirs\n{with_agent}\n"


def test_a_folder_without_a_switch_does_not_stop_the_interpreter(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """The engine starts without the agent, and its log says why."""
    (tmp_path / "switch").unlink()
    run = _python("print('served')", environment)
    assert (run.stdout, run.returncode) == ("served\n", 0)
    assert run.stderr.startswith("vlmprof: span agent not loaded: FileNotFoundError")
    assert run.stderr.count("\n") == 1


def _agent_after(program: str, environment: dict[str, str], tmp_path: Path) -> AgentInfo:
    run = _python(program, environment)
    assert (run.stderr, run.returncode) == ("", 0)
    (agent,) = read_spans(tmp_path).agents
    return agent


_TOKENIZE = "from vllm.renderers.base import BaseRenderer; print(BaseRenderer()._tokenize_prompt('a b'))"


def test_a_boundary_is_patched_when_its_module_is_imported(
    environment: dict[str, str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One call, one span; the boundary that this engine lacks is listed; what a span costs is measured."""
    served = _with_path(environment, _fake_vllm(tmp_path_factory.mktemp("engine")))
    agent = _agent_after(_TOKENIZE, served, tmp_path)
    assert names_and_requests(tmp_path) == [("text.tokenize", ())]
    assert agent.missing == ["vllm.renderers.base:BaseRenderer._process_multimodal (AttributeError)"]
    assert agent.patched == 1
    assert agent.span_cost_ns is not None


def test_the_engine_gets_its_result_and_its_exceptions(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The wrapped call returns ['a', 'b']; a wrong argument raises what it raised."""
    served = _with_path(environment, _fake_vllm(tmp_path_factory.mktemp("engine")))
    assert _python(_TOKENIZE, served).stdout == "['a', 'b']\n"
    failed = _python(_TOKENIZE.replace("'a b'", "7"), served)
    assert failed.stderr.splitlines()[-1] == "AttributeError: 'int' object has no attribute 'split'"


def test_a_spawned_child_is_recorded_too(
    environment: dict[str, str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A process of its own by way of the environment: two span files, two pids."""
    served = _with_path(environment, _fake_vllm(tmp_path_factory.mktemp("engine")))
    run = _python(
        f"import subprocess, sys; {_TOKENIZE}; subprocess.run([sys.executable, '-c', {_TOKENIZE!r}])", served
    )
    assert run.stderr == ""
    assert len(read_spans(tmp_path).agents) == 2
    assert names_and_requests(tmp_path) == [("text.tokenize", ())] * 2


def test_a_forked_child_is_recorded_too(
    environment: dict[str, str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """vLLM forks its engine core on a machine without a GPU; the child's calls go into a file of its own."""
    served = _with_path(environment, _fake_vllm(tmp_path_factory.mktemp("engine")))
    program = (
        f"import os; {_TOKENIZE}; child = os.fork()\n"
        "BaseRenderer()._tokenize_prompt('c')\n"
        "os.waitpid(child, 0) if child else None"
    )
    assert _python(program, served).stderr == ""
    agents = read_spans(tmp_path).agents
    assert len(agents) == 2
    assert names_and_requests(tmp_path) == [("text.tokenize", ())] * 3


def test_beacons_beat_where_a_sampler_will_look(
    environment: dict[str, str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Only where they are asked for; they are on record before the program has ended.

    The call's own span is one record of 28 bytes: the program ends when its file holds a second.
    """
    served = _with_path(environment, _fake_vllm(tmp_path_factory.mktemp("engine")))
    served["VLMPROF_BEACON"] = "1"
    wait = (
        f"\nimport os, time; spans = f'{tmp_path}/spans.{{os.getpid()}}.bin'; end = time.monotonic() + 120\n"
        "while not (os.path.exists(spans) and os.path.getsize(spans) >= 56) and time.monotonic() < end:\n"
        "    time.sleep(0.02)\n"
        "os._exit(0)\n"
    )
    _python(_TOKENIZE + wait, served)
    (beacons,) = read_spans(tmp_path).beacons.values()
    assert len(beacons.kind) > 0
