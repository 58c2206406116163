"""Gates: what they say, and when they are decided."""

from collections.abc import Sequence

import msgspec
import pytest

from vlmprof.analysis.compare_gates import check_gate, parse_gate
from vlmprof.errors import UsageError
from vlmprof.model.comparison import (
    Change,
    ComparedSide,
    Comparison,
    GateOutcome,
    OutputEquality,
    Scope,
    Verdict,
)

TTFT = Change(
    metric="ttft_p50",
    label="TTFT p50",
    unit="ns",
    baseline=100e6,
    trial=104e6,
    difference=4e6,
    low=2e6,
    high=6e6,
    ratio=1.04,
    ratio_low=1.02,
    ratio_high=1.06,
    verdict=Verdict.SLOWER,
)
STAGE = msgspec.structs.replace(
    TTFT, metric="stage.image_fetch", baseline=0.0, ratio=None, ratio_low=None, ratio_high=None
)


def _comparison(*changes: Change, absent: Sequence[str] = ()) -> Comparison:
    side = ComparedSide(label="B", run="runs/b", name="b", requests=40, blocks=8)
    return Comparison(
        baseline=side,
        trial=side,
        scope=Scope.ONE_SERVER,
        paired_by="image",
        rounds=8,
        confidence=0.95,
        verdict=Verdict.SLOWER,
        sentence="",
        metrics=list(changes),
        parts=[],
        absent=list(absent),
        outputs=OutputEquality(compared=0, equal=0),
    )


def _outcome(gate: str, *changes: Change, absent: Sequence[str] = ()) -> GateOutcome:
    return check_gate(parse_gate(gate), _comparison(*changes, absent=absent)).outcome


@pytest.mark.parametrize(
    ("gate", "outcome"),
    [
        ("ttft_p50<+7%", GateOutcome.PASSED),
        ("ttft_p50<=6%", GateOutcome.PASSED),
        ("ttft_p50<6%", GateOutcome.UNDECIDED),
        ("ttft_p50 < +5 %", GateOutcome.UNDECIDED),
        ("ttft_p50<2%", GateOutcome.VIOLATED),
        ("ttft_p50<=2%", GateOutcome.UNDECIDED),
        ("ttft_p50<-3%", GateOutcome.VIOLATED),
        ("ttft_p50<6.5ms", GateOutcome.PASSED),
        ("ttft_p50<1.9ms", GateOutcome.VIOLATED),
    ],
)
def test_a_gate_is_decided_by_the_whole_interval(gate: str, outcome: GateOutcome) -> None:
    """The TTFT rose by 4 ms, 4%, with the interval from 2 to 6 of both."""
    assert _outcome(gate, TTFT) == outcome


def test_a_gate_is_as_undecided_as_its_verdict() -> None:
    """All of the interval satisfies the bound, but it is one of too few requests."""
    few = msgspec.structs.replace(TTFT, metric="ttft_p99", undecided_because="48 requests are too few")
    result = check_gate(parse_gate("ttft_p99<+50%"), _comparison(few))
    assert (result.outcome, result.note) == (GateOutcome.UNDECIDED, "48 requests are too few")


def test_a_gate_says_what_was_measured_in_its_own_unit() -> None:
    result = check_gate(parse_gate("ttft_p50<5%"), _comparison(TTFT))
    assert (result.measured, result.low, result.high) == pytest.approx((4, 2, 6))
    assert (result.unit, result.trial) == ("%", "B")


def test_a_stage_that_took_no_time_on_either_side_does_not_rise() -> None:
    absent = ["stage.image_fetch"]
    assert _outcome("stage.image_fetch<1ms", TTFT, absent=absent) == GateOutcome.PASSED
    assert _outcome("stage.image_fetch<5%", TTFT, absent=absent) == GateOutcome.PASSED
    assert _outcome("stage.image_fetch<0ms", TTFT, absent=absent) == GateOutcome.VIOLATED


@pytest.mark.parametrize("metric", ["tpot_p50", "stage.image_fetch", "group.image", "e2e_p50"])
def test_what_was_not_measured_is_not_held_to_be_nothing(metric: str) -> None:
    result = check_gate(parse_gate(f"{metric}<+5%"), _comparison(TTFT, absent=["stage.mm_cache"]))
    assert result.outcome == GateOutcome.UNMEASURED
    assert (result.measured, result.low, result.high) == (None, None, None)
    assert result.note.startswith(("no request", "one side"))


def test_no_percentage_is_taken_of_nothing() -> None:
    with pytest.raises(UsageError, match="of the baseline is 0"):
        _outcome("stage.image_fetch<5%", STAGE)
    assert _outcome("stage.image_fetch<1ms", STAGE) == GateOutcome.VIOLATED


@pytest.mark.parametrize("group", ["group.worker, GPU<5%", "group.client and HTTP<5%", "stage.prefill<=0%"])
def test_groups_and_stages_are_named_as_in_the_results(group: str) -> None:
    assert parse_gate(group).metric == group.partition("<")[0]


RATE = msgspec.structs.replace(
    TTFT, metric="tokens_per_s_p50", unit="tokens/s", ratio=0.96, ratio_low=0.94, ratio_high=0.98
)


@pytest.mark.parametrize(
    ("gate", "outcome"),
    [
        ("tokens_per_s_p50>-7%", GateOutcome.PASSED),
        ("tokens_per_s_p50>=-6%", GateOutcome.PASSED),
        ("tokens_per_s_p50>-6%", GateOutcome.UNDECIDED),
        ("tokens_per_s_p50 > -5%", GateOutcome.UNDECIDED),
        ("tokens_per_s_p50>-2%", GateOutcome.VIOLATED),
        ("tokens_per_s_p50>=+1%", GateOutcome.VIOLATED),
    ],
)
def test_a_rate_may_not_fall_below_its_bound(gate: str, outcome: GateOutcome) -> None:
    """It fell by 4%, with the interval from -6 to -2."""
    assert _outcome(gate, RATE) == outcome


@pytest.mark.parametrize(
    ("gate", "why"),
    [
        ("tokens_per_s_p50<5%", "of a rate more is better"),
        ("tokens_per_s_p50>-1ms", "a rate has no ms"),
        ("ttft_p50>-5%", "of a time less is better"),
        ("stage.prefill>=1ms", "of a time less is better"),
    ],
)
def test_a_bound_on_the_better_side_is_refused(gate: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_gate(gate)


@pytest.mark.parametrize(("text", "bound"), [(".5", 0.5), ("-.5", -0.5), ("+1.", 1), ("2.25", 2.25)])
def test_a_bound_may_leave_out_what_is_0(text: str, bound: float) -> None:
    assert parse_gate(f"ttft_p50<{text}ms").bound == bound


@pytest.mark.parametrize(
    "text", ["", "ttft_p50", "ttft_p50<.ms", "ttft_p50>5%", "ttft_p50<5", "ttft_p50<5s", "<5%", "a<b%"]
)
def test_what_is_no_gate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_gate(text)
    assert "ttft_p50<+5%" in refused.value.hint


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(UsageError, match="no metric 'ttft_p51'"):
        parse_gate("ttft_p51<5%")
