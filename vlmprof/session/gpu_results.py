"""From a run's GPU tables to the attribution of its GPU work and `results/gpu.json`."""

from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from vlmprof.analysis.copies import copy_groups
from vlmprof.analysis.gpu_idle import device_times
from vlmprof.analysis.gpu_tables import GpuTables
from vlmprof.analysis.gpu_ttft import GpuTimes, charged
from vlmprof.analysis.merge_gpu import merge_gpu
from vlmprof.analysis.merge_gpu_stacks import StackLookup, nearest_stacks
from vlmprof.analysis.request_spans import SpanIndex
from vlmprof.analysis.summary import stage_summaries
from vlmprof.analysis.ttft import breakdown_of, first_output_ns
from vlmprof.model.breakdown import Segment
from vlmprof.model.gpu_result import Attributed, GpuResult
from vlmprof.model.request import Phase
from vlmprof.model.results import BreakdownResult, RequestBreakdown, request_breakdown


@dataclass(frozen=True, slots=True)
class GpuMerge:
    """GPU tables sorted by start, and the table `gpu_attribution` that belongs to them."""

    gpu: GpuTables
    attribution: Any

    def tables(self) -> dict[str, Any]:
        """All five by their names."""
        return {
            "gpu_kernels": self.gpu.kernels,
            "gpu_copies": self.gpu.copies,
            "cuda_api": self.gpu.calls,
            "gpu_syncs": self.gpu.syncs,
            "gpu_attribution": self.attribution,
        }


def merge_run(
    gpu: GpuTables,
    spans: Any,
    samples: Any,
    index: SpanIndex,
    requests: Any,
    *,
    stacks_at: StackLookup = nearest_stacks,
) -> GpuMerge:
    """Join the GPU work of a run to its causes.

    Args:
        spans, samples, requests: the tables of the run; index: of its spans.
        stacks_at: how the stack of a launch is found among the samples.
    """
    ordered = GpuTables(*(_by_start(table) for table in (gpu.kernels, gpu.copies, gpu.calls, gpu.syncs)))
    outputs = {}
    for row in requests.select(["id", "sent_ns", "first_token_ns"]).to_pylist():
        if row["first_token_ns"] is not None:
            found = first_output_ns(index.of_request(row["id"], row["sent_ns"], row["first_token_ns"]))
            outputs[row["id"]] = row["first_token_ns"] if found is None else found
    return GpuMerge(ordered, merge_gpu(ordered, spans, samples, outputs, stacks_at))


def charge_gpu_times(breakdown: BreakdownResult, merge: GpuMerge, index: SpanIndex) -> BreakdownResult:
    """The breakdown with each request's time in the workers charged to what its GPU did."""
    if not merge.gpu.size or not breakdown.requests:
        return breakdown
    times = GpuTimes(merge.gpu, merge.attribution)
    return BreakdownResult(requests=[_charged(request, times, index) for request in breakdown.requests])


def _charged(request: RequestBreakdown, times: GpuTimes, index: SpanIndex) -> RequestBreakdown:
    segments = [
        Segment(each.stage, each.start_ns, each.end_ns, each.pid, each.tid, each.cause)
        for each in request.segments
    ]
    divided = charged(segments, index.rows_of(request.id), times)
    breakdown = breakdown_of(request.id, request.sent_ns, request.ttft_ns, divided)
    return request_breakdown(breakdown, request.phase, request.block)


def gpu_result(
    merge: GpuMerge, requests: Any, breakdown: BreakdownResult, pixel_dtype: str = ""
) -> GpuResult:
    """What `results/gpu.json` says.

    Args:
        breakdown: charged to the GPU's own times.
        pixel_dtype: in which the engine sends pixel values to the GPU; "" where it is not known.
    """
    gpu, attribution = merge.gpu, merge.attribution
    lengths_ns = pc.subtract(gpu.kernels["end_ns"], gpu.kernels["start_ns"])
    known = {name: gpu.size - attribution[name].null_count for name in attribution.column_names}
    profiled = [each for each in breakdown.requests if each.phase == Phase.PROFILED]
    return GpuResult(
        kernels=gpu.kernels.num_rows,
        kernel_ns=int(pc.sum(lengths_ns).as_py() or 0),
        attributed=Attributed(
            work=gpu.size,
            with_call=known["call_row"],
            with_span=known["span_row"],
            with_stage=known["stage"],
            with_stack=known["stack_id"],
        ),
        devices=device_times(gpu, attribution, requests),
        copies=copy_groups(gpu.copies, attribution, pixel_dtype),
        stages=stage_summaries(profiled) if profiled else [],
    )


def _by_start(table: Any) -> Any:
    """Tables of several files follow one another; each is sorted."""
    start_ns = table["start_ns"].to_numpy()
    return table if (start_ns[1:] >= start_ns[:-1]).all() else table.sort_by("start_ns")
