"""Gates: conditions on a comparison that decide a command's exit code, as `ttft_p50<+5%`.

A gate bounds how far a time may rise, in percent of the baseline or in ms, or how far a rate may fall, in percent
(`tokens_per_s_p50>-5%`). It is decided by the whole 95% interval, so that noise alone does not fail a build:

* **passed** where the interval satisfies it,
* **violated** where no value of the interval does,
* **undecided** where the interval straddles the bound. That passes, loudly; under `--strict` it fails. To decide
  it, send more requests.

So is one that no verdict may rest on (`compare_enough`), whatever the interval says. Of an invalid run every gate
is violated: what was to be measured was not there. So it is where the trial lost more of its requests than the
baseline, by a hundredth of all: a server that fails is worse, and a build must not pass by failing fast.

What a side did not measure is neither a rise nor none. Such a gate is **not measured**, which ends the command as a
wrong use of it: left to pass, it would go on passing, and nobody would know that it watches nothing.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from vlmprof.analysis.compare_enough import fails_more, served_of
from vlmprof.errors import UsageError
from vlmprof.model.comparison import Change, Comparison, GateOutcome, GateResult
from vlmprof.model.stages import GROUPS, STAGE_IDS
from vlmprof.units import NS_PER_MS

RATES = ("tokens_per_s_p50",)
METRICS = ("ttft_p50", "ttft_p90", "ttft_p99", "e2e_p50", "tpot_p50", *RATES)
_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_GATE = re.compile(
    r"\s*(?P<metric>[^<>=]+?)\s*(?P<op>[<>]=?)\s*(?P<bound>[+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*(?P<unit>%|ms)\s*"
)
_EXAMPLES = "as in --gate 'ttft_p50<+5%', 'stage.image_transform<=.5ms' or 'tokens_per_s_p50>-5%'"


@dataclass(frozen=True, slots=True)
class Gate:
    """A bound on how much a metric may change; op is one of < <= > >=, unit `%` of the baseline or `ms`."""

    text: str
    metric: str
    op: str
    bound: float
    unit: str

    def holds(self, value: float) -> bool:
        return _HOLDS[self.op](value, self.bound)


def parse_gate(text: str) -> Gate:
    """Read a gate; raises `UsageError` for what is none."""
    match = _GATE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is no gate", hint=f"METRIC, < <= > or >=, and a signed % or ms, {_EXAMPLES}"
        )
    metric = match["metric"]
    known = (*METRICS, *(f"stage.{stage}" for stage in STAGE_IDS), *(f"group.{group}" for group in GROUPS))
    if metric not in known:
        raise UsageError(
            f"{text!r}: no metric {metric!r}",
            hint=f"one of {', '.join(METRICS)}, stage.<id> or group.<name>, {_EXAMPLES}",
        )
    gate = Gate(text.strip(), metric, match["op"], float(match["bound"]), match["unit"])
    _check_direction(gate)
    return gate


def _check_direction(gate: Gate) -> None:
    """A bound on the side that is better would fail what improves, and let all else pass."""
    if gate.metric not in RATES:
        if gate.op.startswith(">"):
            raise UsageError(
                f"{gate.text!r}: of a time less is better", hint=f"bound it by < or <=, {_EXAMPLES}"
            )
    elif gate.op.startswith("<"):
        raise UsageError(f"{gate.text!r}: of a rate more is better", hint=f"bound it by > or >=, {_EXAMPLES}")
    elif gate.unit == "ms":
        raise UsageError(f"{gate.text!r}: a rate has no ms", hint=f"bound it in %, {_EXAMPLES}")


def check_gate(gate: Gate, comparison: Comparison) -> GateResult:
    """Hold a gate against a comparison; a stage that took no time on either side does not rise.

    Raises:
        UsageError: a percentage of a baseline of 0.
    """
    values = _measured(gate, comparison)
    outcome, note = _decided(gate, comparison, values)
    measured, low, high = values or (None, None, None)
    return GateResult(
        gate=gate.text,
        trial=comparison.trial.label,
        outcome=outcome,
        note=note,
        measured=measured,
        low=low,
        high=high,
        unit=gate.unit,
    )


_Values = tuple[float, float, float]
"""Estimate and both ends of the interval, in the gate's unit."""


def _measured(gate: Gate, comparison: Comparison) -> _Values | None:
    change = comparison.change(gate.metric)
    if change is not None:
        return _in_unit(change, gate)
    return (0.0, 0.0, 0.0) if gate.metric in comparison.absent else None


def _decided(gate: Gate, comparison: Comparison, values: _Values | None) -> tuple[GateOutcome, str]:
    """The outcome, and why where the interval does not say it."""
    change = comparison.change(gate.metric)
    if invalid := comparison.baseline.invalid or comparison.trial.invalid:
        return GateOutcome.VIOLATED, invalid
    if worse := fails_more(served_of(comparison.baseline), served_of(comparison.trial)):
        return GateOutcome.VIOLATED, worse
    if values is None:
        return GateOutcome.UNMEASURED, _why_unmeasured(gate.metric)
    if change is not None and change.undecided_because:
        return GateOutcome.UNDECIDED, change.undecided_because
    return _outcome(gate, *values[1:]), ""


def _why_unmeasured(metric: str) -> str:
    if metric.startswith(("tpot", "tokens")):
        return "no request of one side generated two tokens (--max-tokens)"
    if metric.startswith(("stage.", "group.")):
        return "one side has no stages, as a server without the agent, or a run whose analysis never ended"
    return "no request of one side has it"


def _outcome(gate: Gate, low: float, high: float) -> GateOutcome:
    if gate.holds(low) and gate.holds(high):
        return GateOutcome.PASSED
    if gate.holds(low) or gate.holds(high):
        return GateOutcome.UNDECIDED
    return GateOutcome.VIOLATED


def _in_unit(change: Change, gate: Gate) -> _Values:
    if gate.unit == "ms":
        values = (change.difference, change.low, change.high)
        scale = 1 / NS_PER_MS
    elif change.ratio is not None and change.ratio_low is not None and change.ratio_high is not None:
        values = (change.ratio - 1, change.ratio_low - 1, change.ratio_high - 1)
        scale = 100
    elif change.baseline:
        values = (change.difference, change.low, change.high)
        scale = 100 / change.baseline
    else:
        raise UsageError(
            f"{gate.text}: {gate.metric} of the baseline is 0, of which no percentage can be taken",
            hint=f"bound it in ms: --gate '{gate.metric}<1ms'",
        )
    # 100 * (1.06 - 1) is a little more than 6: what is written as 6% is 6%.
    measured, low, high = (round(scale * value, 9) for value in values)
    return measured, low, high
