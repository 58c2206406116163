"""Cores and memory that this process may use: what the machine has, less what its cgroup allows."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED_BYTES = 1 << 60


@dataclass(frozen=True, slots=True)
class HostLimits:
    """`cores` may be a fraction under a quota; `limited_by` names the cgroup's part in it, or is empty."""

    cores: float
    memory_bytes: int
    limited_by: str


def host_limits(cgroups: Path = _CGROUPS, own_cgroups: str | None = None) -> HostLimits:
    """What this process may use.

    Args:
        cgroups: where the cgroup file systems are mounted.
        own_cgroups: the text of /proc/self/cgroup.
    """
    own = Path("/proc/self/cgroup").read_text() if own_cgroups is None else own_cgroups
    folders = _own_folders(cgroups, own)
    quotas = [quota for folder in folders if (quota := _core_quota(folder)) is not None]
    limits = [limit for folder in folders if (limit := _memory_limit(folder)) is not None]
    cores, memory_bytes = float(len(os.sched_getaffinity(0))), int(psutil.virtual_memory().total)
    quota, limit_bytes = min([cores, *quotas]), min([memory_bytes, *limits])
    parts = ["CPU"] * (quota < cores) + ["memory"] * (limit_bytes < memory_bytes)
    return HostLimits(quota, limit_bytes, f"cgroup {' and '.join(parts)} limit" if parts else "")


def _own_folders(cgroups: Path, own: str) -> list[Path]:
    """The folders that bind this process, of version 2 (`0::/path`) and 1 (`4:memory:/path`), parents too."""
    folders = []
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        root = cgroups / controllers if controllers else cgroups
        own_folder = root / path.lstrip("/")
        # Inside a container the path may be the host's, while the mount shows the own cgroup as its root.
        folders += [folder for folder in (own_folder, *own_folder.parents) if folder.is_relative_to(root)]
    return folders


def _core_quota(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split() or [
        _read(folder / "cpu.cfs_quota_us"),
        _read(folder / "cpu.cfs_period_us"),
    ]
    if not all(word.isdigit() for word in words) or len(words) != 2:
        return None
    return int(words[0]) / int(words[1])


def _memory_limit(folder: Path) -> int | None:
    text = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
    return int(text) if text.isdigit() and int(text) < _UNLIMITED_BYTES else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
