"""A Chrome trace read in pieces: the events of its one large array in batches, then the document around them.

The document is never whole in memory, and is not scanned either. Between two events stands `}, {"ph":`, or whatever
key the first event begins with. No string can hold that: there, each quote has a backslash before it.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator

_MOST_AROUND_BYTES = 256 << 20
_NEAR_END_BYTES = 1 << 18
_HEAD = re.compile(rb'"traceEvents"\s*:\s*\[\s*(\{)\s*("[^"\\]*")\s*:')


class BrokenOff(Exception):
    """The document goes on for longer than any trace without what a trace has."""


class EventStream:
    """Iterates over batches of a trace's events; then `rest` is the document with its last events."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._pending = b""
        self.rest = b""

    def batches(self) -> Iterator[bytes]:
        """Each a JSON list of some events, if the document is JSON.

        Raises:
            BrokenOff: it holds no event array, or one whose events cannot be told apart.
        """
        head = self._find_events()
        if head is None:
            self.rest = self._pending
            return
        before, between = head
        while True:
            cut = self._last_cut(between)
            if cut is not None:
                yield b"[%b]" % self._pending[: cut.start() + 1]
                self._pending = self._pending[cut.end() :]
            if not self._more():
                self.rest = before + self._pending
                return

    def _find_events(self) -> tuple[bytes, re.Pattern[bytes]] | None:
        """What precedes the first event, and what stands between two; None in a document without events."""
        searched = 0
        while True:
            found = _HEAD.search(self._pending, max(0, searched - 200))
            if found:
                before, self._pending = self._pending[: found.start(1)], self._pending[found.start(1) :]
                return before, re.compile(rb"\}\s*,\s*(?=\{\s*%b\s*:)" % re.escape(found[2]))
            searched = len(self._pending)
            if not self._more():
                return None

    def _last_cut(self, between: re.Pattern[bytes]) -> re.Match[bytes] | None:
        near_end = max(0, len(self._pending) - _NEAR_END_BYTES)
        cuts = deque(between.finditer(self._pending, near_end), 1)
        if not cuts and near_end > 0:
            cuts = deque(between.finditer(self._pending), 1)
        return cuts[0] if cuts else None

    def _more(self) -> bool:
        chunk = next(self._chunks, b"")
        self._pending += chunk
        if len(self._pending) > _MOST_AROUND_BYTES:
            raise BrokenOff(f"{_MOST_AROUND_BYTES >> 20} MiB of it hold no two events")
        return bool(chunk)
