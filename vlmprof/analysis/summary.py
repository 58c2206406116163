"""The run in the numbers that a person reads first: TTFT, stages, processes, hottest functions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.analysis.diagnosis import diagnose
from vlmprof.analysis.hot import CriticalTime, critical_time, hot_functions, window_time
from vlmprof.analysis.process_table import process_of, read_processes
from vlmprof.analysis.stack_table import Ints, StackTable, read_stacks
from vlmprof.model.request import Phase
from vlmprof.model.results import (
    BreakdownResult,
    GroupSummary,
    HotFunction,
    ProcessSummary,
    RequestBreakdown,
    SampledSplit,
    StagesFrom,
    StageSummary,
    SummaryResult,
    TtftStats,
)
from vlmprof.model.run_info import RunInfo
from vlmprof.model.stages import GROUPS, STAGE_IDS, STAGES, UNATTRIBUTED

HOT_FUNCTIONS = 10
HOT_FUNCTIONS_PER_STAGE = 5
_NOT_SAMPLED: dict[str, Any] = {"samples": 0, "time_ns": 0, "cpu_ns": None, "threads": 0}


def summarise(
    info: RunInfo,
    breakdown: BreakdownResult,
    *,
    requests: Any,
    processes: Any,
    samples: Any,
    stacks: Any,
    frames: Any,
    stages_from: StagesFrom = "spans",
) -> SummaryResult:
    """Reduce a run to its summary.

    Args:
        breakdown: the requests that got a first token; those of the warm-up are left out.
        requests, processes, samples, stacks, frames: the tables of those names.
    """
    control = [request for request in breakdown.requests if request.phase == Phase.CONTROL]
    profiled = [request for request in breakdown.requests if request.phase == Phase.PROFILED]
    headline = profiled if stages_from == "samples" and profiled else control or profiled
    stage_ns = _stage_matrix(headline)
    stages = _stage_summaries(stage_ns)
    gpu = info.on_gpu
    groups = _group_summaries(stage_ns, gpu=gpu)
    table = read_stacks(stacks, frames)
    phase, critical = _sampled_critical_time(profiled, control, samples, table)
    unattributed = _unattributed_shares(headline)
    return SummaryResult(
        headline=Phase.CONTROL if headline is control else Phase.PROFILED,
        diagnosis=diagnose(groups, stages, gpu=gpu),
        control=ttft_stats(control),
        profiled=ttft_stats(profiled),
        failed_requests=_failed(requests),
        groups=groups,
        stages=stages,
        processes=_process_summaries(headline, processes, samples),
        split=_split(phase, critical),
        hot=hot_functions(critical, table, HOT_FUNCTIONS),
        hot_by_stage=_hot_by_stage(critical, table),
        unattributed_median_share=float(np.median(unattributed)) if len(unattributed) else 0.0,
        unattributed_worst_share=float(max(unattributed, default=0.0)),
        hot_by_process={} if stages_from == "spans" else _hot_by_process(profiled, processes, samples, table),
        stages_from=stages_from,
    )


def ttft_stats(requests: Sequence[RequestBreakdown]) -> TtftStats | None:
    """Distribution of the TTFT; None where there is no request."""
    if not requests:
        return None
    ttft_ns = np.array([request.ttft_ns for request in requests], dtype=np.int64)
    p50, p90, p99 = np.percentile(ttft_ns, [50, 90, 99])
    return TtftStats(
        requests=len(requests),
        mean_ns=round(ttft_ns.mean()),
        min_ns=int(ttft_ns.min()),
        max_ns=int(ttft_ns.max()),
        p50_ns=round(p50),
        p90_ns=round(p90),
        p99_ns=round(p99),
    )


def stage_summaries(requests: Sequence[RequestBreakdown]) -> list[StageSummary]:
    """The stages that some requests have, in the order of the pipeline."""
    return _stage_summaries(_stage_matrix(requests))


def _stage_matrix(requests: Sequence[RequestBreakdown]) -> Ints:
    """Time of every stage in every request, (requests, stages) in the order of `STAGES`."""
    rows = [
        [
            request.unattributed_ns if stage_id == UNATTRIBUTED else request.stages.get(stage_id, 0)
            for stage_id in STAGE_IDS
        ]
        for request in requests
    ]
    return np.array(rows, dtype=np.int64).reshape(len(requests), len(STAGE_IDS))


def _stage_summaries(stage_ns: Ints) -> list[StageSummary]:
    total_ns = int(stage_ns.sum())
    return [
        StageSummary(
            stage=stage.id,
            group=stage.group,
            label=stage.label,
            where=stage.where,
            **_distribution(stage_ns[:, column], total_ns),
        )
        for column, stage in enumerate(STAGES)
        if stage_ns[:, column].any()
    ]


def _group_summaries(stage_ns: Ints, *, gpu: bool) -> list[GroupSummary]:
    total_ns = int(stage_ns.sum())
    member = np.array([stage.group for stage in STAGES])
    columns = {group: stage_ns[:, member == group].sum(axis=1) for group in GROUPS}
    return [
        GroupSummary(group=group, label=group_label(group, gpu=gpu), **_distribution(column, total_ns))
        for group, column in columns.items()
        if column.any()
    ]


def group_label(group: str, *, gpu: bool) -> str:
    """A group's name as people read it: without a GPU, the model runs on the worker's CPU."""
    return "worker, model (CPU)" if group == "worker, GPU" and not gpu else group


def _distribution(time_ns: Ints, whole_ns: int) -> dict[str, Any]:
    p50, p90 = np.percentile(time_ns, [50, 90])
    return {
        "median_ns": round(p50),
        "mean_ns": round(time_ns.mean()),
        "p90_ns": round(p90),
        "total_ns": int(time_ns.sum()),
        "share": int(time_ns.sum()) / whole_ns,
    }


def _unattributed_shares(requests: Sequence[RequestBreakdown]) -> list[float]:
    return [request.unattributed_ns / request.ttft_ns for request in requests if request.ttft_ns]


def _failed(requests: Any) -> int:
    """Requests outside the warm-up that ended in an error or without a first token."""
    failed = pc.or_(pc.is_null(requests["first_token_ns"]), pc.not_equal(requests["error"], ""))
    counted = pc.not_equal(requests["phase"].cast(pa.string()), Phase.WARM_UP.value)
    return int(pc.sum(pc.and_(failed, counted)).as_py() or 0)


def _sampled_critical_time(
    profiled: Sequence[RequestBreakdown],
    control: Sequence[RequestBreakdown],
    samples: Any,
    stacks: StackTable,
) -> tuple[Phase, CriticalTime]:
    """Sampled time on the critical path, of the profiled requests where samples cover them."""
    critical = critical_time(profiled, samples, stacks)
    if critical.sampled_ns or not control:
        return Phase.PROFILED, critical
    return Phase.CONTROL, critical_time(control, samples, stacks)


def _split(phase: Phase, critical: CriticalTime) -> SampledSplit | None:
    if not critical.sampled_ns:
        return None
    return SampledSplit(
        phase=phase,
        requests=critical.requests,
        ttft_ns=critical.ttft_ns,
        thread_ns=critical.thread_ns,
        sampled_ns=critical.sampled_ns,
    )


def _hot_by_stage(critical: CriticalTime, stacks: StackTable) -> dict[str, list[HotFunction]]:
    return {
        STAGE_IDS[stage]: hot_functions(
            critical.inside_stage(STAGE_IDS[stage]), stacks, HOT_FUNCTIONS_PER_STAGE
        )
        for stage in np.unique(critical.stage).tolist()
    }


def _hot_by_process(
    profiled: Sequence[RequestBreakdown], processes: Any, samples: Any, stacks: StackTable
) -> dict[str, list[HotFunction]]:
    working = window_time(profiled, samples, stacks)
    known = read_processes(processes)
    hot: dict[str, list[HotFunction]] = {}
    for pid in [pid for pid in known if pid in set(working.pid.tolist())]:
        label = known[pid].label
        key = f"{label} ({pid})" if label in hot else label
        hot[key] = hot_functions(working.where(working.pid == pid), stacks, HOT_FUNCTIONS_PER_STAGE)
    return hot


def _process_summaries(
    headline: Sequence[RequestBreakdown], processes: Any, samples: Any
) -> list[ProcessSummary]:
    """One row per process of the table and per process that was sampled, in the table's order."""
    waited_ns = _waited_by_pid(headline)
    ttft_ns = max(1, sum(request.ttft_ns for request in headline))
    sampled = _sampled_by_pid(samples)
    known = read_processes(processes)
    summaries = []
    for pid in [*known, *sorted(set(sampled) - set(known))]:
        process = process_of(pid, known)
        counts = sampled.get(pid, _NOT_SAMPLED)
        summaries.append(
            ProcessSummary(
                pid=pid,
                label=process.label,
                name=process.name,
                threads=max(len(process.threads), counts["threads"]),
                critical_path_ns=round(waited_ns.get(pid, 0) / max(1, len(headline))),
                critical_path_share=waited_ns.get(pid, 0) / ttft_ns,
                samples=counts["samples"],
                sampled_ns=counts["time_ns"],
                cpu_ns=counts["cpu_ns"],
            )
        )
    return summaries


