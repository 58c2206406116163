"""The one interface of all collectors, and the life it goes through in a run.

    probe() -> wrap_command(), environment(), engine_args() -> server starts -> attach()
    -> (resume() -> profiled block -> pause() -> control block)* -> stop()

A collector that fails after the server has started never ends the run: its methods record what happened
and `info` says so; what it wrote until then is kept.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from vlmprof.model.run_info import CollectorInfo

CollectorKind = Literal["spans", "cpu", "gpu"]


@dataclass(frozen=True, slots=True)
class Served:
    """The server that is being profiled: pid of its root process, base URL without a trailing slash."""

    pid: int
    url: str


class Collector(Protocol):
    """Watches a served engine and writes into the folder it was made with."""

    @property
    def name(self) -> str:
        """`"austin"`, `"nsys"`: the name in run.json and on the command line."""

    @property
    def kind(self) -> CollectorKind:
        """Which of the run's sources it is."""

    def wrap_command(self, command: list[str]) -> list[str]:
        """The command that starts the server under this collector; the same list where it only attaches."""

    def environment(self) -> dict[str, str]:
        """Variables that the server must be started with."""

    def engine_args(self) -> list[str]:
        """Arguments that the engine must be given."""

    def attach(self, served: Served) -> None:
        """Get ready on the running server, paused: after this, `resume` starts recording within 0.5 s."""

    def resume(self) -> None:
        """Start recording; returns when the recorder runs."""

    def pause(self) -> None:
        """Stop recording, at no further cost to the server; returns when it does."""

    def stop(self) -> None:
        """End and complete the files; safe twice, before `attach`, and after a crash."""

    @property
    def files(self) -> list[Path]:
        """What it has written into `raw/`."""

    @property
    def info(self) -> CollectorInfo:
        """State for run.json: `ok`, `partial` or `missing`, with the reason."""


def collector_state(recorded: bool, problem: str) -> str:
    """The state for run.json of a collector that has recorded something or not, and met a problem or not."""
    if problem:
        return "partial" if recorded else "missing"
    return "ok" if recorded else "off"
