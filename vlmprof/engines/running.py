"""A server that somebody else started, while it is being measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vlmprof.engines.asking import is_answering
from vlmprof.errors import EngineFailed

_KEPT = "what was captured until then is kept"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server to be measured as it is: nothing here starts, signals or stops it.

    Attributes:
        url: without a trailing slash.
        pid: its root process; None where that is not known, as on another machine.
        is_alive: whether that process runs; asked only where pid is known.
        headers: sent with every request, as an API key.
    """

    url: str
    pid: int | None = None
    is_alive: Callable[[], bool] = lambda: True
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> str:
        return "where whoever started it has it"

    def check_alive(self, when: str) -> None:
        """Raise EngineFailed if its process has ended or, where none is known, if it answers no more."""
        if self.pid is None and not is_answering(self.url):
            raise EngineFailed(f"{self.url} no longer answers, {when}", hint=_KEPT)
        if self.pid is not None and not self.is_alive():
            raise EngineFailed(
                f"the server's process {self.pid} ended {when}", hint=f"its own log says why; {_KEPT}"
            )

    def remember_family(self) -> None:
        """Nothing to remember: who started it ends it."""
