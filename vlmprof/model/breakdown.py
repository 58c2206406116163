"""Where the time to first token of one request went; the parts add up, and that is checked."""

from collections.abc import Mapping
from dataclasses import dataclass

from vlmprof.model.stages import STAGE_BY_ID, UNATTRIBUTED


class BreakdownError(AssertionError):
    """A breakdown whose parts do not add up: a defect of vlmprof, never of the capture."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of a request's critical path and who owned it.

    Attributes:
        stage: a stage id, `unattributed` included.
        pid, tid: the thread that the request waited for; 0 where it was between processes or on the wire.
        cause: the span that owned the stretch, or a gap's two neighbours: `"ipc.encode -> ipc.decode"`.
    """

    stage: str
    start_ns: int
    end_ns: int
    pid: int
    tid: int
    cause: str


@dataclass(frozen=True, slots=True)
class TtftBreakdown:
    """One request's TTFT divided among the stages; exact in integers.

    Attributes:
        stages: stage id -> ns on the critical path, without `unattributed`; absent means 0.
        segments: the same time in order, gapless, covering [sent_ns, first_token_ns).
    """

    request_id: str
    sent_ns: int
    ttft_ns: int
    stages: Mapping[str, int]
    unattributed_ns: int
    segments: tuple[Segment, ...]

    def check(self) -> None:
        """Assert that stages add up to the TTFT and that segments tile the request's window.

        Raises:
            BreakdownError: they do not, or a stage is unknown.
        """
        total_ns = sum(self.stages.values()) + self.unattributed_ns
        if total_ns != self.ttft_ns:
            raise BreakdownError(
                f"{self.request_id}: stages add up to {total_ns} ns, TTFT is {self.ttft_ns} ns"
            )
        unknown = set(self.stages) - set(STAGE_BY_ID) | set(self.stages) & {UNATTRIBUTED}
        if unknown:
            raise BreakdownError(f"{self.request_id}: unknown stages {sorted(unknown)}")
        at_ns = self.sent_ns
        for segment in self.segments:
            if segment.start_ns != at_ns or segment.end_ns <= at_ns:
                raise BreakdownError(f"{self.request_id}: segments do not follow one another at {at_ns} ns")
            at_ns = segment.end_ns
        if at_ns != self.sent_ns + self.ttft_ns:
            raise BreakdownError(f"{self.request_id}: segments end at {at_ns} ns")
