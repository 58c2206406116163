"""What keeps a comparison from a verdict: requests that failed, invalid runs, what was not measured."""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from rich.console import Console

from tests.unit.synthetic_ab_run import AbRun, write_ab_run, write_plain_run
from vlmprof.analysis.compare_enough import Doubts, Evidence, Served, why_no_verdict
from vlmprof.analysis.compare_gates import check_gate, parse_gate
from vlmprof.analysis.compare_requests import COLUMNS, HEADLINE
from vlmprof.cli.compare_markdown import render_markdown
from vlmprof.cli.compare_render import print_comparison
from vlmprof.model.comparison import GateOutcome, GateResult, Verdict
from vlmprof.model.results import BreakdownResult, read_breakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import read_table, write_table
from vlmprof.model.tables import SCHEMAS
from vlmprof.session.compare import compare_arms, compare_folders

PLENTY = Evidence(rounds=30, blocks=(30, 30), requests=(1000, 1000))


def _fail(run: RunFolder, numbers: Mapping[str, int]) -> RunFolder:
    """Let so many requests of every block of an arm fail."""
    arm_of = {block.index: block.arm for block in run.read_info().blocks}
    rows = read_table(run, "requests").to_pylist()
    seen: dict[int, int] = {}
    for row in rows:
        place = seen[row["block"]] = seen.get(row["block"], -1) + 1
        if place < numbers.get(arm_of[row["block"]], 0):
            row |= {"first_token_ns": None, "error": "HTTP 500: out of memory"}
    write_table(run, "requests", pa.Table.from_pylist(rows, schema=SCHEMAS["requests"]))
    return run


def _invalid(run: RunFolder) -> RunFolder:
    info = run.read_info()
    error = "never called though on: recipe 1; the run is invalid"
    run.write_info(msgspec.structs.replace(info, status="invalid", error=error))
    return run


def _gate(gate: str, run: RunFolder) -> GateResult:
    return check_gate(parse_gate(gate), compare_arms(run))


def test_a_side_that_lost_more_requests_is_not_faster(tmp_path: Path) -> None:
    """3 of 5 requests of each of 8 blocks of B fail: 16 of 40 are left, and they take a tenth less."""
    run = _fail(write_ab_run(tmp_path / "run"), {"B": 3})
    comparison = compare_arms(run)
    assert comparison.verdict == Verdict.INCONCLUSIVE
    assert {part.verdict for part in comparison.parts} <= {Verdict.INCONCLUSIVE, Verdict.NO_DIFFERENCE}
    assert (comparison.trial.requests, comparison.trial.left_out, comparison.trial.failed) == (16, 24, 24)
    assert (comparison.baseline.left_out, comparison.baseline.failed) == (0, 0)
    warning = "B: 24 of 40 requests failed, the first with: HTTP 500: out of memory"
    assert warning in comparison.warnings
    assert "0 of 40 requests of A failed and 24 of 40 requests of B" in comparison.sentence
    gate = _gate("ttft_p50<+50%", run)
    assert gate.outcome == GateOutcome.VIOLATED
    assert "24 of 40 requests of B" in gate.note


def test_a_baseline_that_lost_more_requests_decides_nothing(tmp_path: Path) -> None:
    """The trial is no worse for it, and what is left of the two is not alike."""
    gate = _gate("ttft_p50<+50%", _fail(write_ab_run(tmp_path / "run"), {"A": 3}))
    assert gate.outcome == GateOutcome.UNDECIDED


def test_what_fails_alike_on_both_sides_is_only_a_warning(tmp_path: Path) -> None:
    """The same request of every block is refused by both: the others are as alike as before."""
    comparison = compare_arms(_fail(write_ab_run(tmp_path / "run"), {"A": 1, "A2": 1, "B": 1}))
    assert comparison.verdict == Verdict.FASTER
    assert [warning.partition(" requests")[0] for warning in comparison.warnings] == [
        "A: 8 of 40",
        "B: 8 of 40",
    ]


def test_failed_requests_of_runs_are_counted_too(tmp_path: Path) -> None:
    runs = [write_plain_run(tmp_path / str(seed), AbRun(arms={"A": {}}, seed=seed)) for seed in (1, 2)]
    _fail(runs[1], {"": 2})
    comparison = compare_folders(runs).comparisons[0]
    assert comparison.verdict == Verdict.INCONCLUSIVE
    assert comparison.trial.failed == 16
    assert comparison.baseline.left_out == 16
    assert any("16 of 40 requests failed" in warning for warning in comparison.warnings)


@pytest.mark.parametrize(("q", "failed", "matters"), [(0.5, 10, False), (0.5, 11, True), (0.9, 3, True)])
def test_a_few_failures_matter_to_a_tail_first(q: float, failed: int, matters: bool) -> None:
    """Of 1000 requests 10 shift the median by a hundredth of all ranks, a fiftieth of those above it: 500.

    Above p90 lie 100, of which 2 are a fiftieth.
    """
    served = (Served("A", 1000, 0), Served("B", 1000, failed))
    assert bool(why_no_verdict(PLENTY, q, Doubts(served=served))) == matters


@pytest.mark.parametrize(
    ("evidence", "q", "told"),
    [
        (Evidence(1, (1, 1), (40, 40)), 0.5, "1 round is too few to tell p50, which takes 3"),
        (Evidence(2, (2, 2), (4, 4)), 0.5, "2 rounds are too few to tell p50, which takes 3"),
        (Evidence(4, (4, 1), (20, 20)), 0.5, "1 block of a side is too few to tell p50, which takes 3"),
        (Evidence(8, (8, 8), (8, 8)), 0.5, "8 requests of a side are too few to tell p50, which takes 10"),
        (
            Evidence(12, (12, 12), (96, 90)),
            0.99,
            "90 requests of a side are too few to tell p99, which takes 299",
        ),
    ],
)
def test_the_rule_that_failed_is_the_one_that_is_told(evidence: Evidence, q: float, told: str) -> None:
    assert why_no_verdict(evidence, q, Doubts()) == f"{told}, send more requests"


