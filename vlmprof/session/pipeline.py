"""From raw captures to tables and results; everything here can be done again from the run folder alone."""

import statistics
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.analysis.gpu_tables import GpuTables
from vlmprof.analysis.request_spans import SpanIndex
from vlmprof.analysis.stats import paired_ratio
from vlmprof.analysis.steadiness import trend_of
from vlmprof.analysis.summary import summarise
from vlmprof.analysis.ttft import attribute
from vlmprof.errors import ClockError, FileUnreadable
from vlmprof.model.process import Role
from vlmprof.model.request import Phase, Request
from vlmprof.model.results import BreakdownResult, StagesFrom, SummaryResult, request_breakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import IMPORTED, ClockEvidence, RatioInterval, RunInfo
from vlmprof.model.table_io import write_table
from vlmprof.model.tables import PROCESSES, REQUESTS
from vlmprof.read.served import read_served, with_served
from vlmprof.read.spans import SpanCapture, read_spans
from vlmprof.session.baseline import counted_use, warnings_of
from vlmprof.session.capture import GpuCapture, Sampled, read_gpu_files, read_samples
from vlmprof.session.gpu_results import GpuMerge, charge_gpu_times, gpu_result, merge_run
from vlmprof.session.journal import read_requests
from vlmprof.session.options import Progress, Silent
from vlmprof.session.recipe_calls import counted_uses, failure_warnings
from vlmprof.session.sampled_stages import stages_from, with_sampled_spans
from vlmprof.session.served_requests import requests_from_spans
from vlmprof.session.suggest import of_baseline, suggest
from vlmprof.units import NS_PER_MS, format_ns, format_share

_UNCERTAIN_NS = NS_PER_MS
_REFUSED_SHARE_OF_TTFT = 0.1
_UNATTRIBUTED_SHARE = 0.03
_NO_AGENT = "the agent was loaded in no process of the engine: nothing can be attributed"
_START_WITH_AGENT = (
    "start it with VLMPROF_SPANS=FOLDER, as `vlmprof attach --print-env FOLDER` prints, and attach again"
)
_WITHOUT_AGENT: dict[StagesFrom, str] = {
    "samples": "the server has no span agent: its stages are coarse, read from the stack samples of profiled "
    "requests; short ones are missed, and other clients' work is not told apart; for exact ones "
    + _START_WITH_AGENT,
    "none": "the server has no span agent, and stack samples tell stages only of requests that are sent one at a "
    f"time: its TTFT is not divided; {_START_WITH_AGENT}",
}
_SETTLING = "the server had not settled; let it serve more before it is measured (`--warmup 100`)"
_SLOWING = (
    "the server got slower while it served; is more sent than it can answer (try a lower --rate or --concurrency), "
    "does memory fill up, does the machine throttle, or are the later pictures larger?"
)


def rebuild(folder: RunFolder, progress: Progress | None = None) -> SummaryResult:
    """Write `tables/` and `results/` from `raw/`, and the evidence of clocks and quality into run.json.

    Raises:
        FileUnreadable: span files or run.json cannot be read, or the run was imported and has no captures.
        ClockError: samples cannot be put on the session clock well enough; all results without them are written.
    """
    progress = progress or Silent()
    progress.step("Analysing")
    info = folder.read_info()
    if info.model.name == IMPORTED and not any(folder.raw.glob("*")):
        raise FileUnreadable(
            f"{folder.path} was imported: it has tables and no captures to analyse again",
            hint="import the files again: vlmprof import FILES -o RUN --overwrite",
        )
    captures = _read_captures(folder, info, progress)
    progress.detail("tables")
    tables, merge = _merged_tables(captures)
    breakdown = charge_gpu_times(captures.breakdown, merge, captures.index)
    for name, table in tables.items():
        write_table(folder, name, table)
    progress.detail("summary")
    folder.write_result("breakdown", breakdown)
    if merge.gpu.size:
        folder.write_result("gpu", gpu_result(merge, tables["requests"], breakdown, info.model.dtype))
    summary = _write_conclusions(folder, info, breakdown, tables, stages_from(captures.spans))
    folder.write_info(_with_evidence(folder, info, captures, summary))
    if captures.refusal is not None:
        raise captures.refusal
    return summary


@dataclass(frozen=True, slots=True)
class _Captures:
    """What the collectors wrote, on the session clock; refusal says why samples were left out of it."""

    spans: SpanCapture
    requests: list[Request]
    index: SpanIndex
    breakdown: BreakdownResult
    sampled: Sampled
    refusal: ClockError | None
    gpu: GpuCapture


