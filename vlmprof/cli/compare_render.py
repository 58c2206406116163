"""A comparison in the terminal: readable at 100 columns, without colour."""

from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vlmprof.analysis.compare_enough import counted
from vlmprof.analysis.compare_sentence import relative
from vlmprof.cli.render import LONGEST_MESSAGE, MAX_WIDTH, MIN_WIDTH
from vlmprof.cli.terminal_text import keep_start, milliseconds, plain
from vlmprof.model.comparison import (
    Change,
    ComparedSide,
    Comparison,
    ComparisonResult,
    GateOutcome,
    GateResult,
    OutputEquality,
    Verdict,
)
from vlmprof.model.stages import UNATTRIBUTED

VERDICT_STYLES = {
    Verdict.FASTER: "bold green",
    Verdict.SLOWER: "bold red",
    Verdict.NO_DIFFERENCE: "",
    Verdict.INCONCLUSIVE: "yellow",
}
_GATE_STYLES = {
    GateOutcome.PASSED: "green",
    GateOutcome.VIOLATED: "bold red",
    GateOutcome.UNDECIDED: "yellow",
    GateOutcome.UNMEASURED: "bold red",
}
_SHOWN_SHARE_OF_TTFT = 0.005
_WIDE, _USUAL = 118, 96
# Columns that need a width: the difference, whose interval says as much, and the noise floor.
_NEEDED = {4: _USUAL, 6: _WIDE}
_OVERVIEW_NEEDED = {5: _USUAL, 6: _USUAL}
_NARROW_LABEL = 18
# The one stage of a group of the same name.
_ONLY_STAGE = f"stage.{UNATTRIBUTED}"
_LONGEST_VALUE = 60


def print_comparison(result: ComparisonResult, console: Console | None = None) -> None:
    """Print a comparison for people."""
    console = console or Console()
    console.print(render_comparison(result, console.width))


def render_comparison(result: ComparisonResult, console_width: int) -> RenderableType:
    """All comparisons of a result: of one trial everything, of several a row each and what they need to be read."""
    width = min(max(console_width, MIN_WIDTH), MAX_WIDTH) - 2
    if len(result.comparisons) == 1:
        parts = _whole(result.comparisons[0], width)
    else:
        parts = [_overview(result.comparisons, width), *_notes_of(result.comparisons)]
    if result.gates:
        parts += [Text(), Text("Gates", style="bold"), _gates(result.gates)]
    return Padding(Group(*parts), (1, 0, 1, 2))


def _whole(comparison: Comparison, width: int) -> list[RenderableType]:
    verdict = Text(plain(comparison.sentence), style=VERDICT_STYLES[comparison.verdict] or "bold")
    sides = (comparison.baseline, comparison.trial)
    parts: list[RenderableType] = [
        *(Text(line, style="dim") for line in _sides(sides, width)),
        Text(_method(comparison), style="dim"),
        Text(),
        verdict,
        Text(),
        _changes(comparison, comparison.metrics, width, "ms"),
    ]
    shown = _worth_showing(comparison)
    if shown:
        parts += [Text(), Text("On the critical path", style="bold"), _changes(comparison, shown, width, "")]
    return [*parts, Text(), _facts(comparison)]


def _sides(sides: Sequence[ComparedSide], width: int) -> list[str]:
    return [keep_start(_side(side), width) for side in sides]


def _side(side: ComparedSide) -> str:
    arm = f"arm {side.arm} of {side.name}" if side.arm else side.label
    left_out = f", {side.left_out} left out" if side.left_out else ""
    return (
        f"{plain(arm)} · {plain(side.setting)} · {counted(side.requests, 'request')} "
        f"in {counted(side.blocks, 'block')}{left_out}"
    )


def _method(comparison: Comparison) -> str:
    return f"{comparison.scope}, {counted(comparison.rounds, 'round')}, paired by {comparison.paired_by}"


