"""Which collectors a run gets, and what it is told about them."""

import sys
from pathlib import Path

import pytest

from vlmprof.collect import choose
from vlmprof.collect.choose import choose_cpu, choose_gpu
from vlmprof.collect.permission import Permission
from vlmprof.collect.tools import Tool
from vlmprof.errors import ExitCode, ToolMissing, UsageError
from vlmprof.model.run_info import GpuInfo

_H200 = [GpuInfo(name="NVIDIA H200", memory_bytes=143771 << 20, driver="570.86.15")]


def _permitted() -> Permission:
    return Permission(True, True)


def _denied() -> Permission:
    reason = "process_vm_readv is denied: a seccomp filter denies it"
    return Permission(False, False, reason, "docker run --cap-add SYS_PTRACE ...")


def _never() -> Permission:
    raise AssertionError("asked for a permission that is not needed")


@pytest.fixture(autouse=True)
def everything_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """austin 3.7.0, py-spy 0.4.3, nsys 2025.5 with its importer, one GPU, on CPython 3.11."""
    monkeypatch.setattr(choose, "find_austin", lambda named: Tool("austin", named or Path("austin"), "3.7.0"))
    monkeypatch.setattr(choose, "find_pyspy", lambda: Tool("py-spy", Path("py-spy"), "0.4.3"))
    monkeypatch.setattr(choose, "find_nsys", lambda: Tool("nsys", Path("nsys"), "2025.5.2"))
    monkeypatch.setattr(choose, "find_importer", lambda tool: Path("QdstrmImporter"))
    monkeypatch.setattr(choose, "nvidia_gpus", lambda: _H200)
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))


def _absent(monkeypatch: pytest.MonkeyPatch, *finders: str) -> None:
    def missing(*_: object) -> Tool:
        raise ToolMissing("it is not on PATH", hint="pip install it")

    for finder in finders:
        monkeypatch.setattr(choose, finder, missing)


def test_austin_is_the_first_choice(tmp_path: Path) -> None:
    """2,000,000 ns are 2.00 ms; the choice says what it does before it does it."""
    collector, info = choose_cpu("auto", tmp_path, probe=_permitted)
    assert collector is not None
    assert (info.name, info.state) == ("austin", "off")
    assert info.reason == "austin 3.7.0: samples every process at 2.00 ms"


def test_pyspy_takes_over_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No austin: the reason carries what was missing and how to get it."""
    _absent(monkeypatch, "find_austin")
    collector, info = choose_cpu("auto", tmp_path, probe=_permitted)
    assert collector is not None
    assert info.name == "py-spy"
    assert info.reason == (
        "py-spy 0.4.3: samples every process at 100 Hz, because it is not on PATH; fix: pip install it"
    )


def test_an_interpreter_that_austin_cannot_read_is_left_to_pyspy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """austin 3.7 ends at CPython 3.13."""
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    _, info = choose_cpu("auto", tmp_path, probe=_permitted)
    assert info.name == "py-spy"
    assert "reads CPython 3.8 to 3.13, this is 3.14" in info.reason


def test_nothing_installed_is_no_failure_when_nothing_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on with spans."""
    _absent(monkeypatch, "find_austin", "find_pyspy")
    collector, info = choose_cpu("auto", tmp_path, probe=_permitted)
    assert collector is None
    assert (info.name, info.state) == ("none", "off")
    assert info.reason.count("pip install it") == 2


def test_a_denial_leaves_spans_alone_and_names_the_fix(tmp_path: Path) -> None:
    """No sampler is tried: each would say something else, and wrong."""
    collector, info = choose_cpu("auto", tmp_path, probe=_denied)
    assert collector is None
    assert info.reason == (
        "process_vm_readv is denied: a seccomp filter denies it; spans alone give the whole waterfall; "
        "fix: docker run --cap-add SYS_PTRACE ..."
    )


@pytest.mark.parametrize("name", ["austin", "py-spy"])
def test_a_sampler_asked_for_by_name_and_denied_ends_the_command(name: str, tmp_path: Path) -> None:
    """Exit code 3, before a server is started."""
    with pytest.raises(ToolMissing, match="seccomp") as raised:
        choose_cpu(name, tmp_path, probe=_denied)
    assert raised.value.exit_code == ExitCode.TOOL_MISSING
    assert "SYS_PTRACE" in raised.value.hint


def test_a_sampler_asked_for_by_name_and_absent_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """py-spy is there, and is not what was asked for."""
    _absent(monkeypatch, "find_austin")
    with pytest.raises(ToolMissing, match="not on PATH"):
        choose_cpu("austin", tmp_path, probe=_permitted)


def test_an_austin_named_by_path_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--austin PATH` with `auto` means that austin."""
    _, info = choose_cpu("auto", tmp_path, austin=tmp_path / "austin", probe=_permitted)
    assert info.name == "austin"
    _absent(monkeypatch, "find_austin")
    with pytest.raises(ToolMissing):
        choose_cpu("auto", tmp_path, austin=tmp_path / "austin", probe=_permitted)


def test_none_asks_for_no_permission(tmp_path: Path) -> None:
    """Neither profiler is looked for."""
    assert choose_cpu("none", tmp_path, probe=_never)[0] is None
    assert choose_gpu("none", tmp_path)[0] is None


@pytest.mark.parametrize("choose_one", [choose_cpu, choose_gpu])
def test_an_unknown_name_lists_the_known_ones(choose_one: object, tmp_path: Path) -> None:
    """A slip of the finger is a usage error, exit code 2."""
    assert callable(choose_one)
    with pytest.raises(UsageError, match="'perf'") as raised:
        choose_one("perf", tmp_path)
    assert "auto" in raised.value.hint


def test_nsys_is_the_first_choice_with_a_gpu(tmp_path: Path) -> None:
    """CUDA is traced."""
    collector, info = choose_gpu("auto", tmp_path)
    assert info.reason == "nsys 2025.5.2: CUDA, NVTX and the OS runtime"
    assert collector is not None
    assert any("cuda" in word for word in collector.wrap_command([]))


def test_the_engines_own_profiler_takes_over_from_nsys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nsys is there in part only: without its importer it cannot finish a report."""
    monkeypatch.setattr(choose, "find_importer", lambda tool: None)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.13.0")
    _, info = choose_gpu("auto", tmp_path)
    assert info.name == "torch"
    assert "without its importer" in info.reason
    assert "apt-get install nsight-systems" in info.reason


def test_without_a_gpu_auto_picks_none_and_nsys_still_obeys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVTX ranges and the OS runtime need no GPU, and cost too much to be taken unasked."""
    monkeypatch.setattr(choose, "nvidia_gpus", lambda: [])
    assert choose_gpu("auto", tmp_path)[1].reason == "no NVIDIA GPU"
    collector, info = choose_gpu("nsys", tmp_path)
    assert collector is not None
    assert info.reason == "nsys 2025.5.2: NVTX and the OS runtime; no NVIDIA GPU"
    assert not any("cuda" in word for word in collector.wrap_command([]))


def test_a_broken_driver_is_told_apart_from_no_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` goes on without, and says what nvidia-smi said."""

    def broken() -> list[GpuInfo]:
        raise ToolMissing("nvidia-smi failed: no driver", hint="reinstall the NVIDIA driver")

    monkeypatch.setattr(choose, "nvidia_gpus", broken)
    collector, info = choose_gpu("auto", tmp_path)
    assert collector is None
    assert "nvidia-smi failed: no driver" in info.reason
    assert "reinstall" in info.reason
