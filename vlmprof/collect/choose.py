"""Picks the collectors of a run: the best that works, and says which and why."""

import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from vlmprof.collect.austin import DEFAULT_INTERVAL_NS, AustinCollector, find_austin
from vlmprof.collect.base import Collector
from vlmprof.collect.gpu import nvidia_gpus
from vlmprof.collect.nsys import NsysCollector
from vlmprof.collect.nsys_report import find_importer, find_nsys
from vlmprof.collect.permission import Permission, probe_permission
from vlmprof.collect.pyspy import DEFAULT_RATE_HZ, PySpyCollector, find_pyspy
from vlmprof.collect.tools import Tool
from vlmprof.collect.torch_profiler import RunningTorchProfiler, TorchProfilerCollector
from vlmprof.errors import ToolMissing, UsageError
from vlmprof.model.run_info import CollectorInfo
from vlmprof.units import format_ns

CPU_PROFILERS = ("auto", "austin", "py-spy", "none")
GPU_PROFILERS = ("auto", "nsys", "torch", "none")

Choice = tuple[Collector | None, CollectorInfo]

_Maker = Callable[[str], Collector]
"""Makes a collector, given what refused before it, or raises ToolMissing."""

_SPANS_ALONE = "spans alone give the whole waterfall"

_AUSTIN_PYTHONS = {3: ((3, 8), (3, 13)), 4: ((3, 9), (3, 14))}
"""First and last CPython that each major version of austin reads."""


def choose_cpu(
    name: str,
    raw: Path,
    *,
    austin: Path | None = None,
    interval_ns: int = DEFAULT_INTERVAL_NS,
    nonblocking: bool = True,
    probe: Callable[[], Permission] = probe_permission,
) -> Choice:
    """The collector of Python stacks, and its entry for run.json, which says why it was chosen.

    Args:
        name: one of CPU_PROFILERS.
        raw: the folder that it will write into.
        austin: the program that `--austin` names; `auto` then means that one.
        nonblocking: whether py-spy reads without stopping the server.
        probe: tries whether processes can be read.

    Raises:
        ToolMissing: the one that was asked for by name is not installed or not permitted.
    """
    if name not in CPU_PROFILERS:
        raise UsageError(f"unknown CPU profiler {name!r}", hint=f"one of: {', '.join(CPU_PROFILERS)}")
    if name == "none":
        return None, _off("cpu", f"not asked for; {_SPANS_ALONE}")
    if austin and name == "auto":
        name = "austin"
    makers: dict[str, _Maker] = {
        "austin": lambda _: _austin(raw, austin, interval_ns),
        "py-spy": lambda refusals: _pyspy(raw, nonblocking, refusals),
    }
    permission = probe()
    if not permission.read_memory:
        if name != "auto":
            raise ToolMissing(f"{name} cannot read the server: {permission.reason}", hint=permission.fix)
        return None, _off("cpu", f"{permission.reason}; {_SPANS_ALONE}; fix: {permission.fix}")
    return _first_that_works("cpu", makers if name == "auto" else {name: makers[name]}, strict=name != "auto")


def choose_gpu(name: str, raw: Path, *, keep_reports: bool = False) -> Choice:
    """The collector of GPU work and NVTX ranges, and its entry for run.json, which says why it was chosen.

    Args:
        name: one of GPU_PROFILERS; `nsys` works without a GPU too, for NVTX ranges and the OS runtime.
        raw: the folder that it will write into.
        keep_reports: keep nsys's own reports, which hold the server's environment, tokens included.

    Raises:
        ToolMissing: the one that was asked for by name is not installed.
    """
    if name not in GPU_PROFILERS:
        raise UsageError(f"unknown GPU profiler {name!r}", hint=f"one of: {', '.join(GPU_PROFILERS)}")
    if name == "none":
        return None, _off("gpu", "not asked for")
    try:
        gpu = bool(nvidia_gpus())
    except ToolMissing as missing:
        if name == "auto":
            return None, _off("gpu", f"no NVIDIA GPU can be used: {missing.message}; fix: {missing.hint}")
        gpu = False
    if name == "auto" and not gpu:
        return None, _off("gpu", "no NVIDIA GPU")
    makers: dict[str, _Maker] = {
        "nsys": lambda _: _nsys(raw, gpu, keep_reports),
        "torch": lambda refusals: _torch(raw, refusals),
    }
    return _first_that_works("gpu", makers if name == "auto" else {name: makers[name]}, strict=name != "auto")