def _read_captures(folder: RunFolder, info: RunInfo, progress: Progress) -> _Captures:
    progress.detail("spans")
    spans = with_served(read_spans(folder.raw), read_served(folder.raw))
    requests = read_requests(folder) or requests_from_spans(spans, info.steps)
    progress.detail("stack samples")
    sampled = read_samples(folder.raw, spans)
    if info.attached_to:
        spans = with_sampled_spans(spans, sampled, requests)
    index = SpanIndex(spans.table, {process.pid: process.role for process in spans.processes})
    breakdown = _breakdown(requests, index)
    served = {process.pid for process in spans.processes if process.role != Role.OTHER}
    # Without spans there is nothing to merge samples with: their views stand alone.
    refusal = _refuse_uncertain(sampled, breakdown, served) if spans.agents else None
    progress.detail("GPU timeline")
    gpu = read_gpu_files(folder.raw, spans)
    return _Captures(spans, requests, index, breakdown, sampled, refusal, gpu)


def _merged_tables(captures: _Captures) -> tuple[dict[str, Any], GpuMerge]:
    """Every table of the run by name, and its GPU work joined to the rest."""
    spans, sampled, gpu = captures.spans, captures.sampled, captures.gpu
    tables = {
        "requests": _request_table(captures.requests),
        "processes": _process_table(spans),
        "spans": spans.table,
        "samples": sampled.samples,
        "stacks": sampled.stacks,
        "frames": sampled.frames,
    }
    captured = GpuTables(gpu.kernels, gpu.copies, gpu.calls, gpu.syncs)
    merge = merge_run(captured, spans.table, sampled.samples, captures.index, tables["requests"])
    return tables | merge.tables(), merge


def _write_conclusions(
    folder: RunFolder, info: RunInfo, breakdown: BreakdownResult, tables: dict[str, Any], basis: StagesFrom
) -> SummaryResult:
    """Summary and suggestions: both speak of the server as it was, without a trial's other arms."""
    stack_tables = {name: tables[name] for name in ("samples", "stacks", "frames")}
    baseline = of_baseline(breakdown, info)
    summary = summarise(
        info,
        baseline,
        requests=tables["requests"],
        processes=tables["processes"],
        stages_from=basis,
        **stack_tables,
    )
    folder.write_result("summary", summary)
    folder.write_result("suggestions", suggest(folder, info, baseline, **stack_tables))
    return summary


def _with_evidence(folder: RunFolder, info: RunInfo, captures: _Captures, summary: SummaryResult) -> RunInfo:
    """run.json with what the analysis found of clocks, quality, overhead and recipes."""
    spans, sampled, gpu = captures.spans, captures.sampled, captures.gpu
    recipes = counted_uses(folder.raw, info.recipes, spans.processes)
    baseline = info.baseline and counted_use(info.baseline, info.blocks, captures.requests, spans.table)
    warnings = [
        *sampled.warnings,
        *gpu.warnings,
        *_warnings(info, spans, sampled, summary),
        *_not_steady(info, captures.breakdown),
        *failure_warnings(recipes),
        *warnings_of(baseline, watched=bool(spans.agents)),
    ]
    return msgspec.structs.replace(
        info,
        recipes=recipes,
        baseline=baseline,
        agents=spans.agents,
        clocks=[*([_span_clock()] if spans.agents else []), *sampled.clocks, *gpu.clocks],
        quality=[*spans.quality, *sampled.quality],
        overhead=_overhead(captures.requests, info),
        analysis_warnings=list(dict.fromkeys(warnings)),
    )


def _breakdown(requests: list[Request], index: SpanIndex) -> BreakdownResult:
    return BreakdownResult(
        requests=[
            request_breakdown(
                attribute(request.id, request.sent_ns, request.first_token_ns, index),
                request.phase,
                request.block,
            )
            for request in sorted(requests, key=lambda request: request.sent_ns)
            if request.first_token_ns is not None and not request.error and request.phase != Phase.WARM_UP
        ]
    )


def _span_clock() -> ClockEvidence:
    return ClockEvidence(
        source="spans", method="recorded on the session clock", offset_ns=0, drift_ppm=0.0, uncertainty_ns=0
    )


def _refuse_uncertain(sampled: Sampled, breakdown: BreakdownResult, served: set[int]) -> ClockError | None:
    """Take out samples whose clock is worse than a tenth of what they are to explain.

    Those of a process that serves no request, as vLLM's resource tracker, which has no beacons, go alone;
    without those of a served one the rest would be a skewed picture, and all go.
    """
    if not sampled.clocks or not breakdown.requests:
        return None
    median_ns = statistics.median(request.ttft_ns for request in breakdown.requests)
    uncertain = {
        _pid_of(clock): clock
        for clock in sorted(sampled.clocks, key=lambda clock: clock.uncertainty_ns)
        if clock.uncertainty_ns > _REFUSED_SHARE_OF_TTFT * median_ns
    }
    refused = [clock for pid, clock in uncertain.items() if pid in served]
    if not refused:
        left_out = pa.array(list(uncertain), sampled.samples["pid"].type)
        sampled.samples = sampled.samples.filter(pc.invert(pc.is_in(sampled.samples["pid"], left_out)))
        return None
    worst = refused[-1]
    sampled.samples = sampled.samples.slice(0, 0)
    sampled.warnings.append(f"stack samples left out: the clock of {worst.source} is too uncertain")
    return ClockError(
        f"the clock of {worst.source} is uncertain by {format_ns(worst.uncertainty_ns)}, more than a tenth of the "
        f"median TTFT of {format_ns(median_ns)}",
        hint="sample more often with --interval, or run without: --cpu-profiler none",
    )


