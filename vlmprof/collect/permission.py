"""Whether the samplers may read other processes' memory, tried for real before anything starts.

A sampler's own word is not asked: austin says "not a Python process" where it was denied, or exits with 0
and no samples.
"""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PROBE = Path(__file__).with_name("permission_probe.py")
_PROBE_TIMEOUT_S = 60
_CAP_SYS_PTRACE = 19


@dataclass(frozen=True, slots=True)
class Confinement:
    """What may stand between a sampler and the process it reads.

    Attributes:
        ptrace_scope: Yama's setting, None on a kernel without Yama.
        seccomp: a system call filter is on.
        cap_sys_ptrace: this process may ptrace processes that are not its own.
        container: `"docker"`, `"kubernetes"`, or empty outside a container.
    """

    ptrace_scope: int | None
    seccomp: bool
    cap_sys_ptrace: bool
    container: str


@dataclass(frozen=True, slots=True)
class Permission:
    """What was permitted when it was tried.

    Attributes:
        read_memory: process_vm_readv works; austin and py-spy need it.
        ptrace: ptrace works, None where it was not tried; only a blocking py-spy needs it.
        reason: what denied it; empty where both are permitted.
        fix: the command that would permit it.
    """

    read_memory: bool
    ptrace: bool | None
    reason: str = ""
    fix: str = ""


def probe_permission() -> Permission:
    """Try to read, and to ptrace, a throw-away process that consents as the agent's processes do."""
    with subprocess.Popen(
        _probe_command("consent", os.getpid()), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as target:
        assert target.stdout is not None
        target.stdout.readline()
        return _try_to_read("seize", target.pid)


def probe_target(pid: int) -> Permission:
    """Try to read a process that matters, without ptrace: it runs on undisturbed."""
    return _try_to_read("read", pid)


def confinement(status: str | None = None, environment: Mapping[str, str] | None = None) -> Confinement:
    """What this process is subject to; `status` is the text of /proc/self/status."""
    lines = (Path("/proc/self/status").read_text() if status is None else status).splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    capabilities = int(fields.get("CapEff", "0"), 16)
    return Confinement(
        ptrace_scope=_ptrace_scope(),
        seccomp=fields.get("Seccomp", "0").strip() == "2",
        cap_sys_ptrace=bool(capabilities >> _CAP_SYS_PTRACE & 1),
        container=_container(os.environ if environment is None else environment),
    )


def explain_denial(error: int, at: Confinement) -> tuple[str, str]:
    """Why reading failed with this errno, and the command that would permit it."""
    cases = (
        (error in (errno.ESRCH, errno.ENOENT), "the process has ended", "start the server again"),
        (
            error == errno.ENOSYS,
            "this kernel or sandbox has no process_vm_readv (gVisor?)",
            "profile where a Linux kernel runs the server directly",
        ),
        (
            at.ptrace_scope == 3,
            "Yama forbids it until the next boot (kernel.yama.ptrace_scope is 3)",
            "set kernel.yama.ptrace_scope=1 in /etc/sysctl.d and reboot",
        ),
        (
            bool(at.container) and not at.cap_sys_ptrace,
            f"the container ({at.container}) lacks SYS_PTRACE",
            _container_fix(at.container),
        ),
        (
            at.seccomp and (at.cap_sys_ptrace or not at.ptrace_scope),
            "a seccomp filter denies it",
            _container_fix(at.container),
        ),
        (
            bool(at.ptrace_scope),
            f"Yama denies it (kernel.yama.ptrace_scope is {at.ptrace_scope})",
            "sudo sysctl kernel.yama.ptrace_scope=0",
        ),
        (
            True,
            f"the kernel denies it ({os.strerror(error)}): the process is another user's or not dumpable",
            "run vlmprof as the server's user, or as root",
        ),
    )
    return next((reason, fix) for holds, reason, fix in cases if holds)


def _probe_command(action: str, pid: int) -> list[str]:
    # Isolated and without site: starts in about 20 ms and loads nothing that a user put on PYTHONPATH.
    return [sys.executable, "-I", "-S", str(_PROBE), action, str(pid)]


def _try_to_read(action: str, pid: int) -> Permission:
    command = _probe_command(action, pid)
    try:
        probe = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        reason = f"the probe gave no answer in {_PROBE_TIMEOUT_S} s"
        return Permission(False, False, reason, "try again when the machine is less busy")
    if probe.returncode != 0:
        return Permission(False, False, f"the probe failed: {probe.stderr.strip()[-200:]}", "vlmprof doctor")
    errors = json.loads(probe.stdout)
    read_error, ptrace_error = errors["read"], errors["ptrace"]
    ptrace = None if ptrace_error is None else ptrace_error == 0
    if not read_error and not ptrace_error:
        return Permission(True, ptrace)
    reason, fix = explain_denial(read_error or ptrace_error, confinement())
    denied = "process_vm_readv" if read_error else "ptrace"
    return Permission(not read_error, ptrace, f"{denied} is denied: {reason}", fix)


def _ptrace_scope() -> int | None:
    try:
        return int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text())
    except (OSError, ValueError):
        return None


def _container(environment: Mapping[str, str]) -> str:
    if "KUBERNETES_SERVICE_HOST" in environment:
        return "kubernetes"
    marks = ("/.dockerenv", "/run/.containerenv")
    return "docker" if any(Path(mark).exists() for mark in marks) else ""


def _container_fix(container: str) -> str:
    if container == "kubernetes":
        return 'add securityContext.capabilities.add: ["SYS_PTRACE"] to the container'
    if container == "docker":
        return "docker run --cap-add SYS_PTRACE ..."
    return "run outside the sandbox that set the filter; in a container, docker run --cap-add SYS_PTRACE"
