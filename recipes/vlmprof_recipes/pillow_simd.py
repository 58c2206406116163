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
_INSTALL = (
    "-m",
    "pip",
    "install",
    "--quiet",
    "--disable-pip-version-check",
    "--no-deps",
    "--no-binary=pillow-simd",
)
_ASK_VERSION = "import PIL, PIL._imaging; print(PIL.__version__)"
_TIMEOUT_S = 900
_HEADERS = (
    "it is built from source: install a C compiler and the headers of libjpeg and zlib "
    "(on Debian: apt-get install gcc libjpeg-dev zlib1g-dev)"
)


def launch() -> Launch:
    """A server's start with Pillow-SIMD in front, built first if it has not been."""
    return Launch({"PYTHONPATH": str(built(cache_folder()))})


def built(folder: Path) -> Path:
    """Pillow-SIMD in a folder, which is made and filled unless it holds it already.

    Raises:
        ToolMissing: it cannot be fetched or built here, with the last line of what pip says.
    """
    if version_in(folder) != VERSION:
        _install(folder)
        found = version_in(folder)
        if found != VERSION:
            raise ToolMissing(f"{folder} holds Pillow {found}, not Pillow-SIMD {VERSION}", hint=_HEADERS)
    return folder


def version_in(folder: Path) -> str:
    """What `PIL.__version__` is with a folder in front of the path; empty where it holds no PIL that loads."""
    if not (folder / "PIL").is_dir():
        return ""
    asked = subprocess.run(
        [sys.executable, "-c", _ASK_VERSION],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()


def _install(folder: Path) -> None:
    command = [sys.executable, *_INSTALL, "--upgrade", "--target", str(folder), f"pillow-simd=={VERSION}"]
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


def cache_folder() -> Path:
    """One folder for each version of Pillow-SIMD and of Python: its modules are compiled."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "vlmprof" / f"pillow-simd-{VERSION}-{sys.implementation.cache_tag}"
