"""A ladder as tables in the terminal."""

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
class Row:
    """Cells of one row; verdict is None of the baseline and of a row that was not measured."""

    cells: list[str]
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """One table: a metric of every row against the baseline."""

    metric: str
    title: str
    heads: tuple[str, ...]
    format: Callable[[float], str]
    paper: Callable[[PaperFigures], float]
    predicted: bool = False


def _milliseconds(value_ns: float) -> str:
    return f"{value_ns / NS_PER_MS:.1f}"


METRICS = (
    Metric(
        "ttft_p50",
        "Time to first token",
        ("", "ms", "ratio", "95% interval", "predicted", "paper", ""),
        _milliseconds,
        lambda paper: paper.ttft_change,
        predicted=True,
    ),
    Metric(
        "e2e_p50",
        "End-to-end latency",
        ("", "ms", "ratio", "95% interval", "paper", ""),
        _milliseconds,
        lambda paper: paper.e2e_change,
    ),
    Metric(
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
    console.print(Padding(Text(method_line(result), style="dim"), (0, 0, 1, 2)))
    for metric in METRICS:
        console.print(Padding(Text(metric.title, style="bold"), (0, 0, 0, 2)))
        console.print(Padding(_table(metric, result), (0, 0, 1, 2)))
    for line in remarks(result):
        console.print(Padding(Text(line, style="dim"), (0, 0, 0, 2)))
    for page in pages:
        console.print(Text.assemble(("  Report  ", "bold"), (page, "underline")), soft_wrap=True)


def method_line(result: LadderResult) -> str:
    """How the rows were measured, and which of the paper's tables stands beside them."""
    table = f", beside {result.paper_table} of the paper" if result.paper_table else ""
    rows = f"{result.rounds} rounds of {result.requests_per_block} requests a row"
    return f"one server, {rows}{table}{_start(result)}"


def _start(result: LadderResult) -> str:
    if result.baseline is None:
        return ""
    return f"; the baseline is {plain(result.baseline.title)}, + {result.baseline.recipe} the engine as it is today"


def _table(metric: Metric, result: LadderResult) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for place, head in enumerate(metric.heads):
        left = place in (0, len(metric.heads) - 1)
        table.add_column(justify="left" if left else "right", no_wrap=not left or bool(head))
    table.add_row(*(Text(head, style="dim") for head in metric.heads))
    for row in metric_rows(metric, result):
        style = "dim" if row.verdict is None else _STYLES[row.verdict]
        table.add_row(*(Text(cell, style=style) for cell in row.cells))
    return table


def metric_rows(metric: Metric, result: LadderResult) -> list[Row]:
    """The baseline, every step and every ablation; none but the latter where nothing was measured."""
    steps = (*result.steps, *result.ablations)
    baseline = next((step.comparison.change(metric.metric) for step in steps if step.comparison), None)
    blank = [""] * (len(metric.heads) - 3)
    name = f"baseline {plain(result.baseline.name)}" if result.baseline else "baseline"
    rows = [Row([name, metric.format(baseline.baseline), "1.000", *blank])] if baseline else []
    return rows + [_row(metric, step, baseline) for step in steps]


def _row(metric: Metric, step: LadderStep, baseline: Change | None) -> Row:
    change = step.comparison.change(metric.metric) if step.comparison else None
    paper = f"{1 + metric.paper(step.paper):.3f}" if step.paper else ""
    predicted = [_predicted(step, baseline)] if metric.predicted else []
    if change is None:
        return Row([step.title, "", "", "", *([""] if predicted else []), paper, _NOT_MEASURED])
    cells = [step.title, metric.format(change.trial), _ratio(change), _interval(change)]
    return Row([*cells, *predicted, paper, str(change.verdict)], change.verdict)


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


def remarks(result: LadderResult) -> list[str]:
    """Why named recipes are not on, how sure the baseline is of itself, and whether outputs stayed equal."""
    left_out = {number: reason for step in result.steps for number, reason in step.left_out.items()}
    told = [f"recipe {number} is not on: {plain(reason)}" for number, reason in left_out.items()]
    told += [plain(note) for note in result.notes]
    measured = [
        (step.title, step.comparison) for step in (*result.steps, *result.ablations) if step.comparison
    ]
    ttft = measured[0][1].change("ttft_p50") if measured else None
    if ttft is not None and ttft.noise_low is not None and ttft.noise_high is not None and ttft.baseline:
        low, high = (1 + bound / ttft.baseline for bound in (ttft.noise_low, ttft.noise_high))
        told.append(f"noise floor of a ratio: [{low:.3f}, {high:.3f}], from the baseline against itself")
    for title, comparison in measured:
        if comparison.outputs.equal < comparison.outputs.compared:
            told.append(f"{title}: {comparison.outputs.equal} of {comparison.outputs.compared} texts equal")
    compared = sum(comparison.outputs.compared for _, comparison in measured)
    if compared and compared == sum(comparison.outputs.equal for _, comparison in measured):
        told.append(f"all {compared} texts equal to the baseline's")
    return told
