"""Finding the profilers' programs, and asking each for its version."""

import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vlmprof.errors import ToolMissing

_VERSION_TIMEOUT_S = 30
_PT_INTERP = 3


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that was started and told its version: `"3.7.0"`."""

    name: str
    path: Path
    version: str

    @property
    def release(self) -> tuple[int, ...]:
        """The version as numbers, for comparing."""
        return tuple(int(part) for part in self.version.split("."))


def find_tool(name: str, *, named: Path | None = None, places: Iterable[Path] = (), hint: str) -> Tool:
    """The first program of this name that runs.

    Args:
        named: the only place to look, where the user named one.
        places: folders to look in after the interpreter's own and PATH.
        hint: how to install it.

    Raises:
        ToolMissing: none was found, or none of those found runs; says what each answered.
    """
    candidates = [named] if named else _candidates(name, places)
    refusals = []
    for path in candidates:
        answer = _ask_version(path)
        if isinstance(answer, _Refusal):
            refusals.append(f"{path}: {answer.why}")
            hint = answer.fix or hint
        else:
            return Tool(name, path, answer)
    if refusals:
        raise ToolMissing(f"{name} does not run: {'; '.join(refusals)}", hint=hint)
    raise ToolMissing(f"{name} is neither next to {Path(sys.executable).name} nor on PATH", hint=hint)


def elf_interpreter(path: Path) -> str:
    """The loader that a 64-bit ELF program names, `"/lib/ld-musl-x86_64.so.1"`; empty without one."""
    try:
        with path.open("rb") as program:
            head = program.read(4096)
    except OSError:
        return ""
    if head[:5] != b"\x7fELF\x02":
        return ""
    (table,) = struct.unpack_from("<Q", head, 32)
    entry_bytes, entries = struct.unpack_from("<HH", head, 54)
    for entry in range(table, min(table + entries * entry_bytes, len(head) - entry_bytes), entry_bytes):
        kind, start, size = struct.unpack_from("<I4xQ16xQ", head, entry)
        if kind == _PT_INTERP:
            return head[start : start + size].rstrip(b"\0").decode(errors="replace")
    return ""


@dataclass(frozen=True, slots=True)
class _Refusal:
    why: str
    fix: str = ""


def _candidates(name: str, places: Iterable[Path]) -> list[Path]:
    on_path = shutil.which(name)
    found = [Path(sys.executable).parent / name, *([Path(on_path)] if on_path else [])]
    found += [place / name for place in places]
    return [path for path in dict.fromkeys(found) if path.is_file()]


def _ask_version(path: Path) -> str | _Refusal:
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        return _no_loader(path)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _Refusal(str(error))
    version = re.search(r"\d+(?:\.\d+)+", answer.stdout)
    if answer.returncode != 0 or not version:
        said = (answer.stderr or answer.stdout).strip().split("\n")[-1]
        return _Refusal(said or f"exit code {answer.returncode}")
    return version.group()


def _no_loader(path: Path) -> _Refusal:
    """A program that is there and yet not found lacks the loader that it names."""
    loader = elf_interpreter(path)
    if not path.exists() or not loader:
        return _Refusal("no such file")
    fix = "apt-get install musl" if "musl" in loader else "install the build for this system's C library"
    return _Refusal(f"its loader {loader} is not installed", fix)
