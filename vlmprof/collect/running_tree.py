"""The processes of a server that somebody else started: found and read, never started, signalled or changed."""

import ipaddress
import json
import os
import re
import socket
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

import psutil

from vlmprof.collect.process_tree import is_alive, is_python, python_pids, python_root
from vlmprof.model.process import Process, Role, Thread

_TITLE = re.compile(r"\w+::(?P<role>EngineCore|Worker|APIServer)")
_ROLE_OF_TITLE = {
    "EngineCore": Role.ENGINE_CORE,
    "Worker": Role.WORKER,
    "APIServer": Role.API_SERVER,
}
_BELOW = {Role.API_SERVER: Role.ENGINE_CORE, Role.ENGINE_CORE: Role.WORKER}
_HELPERS = ("resource_tracker", "forkserver")
_SECRET_OPTION = re.compile(r"--[\w.-]*(key|token|password|secret)[\w.-]*", re.IGNORECASE)


def find_root(pid: int) -> int | None:
    """The outermost Python process of the server that a process belongs to; None where there is no such process."""
    try:
        return python_root(_outermost(psutil.Process(pid)).pid)
    except psutil.NoSuchProcess:
        return None


def started_s(pid: int) -> float:
    """When a process started, which tells it from a later one of the same number; 0 for one that is gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def still_runs(pid: int, since_s: float) -> bool:
    """Whether the process that started then still runs: not a later one of its number, nor one that has ended."""
    return is_alive(pid) and started_s(pid) == since_s


def other_owner(pid: int) -> str:
    """Whose a process is, where this process may not look into it for that; else empty."""
    try:
        process = psutil.Process(pid)
        mine = os.geteuid() in (0, process.uids().effective)
        return "" if mine else str(process.username())
    except psutil.Error:
        return ""


def listening_pid(host: str, port: int) -> int | None:
    """The Python process of this machine that listens on a port; None where none is to be seen."""
    if not is_local(host):
        return None
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    listening = [
        int(connection.pid)
        for connection in connections
        if connection.pid and connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    ]
    return next((pid for pid in listening if is_python(pid)), None)


def why_unknown(host: str, port: int) -> str:
    """Why no process of a server was found, and what to do."""
    if not is_local(host):
        return f"{host} is another machine: run vlmprof there to see into the server"
    return (
        f"no Python process that may be looked at listens on port {port} here: it is another user's, in a "
        "container, or behind a proxy; run vlmprof as its user and in its container, or name it with --pid"
    )


def is_local(host: str) -> bool:
    """Whether a host's name or address is one of this machine's."""
    try:
        addresses = {str(entry[4][0]).split("%")[0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    if any(ipaddress.ip_address(address).is_loopback for address in addresses):
        return True
    interfaces = psutil.net_if_addrs().values()
    own = {address.address.split("%")[0] for interface in interfaces for address in interface}
    return bool(addresses & own)


def served_processes(root: int) -> list[Process]:
    """The Python processes of a server's tree with their roles, the root first, helpers of Python's own left out.

    vLLM names its processes by their titles. Where the package for that is missing, the tree tells: the API server
    starts the engine core, which starts the workers.
    """
    roles: dict[int, Role] = {}
    for pid in python_pids(root):
        if not any(helper in word for word in _command(pid) for helper in _HELPERS):
            roles[pid] = _role(pid, root, roles)
    workers = sorted(pid for pid, role in roles.items() if role == Role.WORKER)
    return [_described(pid, role, workers) for pid, role in roles.items()]


def setting_of(pid: int, name: str) -> str:
    """One variable of the environment that a process was started with; empty where it cannot be read."""
    try:
        return str(psutil.Process(pid).environ().get(name, ""))
    except (psutil.Error, OSError):
        return ""


def command_of(pid: int) -> list[str]:
    """A process's command line without the values of options that are secrets by their names."""
    return _without_secrets(_command(pid))


