"""A comparison as Markdown, for a pull request or a job's summary."""

import re
from collections.abc import Iterable, Sequence

from vlmprof.analysis.compare_sentence import relative
from vlmprof.cli.compare_render import gate_words, outputs
from vlmprof.cli.terminal_text import plain
from vlmprof.model.comparison import Change, ComparedSide, Comparison, ComparisonResult, GateOutcome, Verdict

_SIGNS = {
    Verdict.FASTER: "✅",
    Verdict.SLOWER: "❌",
    Verdict.NO_DIFFERENCE: "➖",
    Verdict.INCONCLUSIVE: "❔",
}
_GATE_SIGNS = {GateOutcome.PASSED: "✅", GateOutcome.VIOLATED: "❌", GateOutcome.UNDECIDED: "❔"}
_HEADS = ("", "baseline", "trial", "change", "difference", "95% interval", "noise floor", "verdict")
# What could start markup of any kind, in a text that a capture controls.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&@$-])")
_LONGEST = 120


def render_markdown(result: ComparisonResult) -> str:
    """The whole result; every name from a run is text only."""
    parts = [_comparison(comparison) for comparison in result.comparisons]
    if result.gates:
        parts.append(_gates(result))
    return "\n\n".join(parts) + "\n"


def _comparison(comparison: Comparison) -> str:
    sides = f"{_side(comparison.baseline)} against {_side(comparison.trial)}"
    lines = [
        f"### {_SIGNS[comparison.verdict]} {_text(comparison.sentence, len(comparison.sentence))}",
        "",
        f"{sides}; {comparison.scope}, {comparison.rounds} rounds, paired by {comparison.paired_by}.",
        "",
        *_table(comparison.metrics),
        "",
        "<details><summary>Stages of the critical path</summary>",
        "",
        *_table(comparison.parts),
        "",
        "</details>",
        "",
        *_list("Outputs", outputs(comparison.outputs)),
        *_list("Differs", [f"{e.what}: {e.baseline} → {e.trial} ({e.why})" for e in comparison.environment]),
        *_list("Warnings", comparison.warnings),
    ]
    return "\n".join(lines).rstrip()


def _side(side: ComparedSide) -> str:
    recipes = f"recipes {_text(side.recipe_set)}" if side.recipe_set else "no recipes"
    return f"**{_text(side.label)}** ({recipes}, {side.requests} requests)"


def _table(changes: Sequence[Change]) -> list[str]:
    rows = [_row(change) for change in changes]
    return [_line(_HEADS), _line(["---"] + ["---:"] * 6 + ["---"]), *map(_line, rows)]


def _row(change: Change) -> list[str]:
    scale, unit = (1.0, "tokens/s") if change.unit == "tokens/s" else (1e-6, "ms")
    indent = "&nbsp;&nbsp;" if change.metric.startswith("stage.") else ""
    noise = "–"
    if change.noise_low is not None and change.noise_high is not None:
        noise = f"{scale * change.noise_low:+.2f} to {scale * change.noise_high:+.2f}"
    return [
        f"{indent}{_text(change.label)}",
        f"{scale * change.baseline:.2f} {unit}",
        f"{scale * change.trial:.2f} {unit}",
        relative(change.share),
        f"{scale * change.difference:+.2f}",
        f"{scale * change.low:+.2f} to {scale * change.high:+.2f}",
        noise,
        f"{_SIGNS[change.verdict]} {change.verdict}",
    ]


def _gates(result: ComparisonResult) -> str:
    lines = [_line(("gate", "trial", "measured", "95% interval", "outcome")), _line(["---"] * 5)]
    for gate in result.gates:
        interval = f"{gate.low:+.2f} to {gate.high:+.2f} {gate.unit}"
        outcome = f"{_GATE_SIGNS[gate.outcome]} {gate_words(gate)}"
        measured = f"{gate.measured:+.2f} {gate.unit}"
        lines.append(_line((f"`{gate.gate}`", _text(gate.trial), measured, interval, outcome)))
    return "\n".join(lines)


def _list(title: str, entries: Iterable[str]) -> list[str]:
    return [f"- {title}: {_text(entry, 400)}" for entry in entries]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(value: str, longest: int = _LONGEST) -> str:
    """A string of a run that Markdown shows as it is: one line, nothing of it markup."""
    text = plain(value)
    return _MARKUP.sub(r"\\\1", text if len(text) <= longest else f"{text[:longest]}…")
