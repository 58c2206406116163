"""A ladder as tables, in the terminal and as Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vlmprof.cli.terminal_text import plain
from vlmprof.model.comparison import Change, Verdict
from vlmprof.model.ladder import LadderResult, LadderStep, PaperFigures
from vlmprof.units import NS_PER_MS

_STYLES = {
    Verdict.FASTER: "green",
    Verdict.SLOWER: "red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NO_DIFFERENCE: "",
}
_NOT_MEASURED = "nothing to switch on"


@dataclass(frozen=True, slots=True)
class _Row:
    """Cells of one row; verdict is None of the baseline and of a row that was not measured."""

    cells: list[str]
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class _Metric:
    """One table: a metric of every row against the baseline."""

    metric: str
    title: str
    heads: tuple[str, ...]
    format: Callable[[float], str]
    paper: Callable[[PaperFigures], float]
    predicted: bool = False


def _milliseconds(value_ns: float) -> str:
    return f"{value_ns / NS_PER_MS:.1f}"


_METRICS = (
    _Metric(
        "ttft_p50",
        "Time to first token",
        ("", "ms", "ratio", "95% interval", "predicted", "paper", ""),
        _milliseconds,
        lambda paper: paper.ttft_change,
        predicted=True,
    ),
    _Metric(
        "e2e_p50",
        "End-to-end latency",
        ("", "ms", "ratio", "95% interval", "paper", ""),
        _milliseconds,
        lambda paper: paper.e2e_change,
    ),
    _Metric(
        "tokens_per_s_p50",
        "Decoding, tokens per second",
        ("", "tokens/s", "ratio", "95% interval", "paper", ""),
        lambda value: f"{value:.1f}",
        lambda paper: paper.tokens_per_s_change,
    ),
)


def print_ladder(result: LadderResult, pages: Sequence[str], console: Console) -> None:
    """Print a ladder for people: every row against the baseline of the same server."""
    heading = Text(f"{plain(result.model)} · {result.family}", style="bold")
    console.print(Padding(heading, (1, 0, 0, 2)))
    console.print(Padding(Text(_method(result), style="dim"), (0, 0, 1, 2)))
    for metric in _METRICS:
        console.print(Padding(Text(metric.title, style="bold"), (0, 0, 0, 2)))
        console.print(Padding(_table(metric, result), (0, 0, 1, 2)))
    for line in _remarks(result):
        console.print(Padding(Text(line, style="dim"), (0, 0, 0, 2)))
    for page in pages:
        console.print(Text.assemble(("  Report  ", "bold"), (page, "underline")), soft_wrap=True)


def ladder_markdown(result: LadderResult) -> str:
    """The same as a Markdown document."""
    lines = [f"# {_escaped(result.model)}, {result.family}", "", _method(result)]
    for metric in _METRICS:
        lines += ["", f"## {metric.title}", "", _markdown_row(metric.heads), "|" + "---|" * len(metric.heads)]
        lines += [_markdown_row(row.cells) for row in _rows(metric, result)]
    return "\n".join([*lines, "", *(f"- {_escaped(line)}" for line in _remarks(result)), ""])


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(text: str) -> str:
    return plain(text).replace("|", "\\|").replace("<", "&lt;")


def _method(result: LadderResult) -> str:
    table = f", beside {result.paper_table} of the paper" if result.paper_table else ""
    return f"one server, {result.rounds} rounds of {result.requests_per_block} requests a row{table}"


def _table(metric: _Metric, result: LadderResult) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for place, head in enumerate(metric.heads):
        left = place in (0, len(metric.heads) - 1)
        table.add_column(justify="left" if left else "right", no_wrap=not left or bool(head))
    table.add_row(*(Text(head, style="dim") for head in metric.heads))
    for row in _rows(metric, result):
        style = "dim" if row.verdict is None else _STYLES[row.verdict]
        table.add_row(*(Text(cell, style=style) for cell in row.cells))
    return table


def _rows(metric: _Metric, result: LadderResult) -> list[_Row]:
    steps = (*result.steps, *result.ablations)
    baseline = next((step.comparison.change(metric.metric) for step in steps if step.comparison), None)
    blank = [""] * (len(metric.heads) - 3)
    rows = [_Row(["baseline", metric.format(baseline.baseline), "1.000", *blank])] if baseline else []
    return rows + [_row(metric, step, baseline) for step in steps]


def _row(metric: _Metric, step: LadderStep, baseline: Change | None) -> _Row:
    change = step.comparison.change(metric.metric) if step.comparison else None
    paper = f"{1 + metric.paper(step.paper):.3f}" if step.paper else ""
    predicted = [_predicted(step, baseline)] if metric.predicted else []
    if change is None:
        return _Row([step.title, "", "", "", *([""] if predicted else []), paper, _NOT_MEASURED])
    cells = [step.title, metric.format(change.trial), _ratio(change), _interval(change)]
    return _Row([*cells, *predicted, paper, str(change.verdict)], change.verdict)


def _predicted(step: LadderStep, baseline: Change | None) -> str:
    if step.predicted is None or baseline is None or not baseline.baseline:
        return ""
    return f"{1 - step.predicted.saving_ns / baseline.baseline:.3f}"


def _ratio(change: Change) -> str:
    return "" if change.share is None else f"{1 + change.share:.3f}"


def _interval(change: Change) -> str:
    if change.ratio_low is not None and change.ratio_high is not None:
        return f"[{change.ratio_low:.3f}, {change.ratio_high:.3f}]"
    if not change.baseline:
        return ""
    return f"[{1 + change.low / change.baseline:.3f}, {1 + change.high / change.baseline:.3f}]"


def _remarks(result: LadderResult) -> list[str]:
    """Why named recipes are not on, how sure the baseline is of itself, and whether outputs stayed equal."""
    left_out = {number: reason for step in result.steps for number, reason in step.left_out.items()}
    remarks = [f"recipe {number} is not on: {plain(reason)}" for number, reason in left_out.items()]
    measured = [
        (step.title, step.comparison) for step in (*result.steps, *result.ablations) if step.comparison
    ]
    ttft = measured[0][1].change("ttft_p50") if measured else None
    if ttft is not None and ttft.noise_low is not None and ttft.noise_high is not None and ttft.baseline:
        low, high = (1 + bound / ttft.baseline for bound in (ttft.noise_low, ttft.noise_high))
        remarks.append(f"noise floor of a ratio: [{low:.3f}, {high:.3f}], from the baseline against itself")
    for title, comparison in measured:
        if comparison.outputs.equal < comparison.outputs.compared:
            remarks.append(
                f"{title}: {comparison.outputs.equal} of {comparison.outputs.compared} texts equal"
            )
    compared = sum(comparison.outputs.compared for _, comparison in measured)
    if compared and compared == sum(comparison.outputs.equal for _, comparison in measured):
        remarks.append(f"all {compared} texts equal to the baseline's")
    return remarks
