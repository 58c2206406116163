"""The summary of a run and its one-sentence diagnosis."""

from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from tests.unit.synthetic_run import TABLES, synthetic_info, write_synthetic_run
from vlmprof.analysis.diagnosis import diagnose
from vlmprof.analysis.summary import summarise, ttft_stats
from vlmprof.errors import FileUnreadable
from vlmprof.model.breakdown import Segment, TtftBreakdown
from vlmprof.model.request import Phase
from vlmprof.model.results import (
    BreakdownResult,
    RequestBreakdown,
    StageSummary,
    SummaryResult,
    read_breakdown,
    read_summary,
    request_breakdown,
)
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.stages import STAGE_BY_ID
from vlmprof.model.table_io import read_table
from vlmprof.model.tables import SCHEMAS


def _request(phase: Phase, stages: dict[str, int], unattributed_ns: int = 0) -> RequestBreakdown:
    ttft_ns = sum(stages.values()) + unattributed_ns
    return RequestBreakdown(
        id="r",
        phase=phase,
        block=0,
        sent_ns=0,
        ttft_ns=ttft_ns,
        stages=stages,
        unattributed_ns=unattributed_ns,
        segments=[],
    )


def _summarise(*requests: RequestBreakdown) -> SummaryResult:
    tables = {name: SCHEMAS[name].empty_table() for name in TABLES}
    return summarise(synthetic_info(), BreakdownResult(requests=list(requests)), **tables)


def test_the_headline_is_the_control_and_its_shares_add_up() -> None:
    """Control: 30 of 100 and 50 of 100 ns decode; profiled does not count. Share 80 of 200."""
    summary = _summarise(
        _request(Phase.CONTROL, {"image_decode": 30, "prefill": 70}),
        _request(Phase.CONTROL, {"image_decode": 50, "prefill": 45}, unattributed_ns=5),
        _request(Phase.PROFILED, {"image_decode": 900}),
        _request(Phase.WARM_UP, {"image_decode": 9000}),
    )
    decode = next(stage for stage in summary.stages if stage.stage == "image_decode")
    assert (decode.share, decode.median_ns, decode.mean_ns, decode.total_ns) == (0.4, 40, 40, 80)
    assert sum(stage.share for stage in summary.stages) == pytest.approx(1, abs=1e-12)
    assert sum(group.share for group in summary.groups) == pytest.approx(1, abs=1e-12)
    assert [stage.stage for stage in summary.stages] == ["image_decode", "prefill", "unattributed"]
    assert summary.unattributed_worst_share == 0.05
    assert summary.ttft == summary.control
    assert summary.profiled is not None
    assert summary.profiled.p50_ns == 900


def test_without_control_blocks_the_profiled_requests_are_the_headline() -> None:
    """As after `vlmprof attach` with one phase: 100 ns of prefill."""
    summary = _summarise(_request(Phase.PROFILED, {"prefill": 100}))
    assert summary.headline == Phase.PROFILED
    assert summary.ttft == ttft_stats([_request(Phase.PROFILED, {"prefill": 100})])


def test_a_group_takes_the_median_of_its_sums_not_the_sum_of_its_medians() -> None:
    """Requests of (1, 9), (9, 1), (5, 5) in two stages of one group: every sum is 10."""
    pairs = ((1, 9), (9, 1), (5, 5))
    summary = _summarise(*(_request(Phase.CONTROL, {"mm_hash": a, "mm_cache": b}) for a, b in pairs))
    assert [(group.group, group.median_ns) for group in summary.groups] == [("image", 10)]


def test_percentiles_of_the_ttft() -> None:
    """1 to 101 ns: p50 51, p90 91, p99 100."""
    stats = ttft_stats([_request(Phase.CONTROL, {"prefill": n}) for n in range(1, 102)])
    assert stats is not None
    assert (stats.p50_ns, stats.p90_ns, stats.p99_ns, stats.min_ns, stats.max_ns) == (51, 91, 100, 1, 101)


def test_a_run_in_which_nothing_came_back_says_so() -> None:
    """No request at all: no statistics, no stages, a plain sentence."""
    summary = _summarise()
    assert summary.ttft is None
    assert (summary.stages, summary.groups, summary.split) == ([], [], None)
    assert summary.diagnosis == "No request got a first token."


