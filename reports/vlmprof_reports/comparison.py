"""The report of a comparison: `comparison.html`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vlmprof.analysis.compare import ComparedRun, compared_rounds
from vlmprof.analysis.compare_requests import COLUMNS, Pairing, Rounds, Way, pair, way_named
from vlmprof.analysis.flame_diff import FlameDiff, SampledRun, flame_diff
from vlmprof.analysis.kernel_comparison import compare_layers
from vlmprof.analysis.kernels import kernel_breakdown
from vlmprof.analysis.process_table import read_processes
from vlmprof.analysis.stack_table import read_stacks
from vlmprof.model.comparison import Comparison, ComparisonResult
from vlmprof.model.results import read_breakdown, read_summary
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.stages import GROUPS, STAGES
from vlmprof.model.table_io import read_table
from vlmprof_reports.page import render_page
from vlmprof_reports.portable import portable_info

MODULES = [
    "dom",
    "format",
    "data",
    "chart_style",
    "sortable",
    "comparison_format",
    "comparison_head",
    "comparison_charts",
    "comparison_waterfall",
    "comparison_flame_model",
    "comparison_flame",
    "comparison_tables",
    "comparison_main",
]
"""Scripts of the page, each after those that it imports from."""
_FIRST_PART = COLUMNS.index(f"group.{GROUPS[0]}")


def render(folders: Sequence[RunFolder], result: ComparisonResult) -> str:
    """The page as HTML.

    Args:
        folders: the one run whose arms were compared, or the baseline's and then one for each comparison.

    Raises:
        FileUnreadable: a folder is none, is damaged, or its analysis has never run.
    """
    runs = [_compared_run(folder) for folder in folders]
    sides = [(0, min(index, len(folders) - 1)) for index in range(1, len(result.comparisons) + 1)]
    names = " against ".join(dict.fromkeys(run.info.name for run in runs))
    return render_page(
        title=f"{names} · vlmprof compare",
        modules=MODULES,
        styles=("page", "comparison"),
        data={
            "result": result,
            "infos": [portable_info(run.info) for run in runs],
            "groups": GROUPS,
            "stages": [{"id": s.id, "group": s.group, "label": s.label, "where": s.where} for s in STAGES],
        },
        details={
            "comparisons": [
                _details((runs[lower], runs[upper]), (folders[lower], folders[upper]), comparison)
                for (lower, upper), comparison in zip(sides, result.comparisons, strict=True)
            ]
        },
    )


def _compared_run(folder: RunFolder) -> ComparedRun:
    return ComparedRun(
        str(folder.path), folder.read_info(), read_table(folder, "requests"), read_breakdown(folder)
    )


def _details(
    runs: tuple[ComparedRun, ComparedRun], folders: tuple[RunFolder, RunFolder], comparison: Comparison
) -> dict[str, Any]:
    """What the page draws of one comparison beyond its result."""
    rounds = compared_rounds(*runs, comparison)
    way = way_named(comparison.paired_by)
    pairing = pair(rounds, way)
    two_runs = not comparison.trial.arm
    return {
        "ttft_ns": [_ttft_ns(pairing, side) for side in (0, 1)],
        "rounds": _round_differences(rounds, way),
        "means_ns": [_means_ns(pairing, side) for side in (0, 1)],
        "flame": _flame(*folders) if two_runs else None,
        "kernels": _kernels(*folders) if two_runs else None,
    }


def _values(pairing: Pairing, side: int) -> Any:
    """The values of the requests of one side that take part, (requests, columns)."""
    used = np.unique(pairing.positions[side])
    requests = (pairing.baseline, pairing.trial)[side]
    return np.stack([requests[position].values for position in used.tolist()])


def _ttft_ns(pairing: Pairing, side: int) -> list[int]:
    ttft_ns: list[int] = np.sort(_values(pairing, side)[:, 0]).astype(np.int64).tolist()
    return ttft_ns


def _means_ns(pairing: Pairing, side: int) -> dict[str, float]:
    """Mean of every group and stage: together they are the mean TTFT, so that bars may follow one another."""
    parts = _values(pairing, side)[:, _FIRST_PART:]
    # A request without stages is unattributed as a whole; one without a breakdown is not even that.
    known = np.nan_to_num(parts[np.isfinite(parts).any(axis=1)])
    means_ns = known.mean(axis=0) if len(known) else np.zeros(parts.shape[1])
    return dict(zip(COLUMNS[_FIRST_PART:], means_ns.tolist(), strict=True))


def _round_differences(rounds: Rounds, way: Way) -> list[dict[str, float]]:
    """Of every round its median paired difference, and both sides' medians."""
    found = []
    for each in rounds:
        pairing = pair([each], way)
        if not pairing.rounds:
            continue
        lower, upper = pairing.positions
        before, after = (
            np.array([request.values[0] for request in side]) for side in (pairing.baseline, pairing.trial)
        )
        found.append(
            {
                "difference_ns": float(np.median(after[upper] - before[lower])),
                "baseline_ns": float(np.median(before)),
                "trial_ns": float(np.median(after)),
            }
        )
    return found


def _flame(before: RunFolder, after: RunFolder) -> FlameDiff | None:
    return flame_diff(_sampled(before), _sampled(after))


def _sampled(folder: RunFolder) -> SampledRun:
    summary = read_summary(folder)
    phase = summary.split.phase if summary.split else summary.headline
    return SampledRun(
        [request for request in read_breakdown(folder).requests if request.phase == phase],
        read_processes(read_table(folder, "processes")),
        read_table(folder, "samples"),
        read_stacks(read_table(folder, "stacks"), read_table(folder, "frames")),
    )


def _kernels(before: RunFolder, after: RunFolder) -> dict[str, Any] | None:
    """Kernels of both runs by family, and their layers kernel by kernel; None where one has no GPU timeline."""
    tables = [read_table(folder, "gpu_kernels") for folder in (before, after)]
    if not all(table.num_rows for table in tables):
        return None
    first, second = (kernel_breakdown(table) for table in tables)
    layers = compare_layers(first.layer, second.layer) if first.layer and second.layer else None
    return {"families": [first.families, second.families], "layer": layers}
