"""What a cgroup leaves of the machine."""

import os
from pathlib import Path

import psutil

from vlmprof.collect.host_limits import host_limits


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_limits_the_machine_is_what_there_is(tmp_path: Path) -> None:
    """`max` is no number, and a folder may be missing."""
    _write(tmp_path / "cpu.max", "max 100000\n")
    limits = host_limits(tmp_path, "0::/\n")
    assert limits.cores == len(os.sched_getaffinity(0))
    assert limits.memory_bytes == psutil.virtual_memory().total
    assert limits.limited_by == ""


def test_version_2_limits_of_a_parent_bind_too(tmp_path: Path) -> None:
    """The pod allows half a core (50 ms of 100), the container in it 1 GiB."""
    _write(tmp_path / "pod" / "cpu.max", "50000 100000\n")
    _write(tmp_path / "pod" / "box" / "memory.max", f"{1 << 30}\n")
    limits = host_limits(tmp_path, "0::/pod/box\n")
    assert limits.cores == 0.5
    assert limits.memory_bytes == 1 << 30
    assert limits.limited_by == "cgroup CPU and memory limit"


def test_version_1_has_a_folder_a_controller(tmp_path: Path) -> None:
    """Its "no limit" is a number beyond 2^60, its "no quota" is -1."""
    _write(tmp_path / "memory" / "box" / "memory.limit_in_bytes", f"{1 << 29}\n")
    _write(tmp_path / "memory" / "memory.limit_in_bytes", f"{(1 << 63) - 4096}\n")
    _write(tmp_path / "cpu" / "cpu.cfs_quota_us", "-1\n")
    _write(tmp_path / "cpu" / "cpu.cfs_period_us", "100000\n")
    limits = host_limits(tmp_path, "4:memory:/box\n1:cpu:/\n")
    assert limits.memory_bytes == 1 << 29
    assert limits.limited_by == "cgroup memory limit"