def test_the_summary_of_a_whole_run(tmp_path: Path) -> None:
    """12 requests in blocks of 3, half of them profiled; one refused; samples of all four threads."""
    folder = write_synthetic_run(tmp_path / "run")
    summary = read_summary(folder)
    assert (summary.control and summary.control.requests, summary.failed_requests) == (6, 1)
    assert [process.label for process in summary.processes] == ["api_server", "engine_core", "worker 0"]
    shares = sum(process.critical_path_share for process in summary.processes)
    wire = sum(s.share for s in summary.stages if s.where in {"network"} or s.stage in _ON_THE_WIRE)
    assert shares + wire == pytest.approx(1, abs=1e-12)
    assert summary.split is not None
    assert summary.split.phase is Phase.PROFILED
    assert 0.97 * summary.split.thread_ns < summary.split.sampled_ns <= summary.split.thread_ns
    assert summary.hot[0].function == "UnquantizedLinearMethod.apply"
    stages = summary.hot[0].stages
    assert sorted(stages, key=lambda stage: -stages[stage])[:2] == ["vision_encoder", "prefill"]
    assert [f.self_ns for f in summary.hot] == sorted((f.self_ns for f in summary.hot), reverse=True)
    assert summary.hot_by_stage["image_transform"][0].function == "SmolVLMImageProcessor.pad"


_ON_THE_WIRE = {"pool_wait", "event_loop_wait", "ipc_transfer", "unattributed"}


def test_cpu_time_is_unknown_where_the_sampler_did_not_look(tmp_path: Path) -> None:
    """on_cpu null for every sample: None, not 0."""
    folder = write_synthetic_run(tmp_path / "run")
    tables: dict[str, Any] = {name: read_table(folder, name) for name in TABLES}
    samples = tables["samples"]
    place = samples.schema.get_field_index("on_cpu")
    samples = samples.set_column(
        place, SCHEMAS["samples"].field("on_cpu"), pa.nulls(len(samples), pa.bool_())
    )
    summary = summarise(folder.read_info(), read_breakdown(folder), **{**tables, "samples": samples})
    assert [process.cpu_ns for process in summary.processes] == [None, None, None]


def _stage(stage: str, share: float) -> StageSummary:
    known = STAGE_BY_ID[stage]
    return StageSummary(
        stage=stage,
        group=known.group,
        label=known.label,
        where=known.where,
        median_ns=1,
        mean_ns=1,
        p90_ns=1,
        total_ns=1,
        share=share,
    )


@pytest.mark.parametrize(
    ("stages", "gpu", "sentence"),
    [
        (
            {"vision_encoder": 0.58, "image_transform": 0.19, "queue": 0.02},
            True,
            "58% of TTFT is the vision encoder on the GPU; 19% is image transform on the CPU.",
        ),
        (
            {"vision_encoder": 0.47, "image_transform": 0.17, "prefill": 0.14},
            False,
            "47% of TTFT is the vision encoder; 17% is image transform; 14% is prefill, all on the CPU.",
        ),
        ({"queue": 0.9}, True, "90% of TTFT is waiting in the engine's queue."),
        ({"launch": 0.4}, True, "40% of TTFT is launching kernels while the GPU idles."),
    ],
)
def test_the_diagnosis_names_the_largest_stages(stages: dict[str, float], gpu: bool, sentence: str) -> None:
    """At most three stages of at least 10%, largest first; a place that all share is said once."""
    assert diagnose([], [_stage(stage, share) for stage, share in stages.items()], gpu=gpu) == sentence


def test_a_flat_profile_is_called_one() -> None:
    """Every stage below 10%: the largest stage and the largest group are named."""
    summary = _summarise(_request(Phase.CONTROL, dict.fromkeys(list(STAGE_BY_ID)[:20], 10)))
    assert summary.diagnosis == (
        "TTFT is spread over many stages: the largest, network and the client, is 5%; "
        "the largest group, image, 25%."
    )


def test_a_breakdown_is_written_as_it_was_checked() -> None:
    """One request of two segments: 3 ns of network, 4 unattributed."""
    segments = (Segment("network", 0, 3, 0, 0, "a -> b"), Segment("unattributed", 3, 7, 0, 0, ""))
    breakdown = TtftBreakdown("r", 0, 7, {"network": 3}, 4, segments)
    breakdown.check()
    encoded = msgspec.json.decode(msgspec.json.encode(request_breakdown(breakdown, Phase.CONTROL, 2)))
    assert encoded["stages"] == {"network": 3}
    assert (encoded["ttft_ns"], encoded["unattributed_ns"], encoded["phase"]) == (7, 4, "control")
    assert [segment["stage"] for segment in encoded["segments"]] == ["network", "unattributed"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        (b"", "is damaged"),
        (b'{"schema_version": 1}', "is damaged"),
        (b'{"schema_version": 99}', "schema version 99"),
    ],
)
def test_unreadable_results_say_what_to_do(tmp_path: Path, content: bytes | None, message: str) -> None:
    """Absent, empty, incomplete and of a newer version."""
    folder = RunFolder.create(tmp_path / "run")
    if content is not None:
        (folder.results / "summary.json").write_bytes(content)
    with pytest.raises(FileUnreadable, match=message) as caught:
        read_summary(folder)
    assert caught.value.hint
