"""Finding programs, and what is said of those that do not run."""

import struct
import sys
from pathlib import Path

import pytest

from vlmprof.collect.tools import Tool, elf_interpreter, find_tool
from vlmprof.errors import ToolMissing


def _script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def _elf(path: Path, loader: str) -> Path:
    """A 64-bit ELF header of 64 bytes, one program header of 56, and the loader's name behind it."""
    name = loader.encode() + b"\0"
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    entry = struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(name), len(name), 1)
    path.write_bytes(header + entry + name)
    path.chmod(0o755)
    return path


def test_the_interpreters_neighbour_comes_before_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment that is not activated still has its own tools."""
    for folder in ("venv", "path"):
        (tmp_path / folder).mkdir()
        _script(tmp_path / folder / "sampler", f"echo sampler {1 + (folder == 'venv')}.0.3")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    assert find_tool("sampler", hint="") == Tool("sampler", tmp_path / "venv" / "sampler", "2.0.3")


def test_a_program_that_does_not_run_gives_way_to_one_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first exits with 1, the second, in a place named by the caller, tells its version."""
    (tmp_path / "more").mkdir()
    _script(tmp_path / "sampler", "echo version GLIBC_2.38 not found >&2; exit 1")
    _script(tmp_path / "more" / "sampler", "echo 4.0.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    tool = find_tool("sampler", places=[tmp_path / "more"], hint="")
    assert tool.release == (4, 0, 0)


def test_a_named_program_that_fails_is_not_replaced_by_another(tmp_path: Path) -> None:
    """What it said on stderr is the reason that the user reads."""
    broken = _script(tmp_path / "austin", "echo version GLIBC_2.38 not found >&2; exit 1")
    with pytest.raises(ToolMissing, match=r"GLIBC_2\.38 not found"):
        find_tool("austin", named=broken, hint="")


def test_an_absent_program_comes_with_its_hint() -> None:
    """No such name is on any PATH."""
    with pytest.raises(ToolMissing, match="no-such-sampler is neither") as raised:
        find_tool("no-such-sampler", hint="pip install it")
    assert raised.value.hint == "pip install it"


def test_a_program_without_its_loader_names_the_package_that_has_it(tmp_path: Path) -> None:
    """The kernel says "no such file" of a program that is there; the loader that it names is not."""
    program = _elf(tmp_path / "austin", "/nowhere/ld-musl-x86_64.so.1")
    assert elf_interpreter(program) == "/nowhere/ld-musl-x86_64.so.1"
    with pytest.raises(
        ToolMissing, match=r"loader /nowhere/ld-musl-x86_64\.so\.1 is not installed"
    ) as raised:
        find_tool("austin", named=program, hint="")
    assert raised.value.hint == "apt-get install musl"


def test_a_file_that_is_no_program_has_no_loader(tmp_path: Path) -> None:
    """A script and an absent file."""
    assert elf_interpreter(_script(tmp_path / "script", "true")) == ""
    assert elf_interpreter(tmp_path / "absent") == ""
