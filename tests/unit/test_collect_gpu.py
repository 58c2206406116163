"""NVIDIA GPUs as nvidia-smi tells them."""

from pathlib import Path

import pytest

from vlmprof.collect.gpu import nvidia_gpus
from vlmprof.errors import ToolMissing


def _nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_each_line_is_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """143771 MiB are 143771 * 2^20 bytes; a GPU that shares the host's memory has none of its own to state."""
    lines = "echo 'NVIDIA H200, 143771, 570.86.15'; echo 'NVIDIA GB10, [N/A], 580.95.05'"
    _nvidia_smi(tmp_path, monkeypatch, lines)
    first, second = nvidia_gpus()
    assert (first.name, first.memory_bytes, first.driver) == ("NVIDIA H200", 143771 << 20, "570.86.15")
    assert second.memory_bytes == 0


def test_without_a_driver_there_are_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_gpus() == []


def test_a_driver_that_does_not_work_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nvidia-smi exits with 9 where the kernel module is not loaded."""
    _nvidia_smi(tmp_path, monkeypatch, "echo could not communicate with the driver; exit 9")
    with pytest.raises(ToolMissing, match="could not communicate with the driver"):
        nvidia_gpus()