def choose_running_gpu(name: str, raw: Path, *, offered: bool, folder: Path | None) -> Choice:
    """The collector of a running server's GPU work: its own torch profiler, where it was started with one.

    Args:
        offered: whether the server has `/start_profile`.
        folder: where its traces go; None where that is not known.

    Raises:
        ToolMissing: what was asked for by name cannot be had.
    """
    if name not in GPU_PROFILERS:
        raise UsageError(f"unknown GPU profiler {name!r}", hint=f"one of: {', '.join(GPU_PROFILERS)}")
    if name == "none":
        return None, _off("gpu", "not asked for")
    if name == "nsys":
        raise ToolMissing(
            "nsys cannot attach to a running process",
            hint="start the server under it with `vlmprof run`, or with vLLM's own profiler: "
            + _OWN_PROFILER,
        )
    try:
        if name == "auto" and not nvidia_gpus():
            return None, _off("gpu", "no NVIDIA GPU")
        return _running_torch(raw, offered, folder)
    except ToolMissing as missing:
        if name != "auto":
            raise
        return None, _off("gpu", f"{missing.message}; fix: {missing.hint}")


_OWN_PROFILER = """--profiler-config '{"profiler": "torch", "torch_profiler_dir": "/FOLDER"}'"""


def _running_torch(raw: Path, offered: bool, folder: Path | None) -> Choice:
    if not offered:
        raise ToolMissing(
            "the server offers no /start_profile, and nsys cannot attach to a running process",
            hint=f"start it with {_OWN_PROFILER}",
        )
    if folder is None:
        raise ToolMissing(
            "the server offers /start_profile, but where it writes is not to be seen",
            hint="name the folder with --traces",
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ToolMissing(f"the server's traces in {folder} cannot be read", hint="run vlmprof as its user")
    reason = f"the server's own torch profiler, which writes into {folder}"
    collector = RunningTorchProfiler(raw, folder, reason=reason)
    return collector, collector.info


def _first_that_works(kind: str, makers: dict[str, _Maker], *, strict: bool) -> Choice:
    """Try in order of preference; `strict` raises instead of trying the next."""
    refusals: list[str] = []
    for make in makers.values():
        try:
            collector = make("; ".join(refusals))
        except ToolMissing as missing:
            if strict:
                raise
            refusals.append(f"{missing.message}; fix: {missing.hint}")
        else:
            return collector, collector.info
    return None, _off(kind, "; ".join(refusals))


def _off(kind: str, reason: str) -> CollectorInfo:
    return CollectorInfo(name="none", kind=kind, state="off", reason=reason)


def _austin(raw: Path, named: Path | None, interval_ns: int) -> Collector:
    tool = find_austin(named)
    _check_python(tool)
    reason = f"austin {tool.version}: samples every process at {format_ns(interval_ns)}"
    return AustinCollector(raw, tool, interval_ns=interval_ns, reason=reason)


def _check_python(tool: Tool) -> None:
    first, last = _AUSTIN_PYTHONS.get(tool.release[0], ((3, 9), sys.version_info[:2]))
    if not first <= sys.version_info[:2] <= last:
        raise ToolMissing(
            f"austin {tool.version} reads CPython {_dotted(first)} to {_dotted(last)}, "
            f"this is {_dotted(sys.version_info[:2])}",
            hint="pip install --upgrade austin-dist, or pass --cpu-profiler py-spy",
        )


def _pyspy(raw: Path, nonblocking: bool, refusals: str) -> Collector:
    tool = find_pyspy()
    reason = _after(refusals, f"py-spy {tool.version}: samples every process at {DEFAULT_RATE_HZ} Hz")
    return PySpyCollector(raw, tool, nonblocking=nonblocking, reason=reason)


def _nsys(raw: Path, gpu: bool, keep_reports: bool) -> Collector:
    tool = find_nsys()
    if find_importer(tool) is None:
        raise ToolMissing(
            f"nsys {tool.version} came without its importer (QdstrmImporter)",
            hint="apt-get install nsight-systems",
        )
    sources = "CUDA, NVTX and the OS runtime" if gpu else "NVTX and the OS runtime; no NVIDIA GPU"
    reason = f"nsys {tool.version}: {sources}"
    return NsysCollector(raw, tool, gpu=gpu, keep_reports=keep_reports, reason=reason)


def _torch(raw: Path, refusals: str) -> Collector:
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError as error:
        raise ToolMissing("torch is not installed", hint="pip install vllm") from error
    reason = _after(refusals, f"torch {version}: the engine's own profiler")
    return TorchProfilerCollector(raw, version=version, reason=reason)


def _after(refusals: str, reason: str) -> str:
    return f"{reason}, because {refusals}" if refusals else reason


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
