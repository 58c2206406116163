"""The machine that a run was made on, for run.json."""

import platform
from pathlib import Path

from vlmprof.collect.gpu import nvidia_gpus
from vlmprof.collect.host_limits import host_limits
from vlmprof.errors import ToolMissing
from vlmprof.model.run_info import GpuInfo, HostInfo


def describe_host() -> HostInfo:
    """CPU, cores and memory that this process may use, kernel, distribution, GPUs; no names of people or hosts."""
    limits = host_limits()
    return HostInfo(
        cpu=_cpu_name(),
        cores=round(limits.cores),
        memory_bytes=limits.memory_bytes,
        kernel=platform.release(),
        os=_distribution(),
        gpus=_gpus(),
    )


def _gpus() -> list[GpuInfo]:
    try:
        return nvidia_gpus()
    except ToolMissing:
        return []


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
