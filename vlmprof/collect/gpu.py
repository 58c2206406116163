"""Which NVIDIA GPUs there are, as the driver's own tool says."""

import csv
import shutil
import subprocess

from vlmprof.errors import ToolMissing
from vlmprof.model.run_info import GpuInfo

_TIMEOUT_S = 10
_MIB = 1 << 20


def nvidia_gpus() -> list[GpuInfo]:
    """Every GPU that the driver sees; none where no driver is installed.

    Raises:
        ToolMissing: the driver's tool is installed and does not work.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolMissing(f"nvidia-smi does not run: {error}", hint="reinstall the NVIDIA driver") from error
    if answer.returncode != 0:
        said = " ".join((answer.stdout + answer.stderr).split())
        raise ToolMissing(f"nvidia-smi failed: {said[:200]}", hint="load or reinstall the NVIDIA driver")
    rows = csv.reader(answer.stdout.splitlines(), skipinitialspace=True)
    return [_gpu(row) for row in rows if len(row) == 3]


def _gpu(row: list[str]) -> GpuInfo:
    name, memory_mib, driver = row
    # Unified-memory machines answer "[N/A]".
    memory_bytes = int(memory_mib) * _MIB if memory_mib.isdigit() else 0
    return GpuInfo(name=name, memory_bytes=memory_bytes, driver=driver)
