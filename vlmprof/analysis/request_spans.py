"""The spans of each request, found once for all requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlmprof.analysis.stage_rules import LOOP_WORK, RULES, Rule
from vlmprof.model.process import Role

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RuledSpan:
    """A span with its rule and the role of its process."""

    name: str
    role: str
    pid: int
    tid: int
    start_ns: int
    end_ns: int
    rule: Rule


@dataclass(frozen=True, slots=True, eq=False)
class BusyLoop:
    """When the API server's event loop worked, and for which request; intervals by start, which may nest."""

    pid: int
    tid: int
    start_ns: Ints
    end_ns: Ints
    request: npt.NDArray[Any]

    def foreign(self, request_id: str, start_ns: int, end_ns: int) -> list[tuple[int, int]]:
        """The parts of [start_ns, end_ns) in which it worked for other requests: disjoint, in order."""
        # A loop's spans are short: none that began long before can reach into the window.
        first = max(0, int(np.searchsorted(self.start_ns, start_ns)) - 16)
        last = int(np.searchsorted(self.start_ns, end_ns))
        parts: list[tuple[int, int]] = []
        for at in range(first, last):
            begin_ns = max(int(self.start_ns[at]), start_ns, parts[-1][1] if parts else start_ns)
            finish_ns = min(int(self.end_ns[at]), end_ns)
            if finish_ns > begin_ns and request_id not in self.request[at]:
                parts.append((begin_ns, finish_ns))
        return parts


class SpanIndex:
    """Looks up the spans of a request in a table of all spans."""

    def __init__(self, spans: Any, role_by_pid: Mapping[int, str]) -> None:
        """spans: a table of the SPANS schema, sorted by start_ns; role_by_pid: of `processes`."""
        self._name = spans["name"].to_pylist()
        self._pid = spans["pid"].to_numpy()
        self._tid = spans["tid"].to_numpy()
        self._start_ns = spans["start_ns"].to_numpy()
        self._end_ns = spans["end_ns"].to_numpy()
        self._requests = spans["request_ids"].to_pylist()
        self._role = role_by_pid
        self._rows_of = self._group()
        self.loops = self._find_loops()

    def _group(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, request_ids in enumerate(self._requests):
            for request_id in request_ids or ():
                rows.setdefault(request_id, []).append(row)
        return rows

    def _find_loops(self) -> dict[int, BusyLoop]:
        loop_tid = {
            int(self._pid[row]): int(self._tid[row])
            for row, name in enumerate(self._name)
            if name == "http.handle"
        }
        return {pid: self._busy_loop(pid, tid) for pid, tid in loop_tid.items()}

    def _busy_loop(self, pid: int, tid: int) -> BusyLoop:
        on_loop = np.flatnonzero((self._pid == pid) & (self._tid == tid))
        rows = [row for row in on_loop if self._name[row] in LOOP_WORK]
        requests = np.empty(len(rows), object)
        requests[:] = [tuple(self._requests[row] or ()) for row in rows]
        return BusyLoop(pid, tid, self._start_ns[rows], self._end_ns[rows], requests)

    def rows_of(self, request_id: str) -> list[int]:
        """Rows of the spans that worked for a request, by start."""
        return self._rows_of.get(request_id, [])

    def of_request(self, request_id: str, start_ns: int, end_ns: int) -> list[RuledSpan]:
        """Spans that worked for a request and meet [start_ns, end_ns), by start; names without a rule left out."""
        found = []
        for row in self.rows_of(request_id):
            rule = RULES.get(self._name[row])
            if rule is None or self._end_ns[row] <= start_ns or self._start_ns[row] >= end_ns:
                continue
            found.append(self._span(row, rule))
        return found

    def _span(self, row: int, rule: Rule) -> RuledSpan:
        pid = int(self._pid[row])
        return RuledSpan(
            self._name[row],
            self._role.get(pid, Role.OTHER),
            pid,
            int(self._tid[row]),
            int(self._start_ns[row]),
            int(self._end_ns[row]),
            rule,
        )
