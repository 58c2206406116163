"""The result of a run in the terminal: readable at 100 columns, without colour, in ten seconds."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vlmprof.cli.terminal_text import (
    keep_ends,
    keep_start,
    milliseconds,
    percent,
    plain,
    scale,
    solid_bar,
    thin_bar,
)
from vlmprof.model.results import GroupSummary, HotFunction, StageSummary, SummaryResult, TtftStats
from vlmprof.model.run_info import ClockEvidence, RatioInterval, RunInfo, SourceQuality
from vlmprof.model.source_path import short_path
from vlmprof.model.stages import STAGE_BY_ID
from vlmprof.units import format_ns

MIN_WIDTH = 80
MAX_WIDTH = 140
FOLDED_SHARE = 0.005
NAME_WIDTH = 34
CLOCKS_LISTED = 3
LONGEST_MESSAGE = 400
LONGEST_SOURCE = 40

# Mid-tones of the Okabe-Ito palette, apart for every common colour blindness, on light and dark alike.
_COLOURS = {
    "client and HTTP": "#7a8ba8",
    "image": "#e69f00",
    "text": "#b8a500",
    "API server": "#56b4e9",
    "IPC": "#cc79a7",
    "engine core": "#3d7fd0",
    "worker, CPU": "#009e73",
    "worker, GPU": "#d55e00",
    "out": "#9a7bc8",
    "unattributed": "#8a8a8a",
}


def render_summary(
    summary: SummaryResult, info: RunInfo, console_width: int, *, report: Path | None = None
) -> RenderableType:
    """The whole result as one renderable, laid out for a console of the given width.

    Args:
        report: where the HTML report was written, if it was.
    """
    width = min(max(console_width, MIN_WIDTH), MAX_WIDTH) - 2
    parts: list[RenderableType] = [
        _head(summary, info, width),
        _ttft(summary, info),
        *_section("Where the time goes", _stages_note(summary), _waterfall(summary, width)),
    ]
    if summary.hot:
        parts += _section(
            "Hottest functions on the critical path", _hot_note(summary), _hot(summary.hot, width)
        )
    for label, hottest in summary.hot_by_process.items():
        # Where there is a critical path, it says more.
        if hottest and not summary.hot:
            note = "while profiled requests waited for their first token; means a request"
            parts += _section(f"Hottest functions in {plain(label)}", note, _hot(hottest, width))
    if summary.processes:
        parts += _section("Processes", "", _processes(summary))
    parts.append(_footer(summary, info, report))
    return Padding(Group(*parts), (1, 0, 1, 2))


def _section(title: str, note: str, body: RenderableType) -> list[RenderableType]:
    heading = Text.assemble((title, "bold"), (f"   {note}" if note else "", "dim"))
    return [Text(), heading, body]


def _head(summary: SummaryResult, info: RunInfo, width: int) -> RenderableType:
    engine = f"{info.engine.name} {info.engine.version} on {info.engine.device}" if info.engine else ""
    recipes = ", ".join(recipe.slug for recipe in info.recipes)
    attached = f"attached to {info.attached_to}" if info.attached_to else ""
    facts = [
        info.name,
        info.model.name,
        info.baseline_told,
        attached,
        engine,
        f"{info.host.cpu}, {info.host.cores} cores",
        recipes,
    ]
    line = keep_start(" · ".join(plain(fact) for fact in facts if fact), width)
    diagnosis = Text(plain(summary.diagnosis), style="bold")
    return Group(Text(line, style="dim"), Text(), diagnosis, Text())


def _ttft(summary: SummaryResult, info: RunInfo) -> RenderableType:
    table = _grid("left", "right", "right", "right", "right", "right", "left")
    table.add_row(*(Text(name, style="dim") for name in ("TTFT, ms", "p50", "p90", "p99", "min", "max", "")))
    rows = [("control", summary.control), ("profiled", summary.profiled)]
    for name, stats in rows:
        if stats is not None:
            headline = name == summary.headline and summary.ttft is not None
            table.add_row(*_ttft_cells(name, stats, headline, summary.failed_requests))
    lines: list[RenderableType] = [table]
    if info.overhead is not None:
        lines.append(Text(overhead_line(info.overhead)))
    return Group(*lines)


def _ttft_cells(name: str, stats: TtftStats, headline: bool, failed: int) -> list[Text]:
    times = (stats.p50_ns, stats.p90_ns, stats.p99_ns, stats.min_ns, stats.max_ns)
    style = "bold" if headline else "dim"
    count = Text(f"{stats.requests} requests", style="dim")
    if failed and headline:
        count.append(f", {failed} failed", style="bold red")
    return [Text(name, style=style), *(Text(milliseconds(time), style=style) for time in times), count]


def overhead_line(overhead: RatioInterval) -> str:
    """What profiling cost, with its interval and the noise floor."""
    text = (
        f"profiled / control  {overhead.ratio:.3f}  [{overhead.low:.3f}, {overhead.high:.3f}] "
        f"at {100 * overhead.confidence:.0f}%, {overhead.pairs} pairs"
    )
    if overhead.noise_low is None or overhead.noise_high is None:
        return text
    return f"{text} · noise floor [{overhead.noise_low:.3f}, {overhead.noise_high:.3f}]"


def _stages_note(summary: SummaryResult) -> str:
    coarse = ", coarse: from stack samples" if summary.stages_from == "samples" else ""
    return f"{summary.ttft.requests} {summary.headline} requests{coarse}" if summary.ttft else ""


def _waterfall(summary: SummaryResult, width: int) -> RenderableType:
    """Groups as solid bars, their stages as lines; each starts where the one before it ended."""
    bar_width = width - NAME_WIDTH - 9 - 6 - 3 * 2
    table = _grid("left", "right", "right", "left")
    table.columns[0].width = NAME_WIDTH
    end = f"{milliseconds(summary.ttft.mean_ns)} ms" if summary.ttft else ""
    heads = (Text(), Text("median ms"), Text("share"), scale(end, bar_width))
    table.add_row(*heads, style="dim")
    start = 0.0
    for group in summary.groups:
        stages = [stage for stage in summary.stages if stage.group == group.group]
        _group_rows(table, group, stages, (start, bar_width))
        start += group.share
    return table


def _group_rows(
    table: Table, group: GroupSummary, stages: list[StageSummary], place: tuple[float, int]
) -> None:
    start, bar_width = place
    colour = _COLOURS.get(group.group, "default")
    name = Text.assemble(("■ ", colour), (group.label, "bold"))
    if len(stages) == 1 and stages[0].label != group.label:
        name.append(f" · {stages[0].label}")
    bar = solid_bar(start, group.share, bar_width)
    bar.stylize(colour)
    table.add_row(name, Text(milliseconds(group.median_ns), style="bold"), percent(group.share), bar)
    for stage in stages if len(stages) > 1 else []:
        if stage.share >= FOLDED_SHARE:
            line = thin_bar(start, stage.share, bar_width)
            line.stylize(colour)
            table.add_row(f"    {stage.label}", milliseconds(stage.median_ns), percent(stage.share), line)
        start += stage.share
    folded = [stage for stage in stages if stage.share < FOLDED_SHARE]
    if len(stages) > 1 and folded:
        share = percent(sum(stage.share for stage in folded))
        table.add_row(f"    {_folded_names(folded, stages)}", "", share, "", style="dim")


def _folded_names(folded: list[StageSummary], stages: list[StageSummary]) -> str:
    names = ", ".join(stage.label for stage in folded)
    if len(names) <= NAME_WIDTH - 4:
        return names
    return f"{len(folded)} small stages" if len(folded) == len(stages) else f"{len(folded)} smaller stages"


def _hot_note(summary: SummaryResult) -> str:
    split = summary.split
    if split is None:
        return ""
    covered = percent(split.sampled_ns / max(1, split.ttft_ns))
    return f"{split.requests} {split.phase} requests; samples cover {covered} of their TTFT"


def _hot(hottest: list[HotFunction], width: int) -> RenderableType:
    table = _grid("right", "right", "right", "left", "left", "left")
    heads = ("self ms", "total ms", "share", "function", "file:line", "stage" if width >= 116 else "")
    table.add_row(*(Text(head, style="dim") for head in heads))
    stage_width = 20 if width >= 116 else 0
    name_width = (width - 32 - stage_width) // 2
    for hot in hottest:
        table.add_row(
            Text(milliseconds(hot.self_ns), style="bold"),
            milliseconds(hot.total_ns),
            percent(hot.share),
            Text(keep_start(plain(hot.function), name_width), style="bold"),
            Text(keep_ends(_place(hot), name_width), style="cyan"),
            Text(keep_start(_main_stage(hot), stage_width) if stage_width else "", style="dim"),
        )
    return table


def _place(hot: HotFunction) -> str:
    return f"{plain(short_path(hot.file))}:{hot.line}" if hot.line else plain(short_path(hot.file))


def _main_stage(hot: HotFunction) -> str:
    if not hot.stages:
        return ""
    return STAGE_BY_ID[max(hot.stages, key=lambda stage: hot.stages[stage])].label


def _processes(summary: SummaryResult) -> RenderableType:
    table = _grid("left", "right", "right", "right", "right", "right", "right")
    heads = ("", "pid", "threads", "waited for, ms", "share", "CPU s", "samples")
    table.add_row(*(Text(head, style="dim") for head in heads))
    for process in summary.processes:
        table.add_row(
            Text(process.label, style="bold"),
            str(process.pid),
            str(process.threads),
            milliseconds(process.critical_path_ns),
            percent(process.critical_path_share),
            "–" if process.cpu_ns is None else f"{process.cpu_ns / 1e9:.2f}",
            f"{process.samples:,}",
        )
    rest_share = 1 - sum(process.critical_path_share for process in summary.processes)
    if summary.ttft is not None and rest_share > 1e-9:
        rest_ns = rest_share * summary.ttft.mean_ns
        table.add_row("between processes", "", "", milliseconds(rest_ns), percent(rest_share), "", "")
    return table


def _footer(summary: SummaryResult, info: RunInfo, report: Path | None) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("", "")
    _add_lines(table, Text("Quality", style="bold"), map(Text, quality_lines(summary, info)))
    _add_lines(table, Text("Warnings", style="bold yellow"), map(Text, warning_lines(info)))
    if info.error:
        error = Text(keep_start(plain(info.error), LONGEST_MESSAGE))
        _add_lines(table, Text("Failed", style="bold red"), [error])
    if report is not None:
        _add_lines(table, Text("Report", style="bold"), [Text.assemble((str(report), "underline"))])
    return table


def quality_lines(summary: SummaryResult, info: RunInfo) -> list[str]:
    """What was missed, how certain the clocks are, and what could not be attributed."""
    samplers = [quality for quality in info.quality if not _only_spans(quality)]
    facts = [_spans(info), *map(_missed, samplers), *_clocks(info.clocks), _unattributed(summary)]
    return [fact for fact in facts if fact]


def warning_lines(info: RunInfo) -> list[str]:
    """A run's warnings, the one that it is not complete first."""
    warnings = [keep_start(plain(warning), LONGEST_MESSAGE) for warning in info.all_warnings]
    if info.status != "complete":
        warnings.insert(0, f"the run is {plain(info.status)}: what it holds may not be all")
    return warnings


