"""Suggestions in the terminal: a row per recipe, and under it what shows its saving."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vlmprof.cli.terminal_text import keep_ends, keep_start, percent, plain
from vlmprof.model.source_path import short_path
from vlmprof.model.stages import STAGE_BY_ID
from vlmprof.model.suggestions import Evidence, Saving, Suggestion, SuggestionsResult
from vlmprof.units import ms

MIN_WIDTH = 80
MAX_WIDTH = 140
EVIDENCE_LISTED = 4
WIDTH_WITH_STAGE = 116
WIDEST_TITLE = 36


def render_suggestions(
    result: SuggestionsResult, console_width: int, *, evidence: bool = False
) -> RenderableType:
    """The ranking, laid out for a console of the given width; with or without what shows each saving."""
    width = min(max(console_width, MIN_WIDTH), MAX_WIDTH) - 2
    if not result.suggestions:
        return Padding(Text(_nothing(result)), (1, 0, 1, 2))
    parts: list[RenderableType] = [_heading(result), _ranking(result, width), _together(result)]
    if evidence:
        parts += [Text(), Text("What shows it", style="bold"), _evidence(result, width), *_notes(result)]
    if evidence and result.not_suggested:
        parts += [Text(), Text("Not suggested", style="bold"), _others(result, width)]
    return Padding(Group(*parts), (1, 0, 1, 2))


def _nothing(result: SuggestionsResult) -> str:
    return (
        f"No recipe to suggest: {plain(result.reason)}"
        if result.reason
        else "No recipe would save anything here."
    )


def _heading(result: SuggestionsResult) -> Text:
    on = f", {', '.join(map(str, result.active))} on" if result.active else ""
    note = f"ms of {ms(result.ttft_ns):.1f} in {result.requests} requests{on}; 95% intervals"
    return Text.assemble(("What recipes would save", "bold"), (f"   {note}", "dim"))


def _ranking(result: SuggestionsResult, width: int) -> Table:
    """What each saves alone, and what it adds to those above it."""
    table = _grid("right", "left", "right", "left", "right", "left")
    heads = ("", "recipe", "alone", "", "added", "outputs")
    table.add_row(*(Text(head, style="dim") for head in heads))
    above: dict[int, int] = {}
    for suggestion in result.suggestions:
        table.add_row(
            Text(str(suggestion.number), style="bold"),
            Text(_title(suggestion, min(WIDEST_TITLE, width - 52))),
            Text(f"{ms(suggestion.saving.saving_ns):.1f}", style="bold green"),
            Text(_interval(suggestion.saving)),
            _added(suggestion, above),
            _outputs(suggestion),
        )
        if suggestion.added is not None:
            above |= {number: suggestion.number for number in suggestion.tested if number not in above}
    return table


def _notes(result: SuggestionsResult) -> list[Text]:
    return [
        Text(f"{suggestion.number}: {plain(suggestion.note)}", style="dim")
        for suggestion in result.suggestions
        if suggestion.note
    ]


def _evidence(result: SuggestionsResult, width: int) -> Table:
    """The largest pieces of evidence of each suggestion; time that a recipe adds is negative."""
    stage_width = 26 if width >= WIDTH_WITH_STAGE else 0
    table = _grid("right", "right", "left", "left", "left")
    heads = ("", "ms", "function", "file:line", "stage" if stage_width else "")
    table.add_row(*(Text(head, style="dim") for head in heads))
    name_width = (width - 20 - stage_width) // 2
    for suggestion in result.suggestions:
        for place, piece in enumerate(suggestion.evidence[:EVIDENCE_LISTED]):
            stage = STAGE_BY_ID[piece.stage].label if stage_width else ""
            table.add_row(
                Text("" if place else str(suggestion.number), style="bold"),
                f"{ms(piece.time_ns):.1f}",
                Text(keep_start(_what(piece), name_width)),
                Text(_where(piece, name_width), style="cyan"),
                Text(stage, style="dim"),
            )
    return table


def _title(suggestion: Suggestion, width: int) -> str:
    needed = [number for number in suggestion.tested if number != suggestion.number]
    with_needs = f" (with {', '.join(map(str, needed))})" if needed else ""
    return keep_start(suggestion.title, width - len(with_needs)) + with_needs


def _interval(saving: Saving) -> str:
    return f"[{ms(saving.low_ns):.1f}, {ms(saving.high_ns):.1f}]"


def _added(suggestion: Suggestion, above: dict[int, int]) -> Text:
    """What it adds; above says for each recipe that is on by then which line of the table brought it."""
    if suggestion.added is None:
        return Text(f"not with {', '.join(map(str, suggestion.conflicts_with))}", style="dim")
    if suggestion.number in above:
        return Text(f"on with {above[suggestion.number]}", style="dim")
    return Text(f"{ms(suggestion.added.saving_ns):.1f}")


def _outputs(suggestion: Suggestion) -> Text:
    restart = ", by restart" if suggestion.switching == "restart" else ""
    return Text(f"{suggestion.exactness}{restart}", style="dim")


def _what(piece: Evidence) -> str:
    return plain(piece.function) if piece.function else "bytes between processes"


def _where(piece: Evidence, width: int) -> str:
    return keep_ends(f"{plain(short_path(piece.file))}:{piece.line}", width) if piece.file else ""


def _together(result: SuggestionsResult) -> Text:
    if result.together is None:
        return Text()
    share = percent(result.together.saving_ns / max(1, result.ttft_ns))
    return Text.assemble(
        "\nall together  ",
        (f"{ms(result.together.saving_ns):.1f} ms", "bold green"),
        f"  {_interval(result.together)}, {share} of the TTFT\n",
        "try it        ",
        (plain(result.command), "bold"),
    )


def _others(result: SuggestionsResult, width: int) -> Table:
    table = _grid("right", "left", "left")
    slug_width = max(len(other.slug) for other in result.not_suggested)
    for other in result.not_suggested:
        reason = keep_start(plain(other.reason), width - slug_width - 8)
        table.add_row(Text(str(other.number), style="dim"), other.slug, Text(reason, style="dim"))
    return table


def _grid(*justify: str) -> Table:
    table = Table.grid(padding=(0, 2))
    for side in justify:
        table.add_column(justify="right" if side == "right" else "left", no_wrap=True, overflow="ellipsis")
    return table
