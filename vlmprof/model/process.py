"""Processes of a served engine, and the part each one plays."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a process does for a request."""

    CLIENT = "client"
    API_SERVER = "api_server"
    ENGINE_CORE = "engine_core"
    WORKER = "worker"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread; tid is the kernel's (gettid), unique on the host."""

    tid: int
    name: str


@dataclass(frozen=True, slots=True)
class Process:
    """One process; rank is the worker's number, None for the others."""

    pid: int
    parent_pid: int
    role: Role
    rank: int | None
    name: str
    threads: tuple[Thread, ...] = ()

    @property
    def label(self) -> str:
        """The name used everywhere: `"api_server"`, `"worker 0"`."""
        return f"{self.role} {self.rank}" if self.rank is not None else str(self.role)
