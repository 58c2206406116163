"""Programs of tests/native, compiled where they are needed."""

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCES = Path(__file__).parent.parent / "native"


def compile_native(name: str, folder: Path) -> Path:
    """The program `name` built into the folder; skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = folder / name
    subprocess.run([compiler, "-Wall", "-Werror", "-o", program, _SOURCES / f"{name}.c"], check=True)
    return program
