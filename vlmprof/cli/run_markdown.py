"""A run as Markdown, for a pull request or a job's summary: `report.md` beside `report.html`."""

from collections.abc import Iterable

from vlmprof.cli.markdown_text import commands, entries, folded, table, text
from vlmprof.cli.render import FOLDED_SHARE, overhead_line, quality_lines, warning_lines
from vlmprof.cli.terminal_text import milliseconds, percent
from vlmprof.model.results import HotFunction, StageSummary, SummaryResult, TtftStats
from vlmprof.model.run_info import RunInfo
from vlmprof.model.source_path import short_path
from vlmprof.model.suggestions import Suggestion, SuggestionsResult
from vlmprof.units import ms

_TIMES = ("p50", "p90", "p99", "min", "max")


def run_markdown(summary: SummaryResult, info: RunInfo, suggestions: SuggestionsResult | None) -> str:
    """The result that a reader needs first; every name from the run is text only."""
    parts = [
        [f"### {text(summary.diagnosis, len(summary.diagnosis))}", "", _facts(info)],
        _ttft(summary, info),
        _stages(summary),
        _suggestions(suggestions),
        _hot(summary),
        [
            *entries("Quality", quality_lines(summary, info)),
            *entries("Warning", warning_lines(info)),
            *entries("Failed", [info.error] if info.error else []),
        ],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _facts(info: RunInfo) -> str:
    engine = f"{info.engine.name} {info.engine.version} on {info.engine.device}" if info.engine else ""
    gpus = ", ".join(gpu.name for gpu in info.host.gpus)
    recipes = ", ".join(recipe.slug for recipe in info.recipes)
    facts = (
        info.name,
        info.model.name,
        engine,
        gpus or f"{info.host.cpu}, {info.host.cores} cores, no GPU",
        info.baseline_told,
        f"recipes: {recipes}" if recipes else "no recipes",
    )
    return " · ".join(text(fact, 400) for fact in facts if fact)


def _ttft(summary: SummaryResult, info: RunInfo) -> list[str]:
    sides = [("control", summary.control), ("profiled", summary.profiled)]
    rows = [_ttft_row(name, stats, name == summary.headline) for name, stats in sides if stats is not None]
    if not rows:
        return ["No request got a first token."]
    lines = table(("TTFT, ms", *_TIMES, "requests"), rows)
    if summary.failed_requests:
        lines += ["", f"Failed requests: {summary.failed_requests}."]
    return lines if info.overhead is None else [*lines, "", overhead_line(info.overhead)]


def _ttft_row(name: str, stats: TtftStats, headline: bool) -> list[str]:
    cells = [milliseconds(getattr(stats, f"{time}_ns")) for time in _TIMES]
    shown = [name, *cells, str(stats.requests)]
    return _bold(shown) if headline else shown


def _bold(cells: Iterable[str]) -> list[str]:
    return [f"**{cell}**" for cell in cells]


def _stages(summary: SummaryResult) -> list[str]:
    """Each group, and under it its stages where it has several."""
    if summary.ttft is None:
        return []
    rows: list[list[str]] = []
    for group in summary.groups:
        stages = [stage for stage in summary.stages if stage.group == group.group]
        cells = (milliseconds(group.median_ns), milliseconds(group.p90_ns), percent(group.share))
        alone = f" · {text(stages[0].label)}" if len(stages) == 1 and stages[0].label != group.label else ""
        rows.append([f"**{text(group.label)}**{alone}", *_bold(cells)])
        rows += _stage_rows(stages) if len(stages) > 1 else []
    title = f"Where the time goes: {summary.ttft.requests} {summary.headline} requests"
    return [f"**{title}**", "", *table(("stage", "median ms", "p90 ms", "share of TTFT"), rows)]


def _stage_rows(stages: list[StageSummary]) -> list[list[str]]:
    """A row a stage; those that nobody would look for share one."""
    rows = [
        [
            f"&nbsp;&nbsp;&nbsp;{text(stage.label)}",
            milliseconds(stage.median_ns),
            milliseconds(stage.p90_ns),
            percent(stage.share),
        ]
        for stage in stages
        if stage.share >= FOLDED_SHARE
    ]
    small = [stage for stage in stages if stage.share < FOLDED_SHARE]
    if small:
        names = ", ".join(text(stage.label) for stage in small)
        rows.append([f"&nbsp;&nbsp;&nbsp;{names}", "", "", percent(sum(stage.share for stage in small))])
    return rows


def _suggestions(result: SuggestionsResult | None) -> list[str]:
    if result is None:
        return []
    if not result.suggestions:
        return [f"**What would help**: {text(result.reason or 'no recipe would save anything here', 400)}"]
    heads = ("recipe", "saves alone, ms", "95% interval", "adds, ms", "outputs")
    rows = [_suggestion(each) for each in result.suggestions]
    lines = ["**What would help**", "", *table(heads, rows, left=(0, len(heads) - 1))]
    if result.together is not None:
        share = percent(result.together.saving_ns / max(1, result.ttft_ns))
        low, high = ms(result.together.low_ns), ms(result.together.high_ns)
        saved = f"{ms(result.together.saving_ns):.1f} ms [{low:.1f}, {high:.1f}], {share} of the TTFT"
        lines += ["", f"All together: **{saved}**."]
    tried = [*(each.command for each in result.suggestions), result.command]
    return [*lines, "", *folded("Commands to try them", commands(list(dict.fromkeys(tried))))]


def _suggestion(suggestion: Suggestion) -> list[str]:
    saving, added = suggestion.saving, suggestion.added
    restart = ", by restart" if suggestion.switching == "restart" else ""
    return [
        f"**{suggestion.number}** {text(suggestion.title)}",
        f"{ms(saving.saving_ns):.1f}",
        f"{ms(saving.low_ns):.1f} to {ms(saving.high_ns):.1f}",
        "–" if added is None else f"{ms(added.saving_ns):.1f}",
        f"{text(suggestion.exactness)}{restart}",
    ]


def _hot(summary: SummaryResult) -> list[str]:
    if not summary.hot or summary.split is None:
        return []
    rows = [_hot_row(hot) for hot in summary.hot]
    lines = table(("function", "file", "self ms", "total ms", "share"), rows, left=(0, 1))
    covered = percent(summary.split.sampled_ns / max(1, summary.split.ttft_ns))
    title = f"Hottest functions on the critical path; samples cover {covered} of the TTFT"
    return folded(title, lines)


def _hot_row(hot: HotFunction) -> list[str]:
    place = f"{short_path(hot.file)}:{hot.line}" if hot.line else short_path(hot.file)
    times = (milliseconds(hot.self_ns), milliseconds(hot.total_ns), percent(hot.share))
    return [text(hot.function), text(place), *times]
