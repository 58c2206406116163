"""The table `processes` as `Process` objects."""

from typing import Any

from vlmprof.model.process import Process, Role, Thread


def read_processes(processes: Any) -> dict[int, Process]:
    """Processes by pid, in the order of the table; a role of a newer version becomes `other`."""
    return {row["pid"]: _process(row) for row in processes.to_pylist()}


def process_of(pid: int, processes: dict[int, Process]) -> Process:
    """A process by its pid; one that was sampled but never listed is `other`."""
    return processes.get(pid) or Process(pid, 0, Role.OTHER, None, "")


def _process(row: dict[str, Any]) -> Process:
    role = Role(row["role"]) if row["role"] in set(Role) else Role.OTHER
    threads = tuple(Thread(thread["tid"], thread["name"] or "") for thread in row["threads"] or [])
    return Process(row["pid"], row["parent_pid"] or 0, role, row["rank"], row["name"] or "", threads)
