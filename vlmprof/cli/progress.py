"""Shows what a session is doing on stderr: a spinner in a terminal, one line a step elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from vlmprof.cli.terminal_text import plain


class ConsoleProgress:
    """Implements `vlmprof.session.options.Progress`; use it as a context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._status: Status | None = None
        self._title = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def step(self, title: str) -> None:
        self._title = title
        if self._status is None:
            self._console.print(plain(title), markup=False, highlight=False)
        else:
            self._status.update(plain(title))

    def detail(self, text: str) -> None:
        if self._status is not None:
            room = max(20, self._console.width - len(self._title) - 8)
            self._status.update(f"{plain(self._title)}  [dim]{_escaped(plain(text)[:room])}[/]")

    def note(self, text: str) -> None:
        # In a file, a sentence that was broken at column 80 cannot be searched for.
        whole = not self._console.is_terminal
        self._console.print(plain(text), markup=False, highlight=False, style="dim", soft_wrap=whole)


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")
