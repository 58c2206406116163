"""Profiles a server under a load generator of the user's own: the profilers go on and off while it runs."""

import time

from vlmprof.collect.base import Collector
from vlmprof.engines.server import Server
from vlmprof.errors import EngineFailed
from vlmprof.session.journal import Journal
from vlmprof.session.options import Progress
from vlmprof.session.prepare import Prepared
from vlmprof.workload.load_command import LoadTarget, run_load_command

WINDOW_S = 10.0
_LOG = "load.log"


def measure_load(prepared: Prepared, server: Server, journal: Journal, progress: Progress) -> None:
    """Run the load command, with control and profiled windows in turn; the agent sees its requests.

    Raises:
        EngineFailed: the server died, or the command failed without a single request's having been served.
    """
    progress.step("Load command")
    windows = _Windows(prepared.collectors, journal, server, progress)
    target = LoadTarget(server.url, prepared.options.model, server.port)
    log = journal.folder.raw / _LOG
    try:
        outcome = run_load_command(prepared.options.load_command, target, log, on_wait=windows.turn)
    finally:
        windows.close()
    if outcome.exit_code != 0:
        journal.warn(f"the load command ended with exit code {outcome.exit_code}; its output is raw/{_LOG}")
        progress.note(
            f"The load command failed: {outcome.tail.splitlines()[-1] if outcome.tail else 'no output'}"
        )
    server.check_alive("under the load command")


class _Windows:
    """Control and profiled windows in turn, noted as steps of the run, first a control one."""

    def __init__(
        self, collectors: list[Collector], journal: Journal, server: Server, progress: Progress
    ) -> None:
        self._collectors, self._journal = collectors, journal
        self._server, self._progress = server, progress
        self._count = 0
        self._step = journal.step(self._title())
        self._step.__enter__()
        self._until_s = time.monotonic() + WINDOW_S

    def _title(self) -> str:
        return f"Block {self._count} ({'profiled' if self._count % 2 else 'control'})"

    def turn(self) -> None:
        """Called several times a second: begin the next window when this one is over."""
        if self._server.exit_code is not None:
            raise EngineFailed(
                f"the engine ended with exit code {self._server.exit_code} under the load command",
                hint=f"its log is {self._server.log}",
            )
        if time.monotonic() < self._until_s:
            return
        self.close()
        self._count += 1
        self._step = self._journal.step(self._title())
        self._step.__enter__()
        if self._count % 2:
            for collector in self._collectors:
                collector.resume()
        self._progress.detail(self._title())
        self._until_s = time.monotonic() + WINDOW_S

    def close(self) -> None:
        """End the current window; safe to call twice."""
        if self._count % 2:
            for collector in self._collectors:
                collector.pause()
        self._step.__exit__(None, None, None)
