"""A ladder as a table, in the terminal and as Markdown."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vlmprof.cli.terminal_text import plain
from vlmprof.model.comparison import Change, Verdict
from vlmprof.model.ladder import LadderResult, LadderStep
from vlmprof.units import NS_PER_MS

_HEADS = ("", "TTFT ms", "ratio", "95% interval", "predicted", "paper", "latency", "tokens/s", "verdict")
_STYLES = {Verdict.FASTER: "green", Verdict.SLOWER: "red", Verdict.INCONCLUSIVE: "yellow"}


def print_ladder(result: LadderResult, pages: Sequence[str], console: Console) -> None:
    """Print a ladder for people: every row against the baseline of the same server."""
    console.print()
    console.print(Text(f"  {plain(result.model)} · {result.family} · {_method(result)}", style="bold"))
    console.print()
    table = Table.grid(padding=(0, 2, 0, 0))
    for place, _ in enumerate(_HEADS):
        table.add_column(justify="left" if place in (0, len(_HEADS) - 1) else "right", no_wrap=True)
    table.add_row(*(Text(head, style="dim") for head in _HEADS))
    for cells, verdict in _rows(result):
        table.add_row(*(Text(cell, style=_STYLES.get(verdict, "") if verdict else "dim") for cell in cells))
    console.print(table)
    console.print()
    for line in _remarks(result):
        console.print(Text(f"  {line}", style="dim"))
    for page in pages:
        console.print(Text.assemble(("  Report  ", "bold"), (page, "underline")), soft_wrap=True)


def ladder_markdown(result: LadderResult) -> str:
    """The same as a Markdown document."""
    lines = [
        f"# {plain(result.model)}, {result.family}",
        "",
        _method(result),
        "",
        "| " + " | ".join(_HEADS) + " |",
        "|" + "---|" * len(_HEADS),
    ]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells, _ in _rows(result)
    ]
    lines += ["", *(f"- {line.replace('|', chr(92) + '|')}" for line in _remarks(result)), ""]
    return "\n".join(lines)


def _method(result: LadderResult) -> str:
    table = f", beside {result.paper_table} of the paper" if result.paper_table else ""
    return f"one server, {result.rounds} rounds of {result.requests_per_block} requests a row{table}"


def _rows(result: LadderResult) -> Iterable[tuple[list[str], Verdict | None]]:
    """Cells of each row, and its verdict; None for one that was not measured."""
    measured = next((step.comparison for step in result.steps if step.comparison), None)
    baseline = measured.change("ttft_p50") if measured else None
    if baseline is not None:
        yield ["baseline", f"{baseline.baseline / NS_PER_MS:.1f}", "1.000", *[""] * (len(_HEADS) - 3)], None
    for step in (*result.steps, *result.ablations):
        yield _cells(step, baseline), step.comparison.verdict if step.comparison else None


def _cells(step: LadderStep, baseline: Change | None) -> list[str]:
    paper = f"{1 + step.paper.ttft_change:.3f}" if step.paper else ""
    ttft = step.comparison.change("ttft_p50") if step.comparison else None
    if step.comparison is None or ttft is None:
        return [step.title, "", "", "", "", paper, "", "", "nothing to switch on"]
    predicted = ""
    if step.predicted is not None and baseline is not None:
        predicted = f"{1 - step.predicted.saving_ns / baseline.baseline:.3f}"
    return [
        step.title,
        f"{ttft.trial / NS_PER_MS:.1f}",
        _ratio(ttft),
        _interval(ttft),
        predicted,
        paper,
        _ratio(step.comparison.change("e2e_p50")),
        _ratio(step.comparison.change("tokens_per_s_p50")),
        str(step.comparison.verdict),
    ]


def _ratio(change: Change | None) -> str:
    return "" if change is None or change.share is None else f"{1 + change.share:.3f}"


def _interval(change: Change) -> str:
    if change.ratio_low is None or change.ratio_high is None:
        return ""
    return f"[{change.ratio_low:.3f}, {change.ratio_high:.3f}]"


def _remarks(result: LadderResult) -> list[str]:
    """Why named recipes are not on, how sure the baseline is of itself, and whether outputs stayed equal."""
    remarks = []
    for step in result.steps:
        remarks += [f"{number}: {plain(reason)}" for number, reason in step.left_out.items()]
    comparisons = [step.comparison for step in (*result.steps, *result.ablations) if step.comparison]
    ttft = comparisons[0].change("ttft_p50") if comparisons else None
    if ttft is not None and ttft.noise_low is not None and ttft.noise_high is not None and ttft.baseline:
        low, high = (1 + bound / ttft.baseline for bound in (ttft.noise_low, ttft.noise_high))
        remarks.append(f"noise floor of a ratio: [{low:.3f}, {high:.3f}], from the baseline against itself")
    for step in (*result.steps, *result.ablations):
        outputs = step.comparison.outputs if step.comparison else None
        if outputs is not None and outputs.equal < outputs.compared:
            remarks.append(f"{step.title}: {outputs.equal} of {outputs.compared} texts equal")
    if comparisons and all(each.outputs.equal == each.outputs.compared for each in comparisons):
        compared = sum(each.outputs.compared for each in comparisons)
        remarks.append(f"all {compared} texts equal to the baseline's")
    return list(dict.fromkeys(remarks))
