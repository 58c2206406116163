"""A ladder as Markdown, for a pull request or a job's summary: `ladder.md` beside `ladder.html`."""

from vlmprof.cli.ladder_render import METRICS, Metric, Row, method_line, metric_rows, remarks
from vlmprof.cli.markdown_text import entries, table, text
from vlmprof.model.comparison import Verdict
from vlmprof.model.ladder import LadderResult

_SIGNS = {
    Verdict.FASTER: "✅ ",
    Verdict.SLOWER: "❌ ",
    Verdict.NO_DIFFERENCE: "➖ ",
    Verdict.INCONCLUSIVE: "❔ ",
}


def ladder_markdown(result: LadderResult) -> str:
    """Every metric of every row beside the paper's; every name from the run is text only."""
    parts = [
        [f"### {_headline(result)}", "", f"{text(result.model)}, {text(result.family)}: {_method(result)}"]
    ]
    parts += [[f"**{metric.title}**", "", *_table(metric, result)] for metric in METRICS]
    parts.append(entries("Note", remarks(result)))
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _method(result: LadderResult) -> str:
    return text(method_line(result), 400)


def _headline(result: LadderResult) -> str:
    """What all recipes together do to the TTFT, as the page says it."""
    measured = [step for step in result.steps if step.comparison is not None]
    last = measured[-1] if measured else None
    ttft = last.comparison.change("ttft_p50") if last and last.comparison else None
    if last is None or ttft is None or ttft.ratio is None:
        return "No row of this ladder could be measured."
    count = len(last.recipes)
    interval = f" ({ttft.ratio_low:.3f} to {ttft.ratio_high:.3f})" if ttft.ratio_low is not None else ""
    return (
        f"{count} recipe{'' if count == 1 else 's'} together: TTFT {ttft.baseline / 1e6:.1f} to "
        f"{ttft.trial / 1e6:.1f} ms, {ttft.ratio:.3f} of the baseline{interval}"
    )


def _table(metric: Metric, result: LadderResult) -> list[str]:
    heads = [*metric.heads[:-1], "verdict"]
    return table(heads, [_cells(row) for row in metric_rows(metric, result)], left=(0, len(heads) - 1))


def _cells(row: Row) -> list[str]:
    title, *numbers, verdict = row.cells
    sign = _SIGNS[row.verdict] if row.verdict is not None else ""
    return [text(title), *numbers, f"{sign}{text(verdict)}"]
