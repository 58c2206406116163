"""The served processes as the samplers need them: which of a tree are Python interpreters, and alive."""

import re
import signal
from pathlib import Path

import psutil


def python_root(pid: int) -> int:
    """The outermost Python process of a tree; pid itself where there is none.

    A server that was started under nsys, or by a shell, has its interpreter further down.
    """
    level = _alive([pid])
    while level:
        for process in level:
            if is_python(process.pid):
                return int(process.pid)
        level = [child for process in level for child in _children(process)]
    return pid


def python_pids(pid: int) -> list[int]:
    """Every Python process of the tree below pid, the root first."""
    return [process.pid for process in _tree(pid) if is_python(process.pid)]


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be collected by its parent does not."""
    return bool(_alive([pid]))


def is_python(pid: int) -> bool:
    """Whether the process runs a Python interpreter, as its program's name or its libraries say."""
    try:
        if Path(f"/proc/{pid}/exe").readlink().name.startswith("python"):
            return True
        return "/libpython3." in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def handles_signal(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for a signal; False for one that is gone."""
    try:
        caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return False
    return bool(caught and int(caught[1], 16) >> (number - 1) & 1)


def _tree(pid: int) -> list[psutil.Process]:
    roots = _alive([pid])
    return roots + [process for root in roots for process in _children(root, recursive=True)]


def _children(process: psutil.Process, *, recursive: bool = False) -> list[psutil.Process]:
    try:
        return [child for child in process.children(recursive) if _runs(child)]
    except psutil.Error:
        return []


def _alive(pids: list[int]) -> list[psutil.Process]:
    processes = []
    for pid in pids:
        try:
            processes.append(psutil.Process(pid))
        except psutil.Error:
            continue
    return [process for process in processes if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    except psutil.Error:
        return False
