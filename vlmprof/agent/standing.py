"""The profiler's side of an agent that stands by in a server that somebody else started.

The server was started with `VLMPROF_SPANS=FOLDER`. For as long as a profiler records, every span of the server is
written there, those of other people's requests too; what came since the profiler began is copied into its run.
"""

import fcntl
import os
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from .control import BOOTSTRAP, AgentFolder
from .recorder import RECORD
from .start import STANDING_VARIABLE
from .switch import SPANS_ON, open_switch, set_profiler_pid, switch_path

_LOCK_TRIES = 20
_LOCK_POLL_S = 0.05


class HeldByAnother(Exception):
    """Another profiler records the same server."""


def standing_environment(folder: Path) -> dict[str, str]:
    """What to start a server with, so that profilers can attach to it later; PYTHONPATH goes before what is there.

    PYTHONPATH is for an engine's environment without vlmprof: where it is installed, vLLM loads it as a plugin.
    """
    return {STANDING_VARIABLE: str(folder.absolute()), "PYTHONPATH": str(BOOTSTRAP)}


class StandingAgent(AgentFolder):
    """Records the spans of one server into its standing folder, and takes them from there.

    Args:
        pids: the server's processes; the folder may hold files of other, earlier ones.

    Raises:
        OSError: the folder has no switch that can be written.
    """

    def __init__(self, folder: Path, pids: Collection[int]) -> None:
        super().__init__(folder)
        self._pids = frozenset(pids)
        self._switch = open_switch(str(folder), writable=True)
        self._lock = open(switch_path(str(folder)), "rb")  # noqa: SIM115 - held for as long as spans are recorded
        self._start_bytes: dict[int, int] = {}

    def loaded_pids(self) -> list[int]:
        return [pid for pid in super().loaded_pids() if pid in self._pids]

    def begin(self) -> list[int]:
        """Turn spans on; returns when every process records.

        Returns:
            pids that do not answer.

        Raises:
            HeldByAnother: another profiler records.
        """
        self._take_lock()
        self._start_bytes = {pid: _whole_records_bytes(self._records(pid)) for pid in self._pids}
        set_profiler_pid(self._switch, os.getpid())
        self._switch[SPANS_ON] = 1
        return self.wait_for_flush()

    def end(self) -> list[int]:
        """Turn spans off when all have been written; returns the pids that did not write their last."""
        late = self.wait_for_flush()
        self._switch[SPANS_ON] = 0
        self._lock.close()
        return late

    def copy_into(self, raw: Path) -> None:
        """Copy what was recorded since `begin`, as `read_spans` reads it."""
        for pid in self.loaded_pids():
            with suppress(FileNotFoundError), self._records(pid).open("rb") as records:
                records.seek(self._start_bytes.get(pid, 0))
                (raw / f"spans.{pid}.bin").write_bytes(records.read())
                (raw / f"spans.{pid}.json").write_bytes((self.folder / f"spans.{pid}.json").read_bytes())

    def _records(self, pid: int) -> Path:
        return self.folder / f"spans.{pid}.bin"

    def _take_lock(self) -> None:
        for _ in range(_LOCK_TRIES):
            try:
                # A process that finds the switch on and unheld tries the lock for a moment.
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_POLL_S)
            else:
                return
        raise HeldByAnother(str(self.folder))


def _whole_records_bytes(path: Path) -> int:
    try:
        return path.stat().st_size // RECORD.size * RECORD.size
    except OSError:
        return 0