def _pid_of(clock: ClockEvidence) -> int:
    """The process of a sampler's clock: its source is `austin:4711` or `py-spy:4711`."""
    return int(clock.source.rpartition(":")[2])


def _warnings(info: RunInfo, spans: SpanCapture, sampled: Sampled, summary: SummaryResult) -> list[str]:
    warnings = [
        f"{agent.role} (process {agent.pid}): this engine version lacks the boundary {missing}"
        for agent in spans.agents
        for missing in agent.missing
    ]
    if not spans.agents:
        warnings.append(_WITHOUT_AGENT[summary.stages_from] if info.attached_to else _NO_AGENT)
    # Without an agent there are no beacons: no clock is better, and the stages are called coarse.
    warnings += [
        f"the clock of {clock.source} is uncertain by {format_ns(clock.uncertainty_ns)}"
        for clock in sampled.clocks
        if clock.uncertainty_ns > _UNCERTAIN_NS and (spans.agents or not info.attached_to)
    ]
    timed_alone = bool(info.attached_to) and summary.stages_from == "none"
    if summary.unattributed_worst_share > _UNATTRIBUTED_SHARE and not timed_alone:
        share = format_share(summary.unattributed_worst_share)
        warnings.append(f"{share} of the worst request's TTFT is unattributed")
    if summary.failed_requests:
        warnings.append(f"{summary.failed_requests} requests failed; see tables/requests.parquet")
    return warnings


def _not_steady(info: RunInfo, breakdown: BreakdownResult) -> list[str]:
    """Whether TTFT had a trend while the run's own requests, those of a trial left out, measured it."""
    control, profiled = (_ttft_blocks(info, breakdown, phase) for phase in (Phase.CONTROL, Phase.PROFILED))
    trend = trend_of(control, profiled)
    if trend is None:
        return []
    first, last = format_ns(trend.first_ns), format_ns(trend.last_ns)
    return [
        f"TTFT went from {first} in the first third of the control requests to {last} in the last: "
        + (_SLOWING if trend.rises else _SETTLING)
    ]


def _ttft_blocks(info: RunInfo, breakdown: BreakdownResult, phase: Phase) -> list[list[int]]:
    """TTFT, ns, of the requests of one phase, block by block."""
    in_trial = _trial_blocks(info)
    requests = [each for each in breakdown.requests if each.phase == phase and each.block not in in_trial]
    numbers = sorted({request.block for request in requests})
    return [[each.ttft_ns for each in requests if each.block == number] for number in numbers]


def _overhead(requests: list[Request], info: RunInfo) -> RatioInterval | None:
    """The TTFT of profiled blocks against that of the control blocks beside them, those of a trial left out."""
    in_trial = _trial_blocks(info)
    alternating = [request for request in requests if request.block not in in_trial]
    return paired_ratio(_blocks(alternating, Phase.CONTROL), _blocks(alternating, Phase.PROFILED))


def _trial_blocks(info: RunInfo) -> set[int]:
    return {block.index for block in info.blocks if block.round is not None}


def _blocks(requests: list[Request], phase: Phase) -> list[list[float]]:
    numbers = sorted({request.block for request in requests if request.phase == phase})
    return [
        [
            float(request.ttft_ns)
            for request in requests
            if request.block == number and request.ttft_ns is not None and not request.error
        ]
        for number in numbers
    ]


def _request_table(requests: list[Request]) -> Any:
    return _as_table([_request_row(request) for request in requests], REQUESTS)


def _request_row(request: Request) -> dict[str, Any]:
    row = {name: getattr(request, name) for name in REQUESTS.names if not name.startswith("image_")}
    return row | {
        "image_tokens": request.image_tokens,
        "phase": str(request.phase),
        "image_names": [image.name for image in request.images],
        "image_widths": [image.width for image in request.images],
        "image_heights": [image.height for image in request.images],
        "image_bytes": [image.size_bytes for image in request.images],
    }


def _process_table(spans: SpanCapture) -> Any:
    rows = [
        {
            "pid": process.pid,
            "parent_pid": process.parent_pid,
            "role": str(process.role),
            "rank": process.rank,
            "name": process.name,
            "threads": [{"tid": thread.tid, "name": thread.name} for thread in process.threads],
        }
        for process in spans.processes
    ]
    return _as_table(rows, PROCESSES)


def _as_table(rows: list[dict[str, Any]], schema: Any) -> Any:
    """Rows under a schema; pyarrow builds dictionary columns only by a cast."""
    plain = pa.schema(
        [(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type) for field in schema]
    )
    return pa.Table.from_pylist(rows, schema=plain).cast(schema)