def _worth_showing(comparison: Comparison) -> list[Change]:
    """Groups and stages that are something of the TTFT, or changed."""
    ttft = comparison.change("ttft_p50")
    least_ns = _SHOWN_SHARE_OF_TTFT * ttft.baseline if ttft else 0
    return [
        part
        for part in comparison.parts
        if part.metric != _ONLY_STAGE
        if max(part.baseline, part.trial) >= least_ns or part.verdict in (Verdict.FASTER, Verdict.SLOWER)
    ]


def _changes(comparison: Comparison, changes: Iterable[Change], width: int, unit: str) -> Table:
    """A row per metric; where there is no room, the noise floor goes first, then the difference in ms."""
    table = Table.grid(padding=(0, 2))
    side_width = 20 if width >= _WIDE else 10 if width >= _USUAL else 6
    sides = [_name(side, side_width) for side in (comparison.baseline, comparison.trial)]
    heads = [unit, *sides, "change", "difference", "95% interval", "noise floor", ""]
    shown = [place for place in range(len(heads)) if width >= _NEEDED.get(place, 0)]
    for place in shown:
        left = place in (0, len(heads) - 1)
        table.add_column(justify="left" if left else "right", no_wrap=True, overflow="ellipsis")
    if width < _USUAL:
        table.columns[0].max_width = _NARROW_LABEL
    table.add_row(*(Text(heads[place], style="dim") for place in shown))
    for change in changes:
        cells = _cells(change)
        table.add_row(*(cells[place] for place in shown))
    return table


def _name(side: ComparedSide, width: int) -> str:
    return keep_start(plain(side.label), width)


def _cells(change: Change) -> list[Text]:
    """Name, both sides, change, difference, interval, noise floor, verdict."""
    show = _rate if change.unit == "tokens/s" else _signed_ms
    value = _plain_rate if change.unit == "tokens/s" else milliseconds
    is_stage = change.metric.startswith("stage.")
    style = VERDICT_STYLES[change.verdict]
    noise = ""
    if change.noise_low is not None and change.noise_high is not None:
        noise = f"[{show(change.noise_low)}, {show(change.noise_high)}]"
    return [
        Text(f"  {change.label}" if is_stage else change.label, style="" if is_stage else "bold"),
        Text(value(change.baseline)),
        Text(value(change.trial)),
        Text(relative(change.share), style=style),
        Text(show(change.difference)),
        Text(f"[{show(change.low)}, {show(change.high)}]", style="dim"),
        Text(noise, style="dim"),
        Text(change.verdict, style=style or "dim"),
    ]


def _signed_ms(time_ns: float) -> str:
    return f"{time_ns / 1e6:+.1f}"


def _rate(value: float) -> str:
    return f"{value:+.1f}"


def _plain_rate(value: float) -> str:
    return f"{value:.1f}"


