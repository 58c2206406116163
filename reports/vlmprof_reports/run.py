"""The report of one run: `report.html`."""

from vlmprof.analysis.process_table import read_processes
from vlmprof.analysis.stack_table import read_stacks
from vlmprof.model.results import read_breakdown, read_summary
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.stages import GROUPS, STAGES
from vlmprof.model.table_io import read_table
from vlmprof_reports.flames import flame_views
from vlmprof_reports.page import render_page
from vlmprof_reports.requests import request_lanes, request_rows

MODULES = [
    "dom",
    "format",
    "data",
    "overview",
    "waterfall",
    "chart_style",
    "phases",
    "requests",
    "flame_model",
    "flame_brush",
    "flame",
    "flame_panel",
    "sortable",
    "tables",
    "evidence",
    "main",
]
"""Scripts of the page, each after those that it imports from."""
_TABLES = ("requests", "processes", "samples", "stacks", "frames")


def render(folder: RunFolder) -> str:
    """The page as HTML; every number in it is one of `results/*.json` or of the tables.

    Raises:
        FileUnreadable: the folder is none, is damaged, or its analysis has never run.
    """
    info = folder.read_info()
    breakdown = read_breakdown(folder)
    tables = {name: read_table(folder, name) for name in _TABLES}
    summary = read_summary(folder)
    processes = read_processes(tables["processes"])
    stacks = read_stacks(tables["stacks"], tables["frames"])
    return render_page(
        title=f"{info.name} · {info.model.name} · vlmprof",
        modules=MODULES,
        data={
            "info": info,
            "summary": summary,
            "groups": GROUPS,
            "stages": [{"id": s.id, "group": s.group, "label": s.label, "where": s.where} for s in STAGES],
        },
        details={
            "requests": request_rows(tables["requests"]),
            "lanes": request_lanes(breakdown, processes),
            "flames": flame_views(breakdown, summary, processes, tables["samples"], stacks),
        },
    )
