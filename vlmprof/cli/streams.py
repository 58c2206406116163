"""Standard output and error that may be gone or full, while the command's exit code still means something."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from vlmprof.errors import FileUnreadable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Standard output and error that outlive whoever reads them.

    A reader that has seen enough, as `head -1`, leaves the rest of the command to be done: its exit code, a gate's
    above all, is what somebody waits for. Nothing is lost by an error stream that takes nothing; an output that
    takes nothing for any other reason, as a full disk, is a failure.

    Raises:
        FileUnreadable: standard output cannot be written; from the write itself.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _lasting(sys.stdout, _Output), _lasting(sys.stderr, _Errors)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Output(io.FileIO):
    """A descriptor that is given up at the first failed write; what comes later goes nowhere."""

    _given_up = False

    def write(self, content: "ReadableBuffer", /) -> int:
        """The whole content's length, in bytes, once given up."""
        if not self._given_up:
            try:
                return super().write(content)
            except OSError as error:
                self._given_up = True
                self.failed(error)
        return memoryview(content).nbytes

    def failed(self, error: OSError) -> None:
        """What a failed write means; raises `FileUnreadable` unless it is that nobody reads any more."""
        if not isinstance(error, BrokenPipeError):
            raise FileUnreadable(
                f"the output cannot be written: {error.strerror}",
                hint="what was measured is kept in the run's folder; write the output somewhere else",
            ) from error


class _Errors(_Output):
    def failed(self, error: OSError) -> None:
        """There is no place left to say it."""


def _lasting(stream: TextIO | None, kind: type[_Output]) -> TextIO:
    """A stream in the place of another one, with the same descriptor and encoding."""
    if stream is None:
        # Python has none for a descriptor that the shell closed: `vlmprof ... >&-`.
        return open(os.devnull, "w")
    try:
        descriptor = stream.fileno()
    except OSError:
        # In memory, as a test's.
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(kind(descriptor, "wb", closefd=False)),
        encoding=stream.encoding,
        # Where the locale has no box drawing, a question mark does; the result is worth more than its looks.
        errors="replace",
        line_buffering=kind is _Errors or stream.isatty(),
    )