def trace_folder(root: int) -> Path | None:
    """Where the server's torch profiler writes, as its command line or environment says."""
    words = _command(root)
    for place, word in enumerate(words):
        option, separator, value = word.partition("=")
        value = value if separator else (words[place + 1] if place + 1 < len(words) else "")
        option = option.replace("_", "-")
        if option == "--profiler-config":
            value = _folder_in(value)
        elif option != "--profiler-config.torch-profiler-dir":
            continue
        if value:
            return Path(value)
    folder = setting_of(root, "VLLM_TORCH_PROFILER_DIR")
    return Path(folder) if folder else None


def packages_of(pid: int, names: Iterable[str]) -> dict[str, str]:
    """Versions of packages in the folders that a process has loaded code from; runs nothing of the server's."""
    folders = _package_folders(pid)
    found: dict[str, str] = {}
    for name in names if folders else ():
        for distribution in metadata.distributions(name=name, path=folders):
            found.setdefault(name, distribution.version)
    return found


def python_of(pid: int) -> tuple[Path, str]:
    """A process's interpreter and its version as far as its file's name tells: `3.11`."""
    try:
        program = Path(f"/proc/{pid}/exe").readlink()
        text = f"{program.name}\n" + Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return Path("python"), ""
    version = re.search(r"python(3\.\d+)", text)
    return program, version[1] if version else ""


def _outermost(process: psutil.Process) -> psutil.Process:
    """The server's root above one of its processes: API servers and engine cores are children of it."""
    parent = process.parent()
    while parent is not None and _is_vllm(parent.pid):
        process, parent = parent, parent.parent()
    return process


def _is_vllm(pid: int) -> bool:
    return _title(pid) is not None or any(
        Path(word).name == "vllm" or word.startswith("vllm.entrypoints") for word in _command(pid)[:4]
    )


def _title(pid: int) -> re.Match[str] | None:
    return _TITLE.match(" ".join(_command(pid)[:1]))


def _role(pid: int, root: int, known: Mapping[int, Role]) -> Role:
    if title := _title(pid):
        return _ROLE_OF_TITLE[title["role"]]
    if pid == root:
        return Role.API_SERVER
    role = _BELOW.get(known.get(_parent(pid), Role.OTHER), Role.OTHER)
    # An API server has other children than the engine core, which comes first.
    return Role.OTHER if role == Role.ENGINE_CORE and role in known.values() else role


def _described(pid: int, role: Role, workers: list[int]) -> Process:
    name = _command(pid)[0] if _title(pid) else _comm(Path(f"/proc/{pid}"))
    tasks = Path(f"/proc/{pid}/task")
    try:
        tids = sorted(int(task.name) for task in tasks.iterdir())
    except OSError:
        tids = []
    threads = tuple(Thread(tid, _comm(tasks / str(tid))) for tid in tids)
    rank = workers.index(pid) if pid in workers else None
    return Process(pid, _parent(pid), role, rank, name, threads)


def _comm(folder: Path) -> str:
    try:
        return (folder / "comm").read_text().strip()
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        return int(psutil.Process(pid).ppid())
    except psutil.Error:
        return 0


def _command(pid: int) -> list[str]:
    try:
        return [str(word) for word in psutil.Process(pid).cmdline()]
    except (psutil.Error, OSError):
        return []


def _without_secrets(words: list[str]) -> list[str]:
    kept, hide = [], False
    for word in words:
        option, separator, _ = word.partition("=")
        secret = bool(_SECRET_OPTION.fullmatch(option))
        # --api-key takes several values: all until the next option.
        hide = hide and not word.startswith("--")
        kept.append("***" if hide else f"{option}=***" if secret and separator else word)
        hide = hide or (secret and not separator)
    return kept


def _folder_in(text: str) -> str:
    try:
        config = json.loads(text)
    except ValueError:
        return ""
    return str(config.get("torch_profiler_dir") or "") if isinstance(config, dict) else ""


def _package_folders(pid: int) -> list[str]:
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return []
    return sorted(set(re.findall(r"(/\S*/(?:site|dist)-packages)/", maps)))
