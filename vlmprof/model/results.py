"""`results/*.json`: what the analysis of a run found, as other programs may read it.

Every file carries `schema_version`; a newer version may add fields, and those that this version does not
know are ignored. Times are integer ns on the session clock; shares are fractions of 1.
"""

from typing import Literal, TypeVar

import msgspec

from vlmprof.errors import FileUnreadable
from vlmprof.model.breakdown import TtftBreakdown
from vlmprof.model.clock import SESSION_CLOCK
from vlmprof.model.request import Phase
from vlmprof.model.run_folder import RunFolder

RESULTS_SCHEMA_VERSION = 1

StagesFrom = Literal["spans", "samples", "none"]
"""What stages rest on: the agent's spans, stack samples of the profiled requests in their place, or nothing."""


class SegmentResult(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of a request's critical path; see `vlmprof.model.breakdown.Segment`."""

    stage: str
    start_ns: int
    end_ns: int
    pid: int
    tid: int
    cause: str


class RequestBreakdown(msgspec.Struct, frozen=True, kw_only=True):
    """One request's TTFT divided among the stages: stages and unattributed_ns add up to ttft_ns."""

    id: str
    phase: Phase
    block: int
    sent_ns: int
    ttft_ns: int
    stages: dict[str, int]
    unattributed_ns: int
    segments: list[SegmentResult]


class BreakdownResult(msgspec.Struct, frozen=True, kw_only=True):
    """`results/breakdown.json`: every request that got a first token, in order of sending."""

    requests: list[RequestBreakdown]
    schema_version: int = RESULTS_SCHEMA_VERSION
    clock: str = SESSION_CLOCK


class TtftStats(msgspec.Struct, frozen=True, kw_only=True):
    """Distribution of the TTFT over requests."""

    requests: int
    mean_ns: int
    min_ns: int
    max_ns: int
    p50_ns: int
    p90_ns: int
    p99_ns: int


class GroupSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A group of stages over the headline's requests; share is of their summed TTFT.

    label is the group's name, except where an engine without a GPU makes that name untrue.
    """

    group: str
    label: str
    median_ns: int
    mean_ns: int
    p90_ns: int
    total_ns: int
    share: float


class StageSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A stage over the headline's requests, those without it counting as 0; share is of their summed TTFT."""

    stage: str
    group: str
    label: str
    where: str
    median_ns: int
    mean_ns: int
    p90_ns: int
    total_ns: int
    share: float


class ProcessSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What one process of the server did.

    Attributes:
        critical_path_ns: mean per headline request of the time in which it was the one waited for.
        samples: stack samples taken of it in the whole run.
        cpu_ns: sampled time on a CPU, summed over its threads; None where the sampler did not look.
    """

    pid: int
    label: str
    name: str
    threads: int
    critical_path_ns: int
    critical_path_share: float
    samples: int
    sampled_ns: int
    cpu_ns: int | None


class LineTime(msgspec.Struct, frozen=True, kw_only=True):
    """Time on the critical path in which one line of a function was the one executing."""

    line: int
    self_ns: int


class HotFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A function on the critical path; all times are means per request.

    Attributes:
        line: the line of it that took most time, 0 where the sampler saw none.
        self_ns: it was the innermost frame; total_ns: it was anywhere on the stack, counted once.
        share: self_ns of the mean TTFT of the same requests.
        stages: stage id -> self_ns.
        lines: its hottest lines, hottest first.
    """

    function: str
    file: str
    line: int
    self_ns: int
    total_ns: int
    share: float
    stages: dict[str, int]
    lines: list[LineTime] = []


class SampledSplit(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests the sampled functions speak for, and how much of their time.

    Attributes:
        phase: the phase of the requests; `profiled` where the control blocks were not sampled.
        ttft_ns: summed TTFT of those requests.
        thread_ns: the part of it in which a thread that could be sampled was waited for.
        sampled_ns: the part of that which samples cover.
    """

    phase: Phase
    requests: int
    ttft_ns: int
    thread_ns: int
    sampled_ns: int


class SummaryResult(msgspec.Struct, frozen=True, kw_only=True):
    """`results/summary.json`: the run in numbers that a person reads first.

    Attributes:
        headline: the phase that groups, stages and processes speak for: control, where there is any; profiled,
            where stages come from samples.
        diagnosis: one sentence in plain words.
        groups, stages: in the order of the pipeline; totals add up to the summed TTFT.
        split: None where no sampled request has a critical path.
        hot: the hottest functions by self time; hot_by_stage: the same inside each stage.
        hot_by_process: label of a process -> the hottest functions of its threads that did not wait, between the
            sending and the first token of profiled requests; of a server without spans.
        unattributed_median_share, unattributed_worst_share: per headline request, of its own TTFT.
    """

    headline: Phase
    diagnosis: str
    control: TtftStats | None
    profiled: TtftStats | None
    failed_requests: int
    groups: list[GroupSummary]
    stages: list[StageSummary]
    processes: list[ProcessSummary]
    split: SampledSplit | None
    hot: list[HotFunction]
    hot_by_stage: dict[str, list[HotFunction]]
    unattributed_median_share: float
    unattributed_worst_share: float
    hot_by_process: dict[str, list[HotFunction]] = {}
    stages_from: StagesFrom = "spans"
    schema_version: int = RESULTS_SCHEMA_VERSION

    @property
    def ttft(self) -> TtftStats | None:
        """The headline's distribution; None for a run in which no request got a token."""
        return self.control if self.headline == Phase.CONTROL else self.profiled


def request_breakdown(breakdown: TtftBreakdown, phase: Phase, block: int) -> RequestBreakdown:
    """A checked breakdown as it is written to `results/breakdown.json`."""
    return RequestBreakdown(
        id=breakdown.request_id,
        phase=phase,
        block=block,
        sent_ns=breakdown.sent_ns,
        ttft_ns=breakdown.ttft_ns,
        stages=dict(breakdown.stages),
        unattributed_ns=breakdown.unattributed_ns,
        segments=[
            SegmentResult(
                stage=segment.stage,
                start_ns=segment.start_ns,
                end_ns=segment.end_ns,
                pid=segment.pid,
                tid=segment.tid,
                cause=segment.cause,
            )
            for segment in breakdown.segments
        ],
    )


def read_breakdown(folder: RunFolder) -> BreakdownResult:
    """Read `results/breakdown.json`; raises `FileUnreadable`."""
    return read_result(folder, "breakdown", BreakdownResult)


def read_summary(folder: RunFolder) -> SummaryResult:
    """Read `results/summary.json`; raises `FileUnreadable`."""
    return read_result(folder, "summary", SummaryResult)


class _VersionOnly(msgspec.Struct):
    schema_version: int


_Result = TypeVar("_Result")


def read_result(
    folder: RunFolder, name: str, result_type: type[_Result], *, again: str = "vlmprof report RUN --rebuild"
) -> _Result:
    """Decode `results/NAME.json`.

    Args:
        again: the command that writes it, with RUN for the folder.

    Raises:
        FileUnreadable: it is absent, damaged or of a newer schema.
    """
    path = folder.results / f"{name}.json"
    rebuild = f"run `{again.replace('RUN', str(folder.path))}`"
    try:
        content = path.read_bytes()
        version = msgspec.json.decode(content, type=_VersionOnly).schema_version
        if version > RESULTS_SCHEMA_VERSION:
            raise FileUnreadable(
                f"{path}: schema version {version}; this vlmprof reads up to {RESULTS_SCHEMA_VERSION}",
                hint="upgrade vlmprof to read this run",
            )
        return msgspec.json.decode(content, type=result_type)
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror}", hint=rebuild) from error
    except msgspec.DecodeError as error:
        raise FileUnreadable(f"{path} is damaged: {error}", hint=rebuild) from error