def test_eight_rounds_of_one_request_are_enough_rounds(tmp_path: Path) -> None:
    """It is requests that lack: 8 of the 10 that a median takes."""
    sentence = compare_arms(write_ab_run(tmp_path / "run", AbRun(block=1))).sentence
    assert sentence.endswith(
        "8 requests of a side are too few to tell p50, which takes 10, send more requests"
    )


def test_one_round_is_not_called_rounds(tmp_path: Path) -> None:
    result = compare_folders([write_ab_run(tmp_path / "run", AbRun(rounds=1, block=1))])
    console = Console(record=True, width=120, file=(tmp_path / "out").open("w"))
    print_comparison(result, console)
    for shown in (console.export_text(), render_markdown(result)):
        assert "one server, 1 round, paired by" in shown
        assert not re.search(r"(?<!of )\b1 (rounds|blocks|requests)\b", shown)


def test_an_invalid_run_has_no_verdict_and_fails_every_gate(tmp_path: Path) -> None:
    """B is a tenth faster, but the recipe that was to be measured was never called."""
    run = _invalid(write_ab_run(tmp_path / "run"))
    comparison = compare_arms(run)
    assert comparison.verdict == Verdict.INCONCLUSIVE
    assert "never called though on: recipe 1" in comparison.sentence
    assert any("every gate is violated" in warning for warning in comparison.warnings)
    gate = _gate("ttft_p50<+50%", run)
    assert gate.outcome == GateOutcome.VIOLATED
    assert gate.note.startswith("never called though on")


def test_one_invalid_run_of_two_is_enough(tmp_path: Path) -> None:
    runs = [write_plain_run(tmp_path / str(seed), AbRun(arms={"A": {}}, seed=seed)) for seed in (1, 2)]
    for both in (runs, runs[::-1]):
        _invalid(runs[1])
        comparison = compare_folders(both).comparisons[0]
        assert check_gate(parse_gate("ttft_p50<+90%"), comparison).outcome == GateOutcome.VIOLATED


def test_a_trial_that_was_cut_off_says_so(tmp_path: Path) -> None:
    run = write_ab_run(tmp_path / "run")
    run.write_info(msgspec.structs.replace(run.read_info(), status="partial"))
    comparison = compare_arms(run)
    assert "demo is partial: what it holds may not be all" in comparison.warnings
    assert comparison.verdict == Verdict.FASTER


@pytest.mark.parametrize("watched", ["no breakdown", "all unattributed"])
def test_stages_that_one_run_did_not_measure_are_not_compared(tmp_path: Path, watched: str) -> None:
    """The trial's transform takes thrice as long; its analysis is lost, or no agent was in its server."""
    slow = AbRun(arms={"A": {"image_transform": 3.0}}, seed=1, name="slow")
    runs = [write_plain_run(tmp_path / "a"), write_plain_run(tmp_path / "b", slow)]
    found = read_breakdown(runs[1]).requests
    unattributed = [msgspec.structs.replace(r, stages={}, unattributed_ns=r.ttft_ns) for r in found]
    left = unattributed if watched == "all unattributed" else []
    runs[1].write_result("breakdown", BreakdownResult(requests=left))
    comparison = compare_folders(runs).comparisons[0]
    assert comparison.change("stage.image_transform") is None
    assert "slow has no stages: only whole requests are compared" in comparison.warnings
    for gate in ("stage.image_transform<+5%", "stage.image_transform<=2ms", "group.image<+5%"):
        assert check_gate(parse_gate(gate), comparison).outcome == GateOutcome.UNMEASURED
    assert check_gate(parse_gate("ttft_p50<+5%"), comparison).outcome == GateOutcome.VIOLATED


def test_a_stage_that_took_no_time_is_absent(tmp_path: Path) -> None:
    """No picture comes from a URL."""
    comparison = compare_arms(write_ab_run(tmp_path / "run", AbRun(rounds=3)))
    assert "stage.image_fetch" in comparison.absent
    assert check_gate(parse_gate("stage.image_fetch<=0ms"), comparison).outcome == GateOutcome.PASSED
    known = {part.metric for part in comparison.parts}
    assert known.isdisjoint(comparison.absent)
    assert len(known) + len(comparison.absent) == len(COLUMNS) - len(HEADLINE)


def test_a_stage_that_a_minority_met_is_gated(tmp_path: Path) -> None:
    """2 of 5 requests of each block of B wait 50 ms for a pool thread, none of A's: 20 ms in the mean."""
    run = write_ab_run(tmp_path / "run")
    arm_of = {block.index: block.arm for block in run.read_info().blocks}
    breakdowns = [
        msgspec.structs.replace(
            request,
            stages=request.stages
            | {"pool_wait": 50_000_000 * (arm_of[request.block] == "B" and place % 5 < 2)},
        )
        for place, request in enumerate(read_breakdown(run).requests)
    ]
    run.write_result("breakdown", BreakdownResult(requests=breakdowns))
    change = compare_arms(run).change("stage.pool_wait")
    assert change is not None
    assert (change.baseline, change.trial, change.verdict) == (0, 20e6, Verdict.SLOWER)
    assert _gate("stage.pool_wait<=0ms", run).outcome == GateOutcome.VIOLATED
    assert _gate("stage.pool_wait<40ms", run).outcome == GateOutcome.PASSED
