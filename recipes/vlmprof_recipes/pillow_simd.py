"""Pillow-SIMD in a folder of its own, for a server's PYTHONPATH; the Pillow that is installed stays as it is.

Its distribution calls itself Pillow in all but the version: 12.1.1.post0 where Pillow has 12.1.1.
"""

import os
import subprocess
import sys
from pathlib import Path

from vlmprof.errors import ToolMissing
from vlmprof.patching import Launch

VERSION = "12.1.1.post0"
_PIP = ("-m", "pip")
_INSTALL = (
    "install",
    "--quiet",
    "--disable-pip-version-check",
    "--no-deps",
    "--no-binary=pillow-simd",
)
_ASK_TAG = "import sys; print(sys.implementation.cache_tag)"
_ASK_VERSION = "import PIL, PIL._imaging; print(PIL.__version__)"
_TIMEOUT_S = 900
_HEADERS = (
    "it is built from source: install a C compiler and the headers of libjpeg and zlib "
    "(on Debian: apt-get install gcc libjpeg-dev zlib1g-dev)"
)


def launch(python: Path) -> Launch:
    """A server's start with Pillow-SIMD in front, built first if it has not been.

    Args:
        python: the server's interpreter, which need not be this one.

    Raises:
        ToolMissing: it cannot be fetched or built here, or the interpreter does not run.
    """
    return Launch({"PYTHONPATH": str(built(cache_folder(python), python))})


def built(folder: Path, python: Path) -> Path:
    """Pillow-SIMD in a folder, which is made and filled unless it holds it already.

    Raises:
        ToolMissing: it cannot be fetched or built here, with the last line of what pip says.
    """
    if version_in(folder, python) != VERSION:
        _install(folder, python)
        found = version_in(folder, python)
        if found != VERSION:
            raise ToolMissing(f"{folder} holds Pillow {found}, not Pillow-SIMD {VERSION}", hint=_HEADERS)
    return folder


def version_in(folder: Path, python: Path) -> str:
    """`PIL.__version__` in an interpreter with a folder in front of its path; empty where no PIL in it loads."""
    if not (folder / "PIL").is_dir():
        return ""
    asked = subprocess.run(
        [str(python), "-c", _ASK_VERSION],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()


def _install(folder: Path, python: Path) -> None:
    # By this interpreter's pip: an engine's environment may have none.
    into = ("--upgrade", "--target", str(folder), f"pillow-simd=={VERSION}")
    command = [sys.executable, *_PIP, "--python", str(python), *_INSTALL, *into]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        raise ToolMissing(f"Pillow-SIMD cannot be built: {_reason(error.stderr)}", hint=_HEADERS) from error
    except subprocess.TimeoutExpired as error:
        raise ToolMissing(f"Pillow-SIMD was not built within {_TIMEOUT_S} s", hint=_HEADERS) from error


def _reason(said: str) -> str:
    """The line that names what is missing, or pip's last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [line for line in lines if "could not be found" in line or line.startswith("ERROR: No module")]
    return (named or [line for line in lines if "error" in line.lower()] or lines or ["pip said nothing"])[-1]


def cache_folder(python: Path) -> Path:
    """One folder for each version of Pillow-SIMD and of Python: its modules are compiled.

    Raises:
        ToolMissing: the interpreter does not run.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "vlmprof" / f"pillow-simd-{VERSION}-{_tag_of(python)}"


def _tag_of(python: Path) -> str:
    """What an interpreter's compiled modules are told apart by: `cpython-311`."""
    try:
        asked = subprocess.run(
            [str(python), "-I", "-c", _ASK_TAG], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ToolMissing(f"{python} does not run: {error}", hint="name another one with --python") from error
    return asked.stdout.strip()
