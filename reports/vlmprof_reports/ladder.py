"""The report of a ladder: `ladder.html`."""

from typing import Any

import msgspec

from vlmprof.model.comparison import Change
from vlmprof.model.ladder import LadderResult, LadderStep, read_ladder
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.stages import GROUPS, STAGES
from vlmprof_reports.page import render_page
from vlmprof_reports.portable import portable_info

MODULES = [
    "dom",
    "format",
    "data",
    "chart_style",
    "sortable",
    "comparison_format",
    "ladder_rows",
    "ladder_charts",
    "ladder_tables",
    "ladder_main",
]
"""Scripts of the page, each after those that it imports from."""
METRICS = ("ttft_p50", "e2e_p50", "tokens_per_s_p50")
_CLOSE_SHARE = 0.15


def render(folder: RunFolder) -> str:
    """The page as HTML; every number in it is one of `results/ladder.json`, or follows from them.

    Raises:
        FileUnreadable: the folder is none, is damaged, or holds no ladder.
    """
    info, result = folder.read_info(), read_ladder(folder)
    return render_page(
        title=f"{info.name} · {result.model} · vlmprof ladder",
        modules=MODULES,
        styles=("page", "comparison", "ladder"),
        data={
            "info": portable_info(info),
            "ladder": _without_parts(result),
            "predictions": predictions(result),
            "groups": GROUPS,
            "stages": [{"id": s.id, "group": s.group, "label": s.label, "where": s.where} for s in STAGES],
        },
        details={},
    )


def predictions(result: LadderResult) -> list[dict[str, Any]]:
    """What every measured set was predicted to save, and what it saved; ns per request.

    `within` says whether the prediction is within 15% of the measured saving, or inside its interval;
    `counted` whether the measured saving is told from the noise floor at all.
    """
    found = []
    for step in (*result.steps, *result.ablations):
        ttft = _ttft(step)
        if ttft is None or step.predicted is None:
            continue
        measured_ns, predicted_ns = -ttft.difference, step.predicted.saving_ns
        noise_ns = max(abs(ttft.noise_low or 0), abs(ttft.noise_high or 0))
        close = abs(predicted_ns - measured_ns) <= _CLOSE_SHARE * abs(measured_ns)
        found.append(
            {
                "title": step.title,
                "measured_ns": measured_ns,
                "measured_low_ns": -ttft.high,
                "measured_high_ns": -ttft.low,
                "predicted_ns": predicted_ns,
                "predicted_low_ns": step.predicted.low_ns,
                "predicted_high_ns": step.predicted.high_ns,
                "counted": abs(measured_ns) > noise_ns,
                "within": close or -ttft.high <= predicted_ns <= -ttft.low,
            }
        )
    return found


def _ttft(step: LadderStep) -> Change | None:
    return step.comparison.change("ttft_p50") if step.comparison else None


def _without_parts(result: LadderResult) -> Any:
    """The result without the stages of each comparison, which this page does not show."""

    def brief(step: LadderStep) -> LadderStep:
        if step.comparison is None:
            return step
        return msgspec.structs.replace(step, comparison=msgspec.structs.replace(step.comparison, parts=[]))

    return msgspec.structs.replace(
        result,
        steps=[brief(step) for step in result.steps],
        ablations=[brief(step) for step in result.ablations],
    )
