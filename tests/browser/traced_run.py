"""The synthetic run with everything that a timeline shows: spans, CUDA calls, kernels, copies, suggestions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.unit.synthetic_run import write_synthetic_run
from vlmprof.model.results import RequestBreakdown, read_breakdown, read_summary
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.suggestions import Evidence, Saving, Suggestion, SuggestionsResult
from vlmprof.model.table_io import write_table
from vlmprof.model.tables import SCHEMAS

US = 1_000
KERNELS = 40
WORKER = (4243, 4243)


def write_traced_run(path: Path, hostile: str = "") -> RunFolder:
    """Write the run; every prefill launches `KERNELS` kernels and one copy, 20 us before each begins."""
    folder = write_synthetic_run(path, hostile=hostile)
    requests = read_breakdown(folder).requests
    rows: dict[str, list[dict[str, Any]]] = {
        "spans": [row for request in requests for row in _spans(request, hostile)],
        "cuda_api": [],
        "gpu_kernels": [],
        "gpu_copies": [],
    }
    for number, request in enumerate(requests):
        for table, row in _gpu_work(request, number, hostile):
            rows[table].append(row)
    for name, listed in rows.items():
        write_table(folder, name, pa.Table.from_pylist(listed, schema=SCHEMAS[name]).sort_by("start_ns"))
    folder.write_result("suggestions", _suggestions(folder, hostile))
    return folder


def _spans(request: RequestBreakdown, hostile: str) -> Iterator[dict[str, Any]]:
    """Each segment of a thread as a span of its cause."""
    for segment in request.segments:
        if segment.tid:
            yield {
                "pid": segment.pid,
                "tid": segment.tid,
                "name": segment.cause.removesuffix(hostile) + hostile,
                "request_ids": [request.id],
                "start_ns": segment.start_ns,
                "end_ns": segment.end_ns,
                "depth": 0,
            }


def _gpu_work(request: RequestBreakdown, number: int, hostile: str) -> Iterator[tuple[str, dict[str, Any]]]:
    prefill = next(segment for segment in request.segments if segment.stage == "prefill")
    pid, tid = WORKER
    step_ns = (prefill.end_ns - prefill.start_ns) // (KERNELS + 2)
    for i in range(KERNELS + 1):
        call_ns = prefill.start_ns + i * step_ns
        correlation = number * 1000 + i + 1
        yield (
            "cuda_api",
            {
                "pid": pid,
                "tid": tid,
                "name": ("cudaLaunchKernel" if i else "cudaMemcpyAsync") + hostile,
                "start_ns": call_ns,
                "end_ns": call_ns + 5 * US,
                "correlation_id": correlation,
            },
        )
        work = {
            "pid": pid,
            "device": 0,
            "stream": 7,
            "start_ns": call_ns + 20 * US,
            "end_ns": call_ns + 20 * US + step_ns // 2,
            "correlation_id": correlation,
        }
        if i:
            yield "gpu_kernels", {**work, "name": f"gemm_layer_{i % 4}{hostile}"}
        else:
            yield "gpu_copies", {**work, "kind": f"HtoD{hostile}", "size_bytes": 1 << 20}


def _suggestions(folder: RunFolder, hostile: str) -> SuggestionsResult:
    """One suggestion whose evidence is the hottest function of the image transform."""
    summary = read_summary(folder)
    hot = summary.hot_by_stage["image_transform"][0]
    saving = Saving(saving_ns=30_000_000, low_ns=20_000_000, high_ns=40_000_000)
    suggestion = Suggestion(
        number=1,
        slug="reduce_image_transform",
        title=f"reduce image transforms{hostile}",
        saving=saving,
        added=saving,
        conflicts_with=[],
        tested=[1],
        exactness="exact",
        switching="live",
        evidence=[
            Evidence(
                stage="image_transform",
                function=hot.function,
                file=hot.file,
                line=hot.line,
                time_ns=hot.self_ns,
            )
        ],
        command=f"vlmprof run model --ab 1{hostile}",
    )
    return SuggestionsResult(
        family="idefics3",
        active=[],
        ttft_ns=summary.ttft.p50_ns if summary.ttft else 0,
        requests=6,
        sampled_requests=6,
        suggestions=[suggestion],
        together=saving,
        command="vlmprof run model --ab 1",
        not_suggested=[],
    )
