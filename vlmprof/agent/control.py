"""The profiler's side of the agent: how a server is started with it, switched, and asked to write what it holds."""

import json
import os
import time
from pathlib import Path

from .recorder import FLUSH_INTERVAL_S, now_ns
from .start import BEACON_VARIABLE, FOLDER_VARIABLE, PTRACER_VARIABLE
from .switch import SPANS_ON, create_switch

BOOTSTRAP = Path(__file__).parent / "bootstrap"
_FLUSH_WAIT_S = 5.0


class AgentFolder:
    """What the agents of a server write into the folder that they and the profiler know."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def loaded_pids(self) -> list[int]:
        """Processes in which the agent has begun to write."""
        return sorted(int(path.name.split(".")[1]) for path in self.folder.glob("spans.*.json"))

    def wait_for_flush(self) -> list[int]:
        """Wait until every living process has written what it recorded before this call.

        Returns:
            pids that did not within five seconds.
        """
        asked_ns = now_ns()
        deadline_ns = asked_ns + int(_FLUSH_WAIT_S * 1e9)
        behind = self._behind(asked_ns)
        while behind and now_ns() < deadline_ns:
            time.sleep(FLUSH_INTERVAL_S / 2)
            behind = self._behind(asked_ns)
        return behind

    def _behind(self, asked_ns: int) -> list[int]:
        return [pid for pid in self.loaded_pids() if _is_running(pid) and self._flushed_ns(pid) < asked_ns]

    def _flushed_ns(self, pid: int) -> int:
        try:
            sidecar = json.loads((self.folder / f"spans.{pid}.json").read_bytes())
            return int(sidecar["flushed_ns"])
        except (OSError, ValueError, KeyError):
            return 0


class AgentControl(AgentFolder):
    """Controls the agent of a server that is started for one run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._switch = create_switch(str(folder))

    def environment(self, *, beacons: bool) -> dict[str, str]:
        """Variables that load the agent into every Python process of the server.

        Args:
            beacons: whether a stack sampler will need beacons for its clock.
        """
        python_path = [str(BOOTSTRAP), os.environ.get("PYTHONPATH", "")]
        return {
            "PYTHONPATH": os.pathsep.join(entry for entry in python_path if entry),
            FOLDER_VARIABLE: str(self.folder.resolve()),
            PTRACER_VARIABLE: str(os.getpid()),
            BEACON_VARIABLE: "1" if beacons else "",
        }

    def record_spans(self, on: bool) -> None:
        """Switch recording in every process at once; takes effect with the next call of each boundary."""
        self._switch[SPANS_ON] = int(on)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
