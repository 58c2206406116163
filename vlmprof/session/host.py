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
        multiplies_bfloat16=_multiplies_bfloat16(
            platform.machine(), _cpu_line("flags") or _cpu_line("Features")
        ),
    )


def _gpus() -> list[GpuInfo]:
    try:
        return nvidia_gpus()
    except ToolMissing:
        return []


def _cpu_name() -> str:
    return _cpu_line("model name") or platform.machine()


def _cpu_line(name: str) -> str:
    """What the kernel says of the first CPU under a name; empty where it says nothing."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return ""


def _multiplies_bfloat16(machine: str, flags: str) -> bool:
    """Whether oneDNN has bfloat16 kernels for a CPU, by what torch asks for before it uses them."""
    has = set(flags.split())
    if machine == "x86_64":
        return {"avx512vl", "avx512bw", "avx512dq"} <= has
    return "bf16" in has


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