def _add_lines(table: Table, name: Text, lines: Iterable[Text]) -> None:
    for number, line in enumerate(lines):
        table.add_row(name if number == 0 else "", line)


def _only_spans(quality: SourceQuality) -> bool:
    """Whether it is one process's spans with nothing lost: those are told together."""
    return quality.source.startswith("spans:") and not (
        quality.dropped or quality.truncated or quality.errors
    )


def _spans(info: RunInfo) -> str:
    whole = [quality for quality in info.quality if _only_spans(quality)]
    if not whole:
        return ""
    costs_ns = [agent.span_cost_ns for agent in info.agents if agent.span_cost_ns is not None]
    cost = f", {format_ns(max(costs_ns))} each" if costs_ns else ""
    recorded = sum(quality.samples for quality in whole)
    return f"{recorded:,} spans of {len(whole)} processes{cost}, none lost"


def _missed(quality: SourceQuality) -> str:
    taken = quality.samples + quality.samples_missed
    share = percent(quality.samples_missed / taken) if taken else "–"
    source = keep_start(plain(quality.source), LONGEST_SOURCE)
    lost = f"{source} missed {share} of {taken:,} samples" if taken else ""
    other = [
        f"{count:,} {what}"
        for count, what in ((quality.errors, "errors"), (quality.dropped, "dropped"))
        if count
    ]
    if quality.truncated:
        other.append("truncated")
    details = ", ".join(other)
    if not lost:
        return f"{source}: {details}" if details else ""
    return f"{lost} ({details})" if details else lost


def _clocks(clocks: list[ClockEvidence]) -> list[str]:
    if len(clocks) <= CLOCKS_LISTED:
        return [_clock(clock) for clock in clocks]
    worst = max(clocks, key=lambda clock: clock.uncertainty_ns)
    return [f"{len(clocks)} clocks aligned; the least certain: {_clock(worst)}"]


def _clock(clock: ClockEvidence) -> str:
    source = keep_start(plain(clock.source), LONGEST_SOURCE)
    text = f"clock of {source} ±{format_ns(clock.uncertainty_ns)}"
    return text if clock.witness_p95_ns is None else f"{text}, witness p95 {format_ns(clock.witness_p95_ns)}"


def _unattributed(summary: SummaryResult) -> str:
    if summary.ttft is None:
        return ""
    median, worst = summary.unattributed_median_share, summary.unattributed_worst_share
    return f"unattributed {percent(median)} in the median request, {percent(worst)} in the worst"


def _grid(*justify: str) -> Table:
    """A table without lines whose cells never wrap; the first justify is the first column's."""
    table = Table.grid(padding=(0, 2))
    for side in justify:
        table.add_column(justify="right" if side == "right" else "left", no_wrap=True, overflow="ellipsis")
    return table
