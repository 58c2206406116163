"""A comparison as Markdown, for a pull request or a job's summary."""

from collections.abc import Sequence

from vlmprof.analysis.compare_enough import counted
from vlmprof.analysis.compare_sentence import relative
from vlmprof.cli.compare_render import gate_words, outputs
from vlmprof.cli.markdown_text import entries, folded, table, text
from vlmprof.cli.render import LONGEST_MESSAGE
from vlmprof.model.comparison import (
    Change,
    ComparedSide,
    Comparison,
    ComparisonResult,
    GateOutcome,
    GateResult,
    Verdict,
)

_SIGNS = {
    Verdict.FASTER: "✅",
    Verdict.SLOWER: "❌",
    Verdict.NO_DIFFERENCE: "➖",
    Verdict.INCONCLUSIVE: "❔",
}
_GATE_SIGNS = {
    GateOutcome.PASSED: "✅",
    GateOutcome.VIOLATED: "❌",
    GateOutcome.UNDECIDED: "❔",
    GateOutcome.UNMEASURED: "❌",
}
_HEADS = ("", "baseline", "trial", "change", "difference", "95% interval", "noise floor", "verdict")


def render_markdown(result: ComparisonResult) -> str:
    """The whole result; every name from a run is text only."""
    parts = [_comparison(comparison) for comparison in result.comparisons]
    if result.gates:
        parts.append(_gates(result))
    return "\n\n".join(parts) + "\n"


def _comparison(comparison: Comparison) -> str:
    sides = f"{_side(comparison.baseline)} against {_side(comparison.trial)}"
    lines = [
        f"### {_SIGNS[comparison.verdict]} {text(comparison.sentence, len(comparison.sentence))}",
        "",
        f"{sides}; {comparison.scope}, {counted(comparison.rounds, 'round')}, "
        f"paired by {comparison.paired_by}.",
        "",
        *_table(comparison.metrics),
        "",
        *folded("Stages of the critical path", _table(comparison.parts)),
        "",
        *entries("Outputs", outputs(comparison.outputs)),
        *entries(
            "Differs", [f"{e.what}: {e.baseline} → {e.trial} ({e.why})" for e in comparison.environment]
        ),
        *entries("Warnings", comparison.warnings),
    ]
    return "\n".join(lines).rstrip()


def _side(side: ComparedSide) -> str:
    return f"**{text(side.label)}** ({text(side.setting)}, {counted(side.requests, 'request')})"


def _table(changes: Sequence[Change]) -> list[str]:
    return table(_HEADS, [_row(change) for change in changes], left=(0, len(_HEADS) - 1))


def _row(change: Change) -> list[str]:
    scale, unit = (1.0, "tokens/s") if change.unit == "tokens/s" else (1e-6, "ms")
    indent = "&nbsp;&nbsp;" if change.metric.startswith("stage.") else ""
    noise = "–"
    if change.noise_low is not None and change.noise_high is not None:
        noise = f"{scale * change.noise_low:+.2f} to {scale * change.noise_high:+.2f}"
    return [
        f"{indent}{text(change.label)}",
        f"{scale * change.baseline:.2f} {unit}",
        f"{scale * change.trial:.2f} {unit}",
        relative(change.share),
        f"{scale * change.difference:+.2f}",
        f"{scale * change.low:+.2f} to {scale * change.high:+.2f}",
        noise,
        f"{_SIGNS[change.verdict]} {change.verdict}",
    ]


def _measured(gate: GateResult) -> tuple[str, str]:
    if gate.measured is None:
        return "–", "–"
    return f"{gate.measured:+.2f} {gate.unit}", f"{gate.low:+.2f} to {gate.high:+.2f} {gate.unit}"


def _gates(result: ComparisonResult) -> str:
    rows = [
        (
            f"`{gate.gate}`",
            text(gate.trial),
            *_measured(gate),
            f"{_GATE_SIGNS[gate.outcome]} {text(gate_words(gate), LONGEST_MESSAGE)}",
        )
        for gate in result.gates
    ]
    heads = ("gate", "trial", "measured", "95% interval", "outcome")
    return "\n".join(table(heads, rows, left=range(len(heads))))
