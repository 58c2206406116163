"""The report of one run: `report.html`."""

from typing import Any

from vlmprof.analysis.hot import CriticalTime, critical_time
from vlmprof.analysis.process_table import read_processes
from vlmprof.analysis.stack_table import StackTable, read_stacks
from vlmprof.model.gpu_result import GpuResult, read_gpu_result
from vlmprof.model.results import BreakdownResult, SummaryResult, read_breakdown, read_summary
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.stages import GROUPS, STAGES
from vlmprof.model.suggestions import SuggestionsResult, read_suggestions
from vlmprof.model.table_io import read_table
from vlmprof_reports.archive import Archive
from vlmprof_reports.flames import flame_views
from vlmprof_reports.gpu_flames import gpu_flames
from vlmprof_reports.gpu_work import kernel_rows
from vlmprof_reports.page import render_page
from vlmprof_reports.portable import portable_files, portable_frames, portable_info
from vlmprof_reports.requests import request_lanes, request_rows
from vlmprof_reports.sampled_tree import sampled_tree
from vlmprof_reports.tracks import timeline_tracks

MODULES = [
    "dom",
    "format",
    "data",
    "chart_style",
    "overview",
    "waterfall",
    "suggestions",
    "phases",
    "requests",
    "flame_model",
    "flame_trees",
    "canvas",
    "text_fitter",
    "flame_brush",
    "flame",
    "flame_panel",
    "sortable",
    "page_link",
    "archive",
    "trace_blocks",
    "trace_tracks",
    "trace_colour",
    "trace_rows",
    "trace_window",
    "trace_layout",
    "trace_draw",
    "trace_hit",
    "trace_overlay",
    "trace_labels",
    "trace_ruler",
    "trace_view",
    "trace_search",
    "trace_walk",
    "trace_input",
    "trace_range",
    "trace_range_panel",
    "trace_panel",
    "tables",
    "gpu_tables",
    "evidence",
    "main",
]
"""Scripts of the page, each after those that it imports from."""
_TRACED = ("requests", "spans", "samples", "cuda_api", "gpu_kernels", "gpu_copies")
_TABLES = (*_TRACED, "gpu_attribution", "processes", "stacks", "frames")


def render(folder: RunFolder) -> str:
    """The page as HTML; every number in it is one of `results/*.json` or of the tables.

    Raises:
        FileUnreadable: the folder is none, is damaged, or its analysis has never run.
    """
    info = folder.read_info()
    breakdown = read_breakdown(folder)
    tables = {name: read_table(folder, name) for name in _TABLES}
    tables["frames"] = portable_frames(tables["frames"])
    summary = read_summary(folder)
    processes = read_processes(tables["processes"])
    stacks = read_stacks(tables["stacks"], tables["frames"])
    critical = _critical(breakdown, summary, tables["samples"], stacks)
    tree = sampled_tree(tables["samples"], stacks, processes, critical)
    archive = Archive()
    traced = {name: tables[name] for name in _TRACED}
    timeline = timeline_tracks(traced, breakdown, processes, tree, archive)
    return render_page(
        title=f"{info.name} · {info.model.name} · vlmprof",
        modules=MODULES,
        data={
            "info": portable_info(info),
            "summary": portable_files(summary),
            "suggestions": portable_files(_suggestions(folder)),
            "gpu": _gpu(folder),
            "groups": GROUPS,
            "stages": [{"id": s.id, "group": s.group, "label": s.label, "where": s.where} for s in STAGES],
        },
        details={
            "requests": request_rows(tables["requests"]),
            "lanes": request_lanes(breakdown, processes, int(timeline["origin_ns"])),
            "flames": {**tree.described(), "views": flame_views(tree, critical, processes)},
            "gpu_flames": gpu_flames(tables, stacks, processes),
            "kernels": kernel_rows(tables["gpu_kernels"]),
            "timeline": timeline,
        },
        archive=archive,
    )


def _suggestions(folder: RunFolder) -> SuggestionsResult | None:
    """What would help; None where nobody has concluded it, as in an imported run."""
    return read_suggestions(folder) if (folder.results / "suggestions.json").exists() else None


def _gpu(folder: RunFolder) -> GpuResult | None:
    """What the GPU's own times say; None where none were recorded."""
    return read_gpu_result(folder) if (folder.results / "gpu.json").exists() else None


def _critical(
    breakdown: BreakdownResult, summary: SummaryResult, samples: Any, stacks: StackTable
) -> CriticalTime:
    """The sampled critical path of the requests that the summary's hot functions speak for."""
    phase = summary.split.phase if summary.split else summary.headline
    return critical_time([r for r in breakdown.requests if r.phase == phase], samples, stacks)
