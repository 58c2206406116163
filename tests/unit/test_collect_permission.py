"""Permission to read other processes: tried, explained, fixed."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.native_program import compile_native
from tests.unit.sampled_program import sampled_program
from vlmprof.collect.permission import (
    Confinement,
    confinement,
    explain_denial,
    probe_permission,
    probe_target,
)

_FREE = Confinement(ptrace_scope=None, seccomp=False, cap_sys_ptrace=False, container="")

_PROBE_AND_SAY = """
import os, sys
from vlmprof.collect.permission import probe_permission, probe_target
permission = probe_permission()
print(permission.read_memory, permission.ptrace, probe_target(os.getppid()).read_memory)
print(permission.reason)
print(permission.fix)
"""


def _with(**changes: object) -> Confinement:
    fields = {name: getattr(_FREE, name) for name in Confinement.__slots__}
    return Confinement(**{**fields, **changes})


@pytest.mark.skipif(confinement().seccomp, reason="this test run is itself confined by seccomp")
@pytest.mark.skipif(
    not confinement().cap_sys_ptrace and confinement().ptrace_scope in (2, 3), reason="Yama denies it here"
)
def test_reading_and_tracing_a_consenting_process_is_permitted() -> None:
    """The probe's target lets this process's descendants read it, as the agent's processes do."""
    permission = probe_permission()
    assert permission.read_memory
    assert permission.ptrace
    assert permission.reason == ""


@pytest.mark.skipif(not confinement().cap_sys_ptrace, reason="needs the capability SYS_PTRACE")
def test_a_target_is_read_and_runs_on() -> None:
    """Reading takes no stop: no thread of the program is in a stopped state afterwards."""
    with sampled_program() as program:
        permission = probe_target(program.pid)
        assert permission.read_memory
        assert permission.ptrace is None
        assert program.runs()


def test_a_target_that_has_ended_is_said_to_have_ended() -> None:
    """A process that was waited for has no entry in /proc."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    permission = probe_target(ended.pid)
    assert not permission.read_memory
    assert "the process has ended" in permission.reason


def test_a_seccomp_filter_is_found_out_and_named(tmp_path: Path) -> None:
    """Under `deny`, process_vm_readv and ptrace answer EPERM; the probe meets that and says why."""
    deny = compile_native("deny", tmp_path)
    command = [str(deny), sys.executable, "-c", _PROBE_AND_SAY]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == "False False False"
    assert "process_vm_readv is denied" in said[1]
    assert "SYS_PTRACE" in said[2]


@pytest.mark.parametrize(
    ("error", "at", "reason", "fix"),
    [
        (errno.ESRCH, _FREE, "has ended", "start the server again"),
        (errno.ENOSYS, _with(seccomp=True), "no process_vm_readv", "Linux kernel"),
        (errno.EPERM, _with(ptrace_scope=3, cap_sys_ptrace=True), "until the next boot", "reboot"),
        (errno.EPERM, _with(ptrace_scope=1), "ptrace_scope is 1", "sysctl kernel.yama.ptrace_scope=0"),
        (errno.EPERM, _with(container="docker"), "lacks SYS_PTRACE", "docker run --cap-add SYS_PTRACE"),
        (errno.EPERM, _with(container="kubernetes"), "lacks SYS_PTRACE", "securityContext"),
        (errno.EPERM, _with(seccomp=True, cap_sys_ptrace=True), "seccomp", "--cap-add SYS_PTRACE"),
        (errno.EPERM, _with(seccomp=True, ptrace_scope=1), "Yama", "sysctl"),
        (errno.EPERM, _FREE, os.strerror(errno.EPERM), "server's user"),
    ],
)
def test_each_denial_names_its_cause_and_its_fix(error: int, at: Confinement, reason: str, fix: str) -> None:
    """The most certain cause wins: Yama's 3 stops even root, a capability lifts Yama's 1 and 2."""
    found_reason, found_fix = explain_denial(error, at)
    assert reason in found_reason
    assert fix in found_fix


def test_the_kernels_status_says_what_confines_a_process() -> None:
    """Seccomp 2 is a filter; bit 19 of CapEff (0x80000) is SYS_PTRACE."""
    bare = confinement("Name:\tpython\nSeccomp:\t0\nCapEff:\t0000000000000000\n", {})
    assert (bare.seccomp, bare.cap_sys_ptrace) == (False, False)
    filtered = confinement(
        "Seccomp:\t2\nCapEff:\t0000000000080000\n", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    )
    assert (filtered.seccomp, filtered.cap_sys_ptrace, filtered.container) == (True, True, "kubernetes")