def _facts(comparison: Comparison) -> Table:
    """Outputs, what differs around the comparison, warnings."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    _add(table, Text("Outputs", style="bold"), outputs(comparison.outputs))
    differing = [
        f"{each.what}: {_short(each.baseline)} → {_short(each.trial)} ({each.why})"
        for each in comparison.environment
    ]
    _add(table, Text("Differs", style="bold"), differing)
    warnings = [keep_start(plain(warning), LONGEST_MESSAGE) for warning in comparison.warnings]
    _add(table, Text("Warnings", style="bold yellow"), warnings)
    return table


def outputs(equality: OutputEquality) -> list[str]:
    """Whether both sides said the same, as plain lines."""
    if not equality.compared:
        return [f"not compared: {equality.note}"]
    lines = [f"{equality.equal} of {equality.compared} requests with the same image and prompt: equal text"]
    first = equality.first_difference
    if first is not None:
        lines.append(
            f"the first that differs, at character {first.at}: "
            f"{plain(first.baseline_request)} {plain(first.baseline_text)!r}, "
            f"{plain(first.trial_request)} {plain(first.trial_text)!r}"
        )
    return lines


def _short(value: str) -> str:
    return keep_start(plain(value), _LONGEST_VALUE)


def _add(table: Table, name: Text, lines: Iterable[str]) -> None:
    for number, line in enumerate(lines):
        table.add_row(name if number == 0 else "", Text(line))


def _overview(comparisons: Sequence[Comparison], width: int) -> Table:
    """A row per trial: TTFT with its interval, end to end, tokens/s, verdict; the last two but one need a width."""
    table = Table.grid(padding=(0, 2))
    heads = ("", "recipes", "TTFT ms", "change", "95% interval", "e2e ms", "tokens/s", "")
    shown = [place for place in range(len(heads)) if width >= _OVERVIEW_NEEDED.get(place, 0)]
    for place in shown:
        shrinks = place in (0, 1)
        table.add_column(
            justify="left" if shrinks or place == len(heads) - 1 else "right",
            no_wrap=True,
            overflow="ellipsis",
            max_width=(30 if width >= _WIDE else 14) if shrinks else None,
            min_width=None if shrinks else len(heads[place]),
        )
    baseline = comparisons[0]
    rows = [
        [Text(head, style="dim") for head in heads],
        _overview_cells(baseline.baseline, baseline, trial=False),
        *(_overview_cells(comparison.trial, comparison, trial=True) for comparison in comparisons),
    ]
    for cells in rows:
        table.add_row(*(cells[place] for place in shown))
    return table


def _overview_cells(side: ComparedSide, comparison: Comparison, *, trial: bool) -> list[Text]:
    values = [comparison.change(metric) for metric in ("ttft_p50", "e2e_p50", "tokens_per_s_p50")]
    ttft, e2e, rate = [
        None if change is None else change.trial if trial else change.baseline for change in values
    ]
    change = comparison.metrics[0]
    style = VERDICT_STYLES[comparison.verdict]
    return [
        Text(_name(side, 20), style="bold"),
        Text(plain(", ".join(filter(None, (side.behaviour, side.recipe_set)))) or "none"),
        Text("–" if ttft is None else milliseconds(ttft)),
        Text(relative(change.share) if trial else "", style=style),
        Text(f"[{_percent(change, 'low')}, {_percent(change, 'high')}]" if trial else "", style="dim"),
        Text("–" if e2e is None else milliseconds(e2e)),
        Text("–" if rate is None else f"{rate:.1f}"),
        Text(comparison.verdict if trial else "baseline", style=style if trial else "dim"),
    ]


def _percent(change: Change, end: str) -> str:
    ratio = change.ratio_low if end == "low" else change.ratio_high
    return relative(None if ratio is None else ratio - 1)


def _notes_of(comparisons: Sequence[Comparison]) -> list[RenderableType]:
    """What holds for all trials, once."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    _add(table, Text("Method", style="bold"), dict.fromkeys(map(_method, comparisons)))
    warnings = dict.fromkeys(warning for each in comparisons for warning in each.warnings)
    _add(
        table,
        Text("Warnings", style="bold yellow"),
        [keep_start(plain(w), LONGEST_MESSAGE) for w in warnings],
    )
    return [Text(), table]


def _gates(gates: Sequence[GateResult]) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for gate in gates:
        table.add_row(
            Text(gate.gate, style="bold"),
            Text(keep_start(plain(gate.trial), 24)),
            Text(measured_of_gate(gate)),
            Text(gate_words(gate), style=_GATE_STYLES[gate.outcome]),
        )
    return table


def measured_of_gate(gate: GateResult) -> str:
    """What a gate was held against, with its interval."""
    if gate.measured is None:
        return "–"
    return f"{gate.measured:+.1f} [{gate.low:+.1f}, {gate.high:+.1f}] {gate.unit}"


def gate_words(gate: GateResult) -> str:
    """The outcome in words, with why it is undecided, or violated though the interval may hold."""
    if gate.note:
        return f"{gate.outcome}: {plain(gate.note)}"
    if gate.outcome == GateOutcome.UNDECIDED:
        return "undecided: the interval straddles the bound"
    return gate.outcome.value