def _waited_by_pid(requests: Sequence[RequestBreakdown]) -> dict[int, int]:
    waited_ns: dict[int, int] = {}
    for request in requests:
        for segment in request.segments:
            waited_ns[segment.pid] = waited_ns.get(segment.pid, 0) + segment.end_ns - segment.start_ns
    return waited_ns


def _sampled_by_pid(samples: Any) -> dict[int, dict[str, Any]]:
    """Samples, their time, their time on a CPU and their threads, by process."""
    groups = samples.group_by(["pid", "tid", "on_cpu"]).aggregate(
        [("duration_ns", "sum"), ("duration_ns", "count")]
    )
    by_pid: dict[int, dict[str, Any]] = {}
    threads: set[tuple[int, int]] = set()
    for row in groups.to_pylist():
        counts = by_pid.setdefault(row["pid"], dict(_NOT_SAMPLED))
        counts["samples"] += row["duration_ns_count"]
        counts["time_ns"] += row["duration_ns_sum"]
        counts["threads"] += (row["pid"], row["tid"]) not in threads
        threads.add((row["pid"], row["tid"]))
        if row["on_cpu"] is not None:
            counts["cpu_ns"] = (counts["cpu_ns"] or 0) + row["on_cpu"] * row["duration_ns_sum"]
    return by_pid
