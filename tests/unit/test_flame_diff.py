"""Differential flame graphs of hand-made runs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.synthetic_run import write_synthetic_run
from vlmprof.analysis.flame_diff import FlameDiff, SampledRun, flame_diff
from vlmprof.analysis.process_table import read_processes
from vlmprof.analysis.stack_table import read_stacks
from vlmprof.model.process import Process, Role
from vlmprof.model.request import Phase
from vlmprof.model.results import RequestBreakdown, SegmentResult, read_breakdown
from vlmprof.model.table_io import read_table
from vlmprof.model.tables import SCHEMAS

MS = 1_000_000
ENV = "/venvs/{}/lib/python3.11/site-packages/"


def _run(
    stacks: Mapping[tuple[str, ...], int], env: str = "one", requests: int = 1, pid: int = 7
) -> SampledRun:
    """A run whose requests wait for one thread; each stack is seen for its ms in every request."""
    names = sorted({name for stack in stacks for name in stack})
    frames = [
        {"frame_id": i, "function": name, "file": f"{ENV.format(env)}m/{name}.py", "line": 1}
        for i, name in enumerate(names)
    ]
    rows = [
        {"stack_id": i, "frame_ids": [names.index(name) for name in stack]} for i, stack in enumerate(stacks)
    ]
    samples, breakdowns, at_ns = [], [], 0
    for number in range(requests):
        sent_ns = at_ns
        for stack_id, length_ms in enumerate(stacks.values()):
            row = {"pid": pid, "tid": pid, "stack_id": stack_id, "start_ns": at_ns}
            samples.append({**row, "duration_ns": length_ms * MS, "on_cpu": True, "holds_gil": None})
            at_ns += length_ms * MS
        segment = SegmentResult(
            stage="image_transform", start_ns=sent_ns, end_ns=at_ns, pid=pid, tid=pid, cause=""
        )
        breakdowns.append(
            RequestBreakdown(
                id=str(number),
                phase=Phase.PROFILED,
                block=0,
                sent_ns=sent_ns,
                ttft_ns=at_ns - sent_ns,
                stages={"image_transform": at_ns - sent_ns},
                unattributed_ns=0,
                segments=[segment],
            )
        )
    return SampledRun(
        breakdowns,
        {pid: Process(pid, 0, Role.API_SERVER, None, "vllm")},
        pa.Table.from_pylist(samples, schema=SCHEMAS["samples"]),
        read_stacks(
            pa.Table.from_pylist(rows, schema=SCHEMAS["stacks"]),
            pa.Table.from_pylist(frames, schema=SCHEMAS["frames"]),
        ),
    )


def _paths(diff: FlameDiff, view: int = 0) -> dict[str, tuple[int, int]]:
    """Path -> self ms before and after."""

    def path(node: int) -> str:
        parent = diff.parent[node]
        own = diff.names[diff.name[node]]
        return own if parent == 0 else f"{path(parent)};{own}"

    shown = diff.views[view]
    columns = zip(shown.node, shown.before_ns, shown.after_ns, strict=True)
    return {path(node): (before // MS, after // MS) for node, before, after in columns}


def _diff(before: SampledRun, after: SampledRun) -> FlameDiff:
    diff = flame_diff(before, after)
    assert diff is not None
    return diff


def test_frames_of_one_side_only_stay_in_the_tree() -> None:
    """`pad` vanished, `view` is new, `resize` went from 30 to 10 ms; both hang on the same callers."""
    before = _run({("main", "resize"): 30, ("main", "pad"): 20})
    after = _run({("main", "resize"): 10, ("main", "view"): 5})
    assert _paths(_diff(before, after)) == {
        "api_server;main;resize": (30, 10),
        "api_server;main;pad": (20, 0),
        "api_server;main;view": (0, 5),
    }


def test_times_are_per_request() -> None:
    """Three requests of 30 ms each before, one of 10 ms after."""
    diff = _diff(_run({("main",): 30}, requests=3), _run({("main",): 10}))
    assert _paths(diff) == {"api_server;main": (30, 10)}
    assert (diff.before_requests, diff.after_requests) == (3, 1)


def test_the_same_function_of_another_environment_and_process_is_the_same_frame() -> None:
    diff = _diff(_run({("main", "resize"): 4}, "old", pid=7), _run({("main", "resize"): 4}, "new", pid=9))
    assert _paths(diff) == {"api_server;main;resize": (4, 4)}
    assert diff.functions == []
    assert set(diff.files) == {"m/main.py", "m/resize.py", ""}


def test_functions_are_ranked_by_how_much_they_changed() -> None:
    """pad -20, resize -8, view +5; main is never innermost."""
    before = _run({("main", "resize"): 18, ("main", "pad"): 20})
    after = _run({("main", "resize"): 10, ("main", "view"): 5})
    found = [(each.function, each.delta_ns // MS) for each in _diff(before, after).functions]
    assert found == [("pad", -20), ("resize", -8), ("view", 5)]


def test_a_run_without_samples_has_no_difference_to_show() -> None:
    empty = _run({})
    assert flame_diff(empty, _run({("main",): 1})) is None


def test_every_stage_is_a_view_and_the_first_holds_all_of_them(tmp_path: Path) -> None:
    """The synthetic run against itself: all before times equal all after times, and stages add up."""
    folder = write_synthetic_run(tmp_path / "run")
    tables = {name: read_table(folder, name) for name in ("processes", "samples", "stacks", "frames")}
    run = SampledRun(
        [r for r in read_breakdown(folder).requests if r.phase == Phase.PROFILED],
        read_processes(tables["processes"]),
        tables["samples"],
        read_stacks(tables["stacks"], tables["frames"]),
    )
    diff = _diff(run, run)
    assert all(view.before_ns == view.after_ns for view in diff.views)
    assert {view.key for view in diff.views} >= {"critical", "stage:image_transform", "stage:vision_encoder"}
    whole, *stages = (sum(view.before_ns) for view in diff.views)
    assert whole == pytest.approx(sum(stages), abs=len(diff.parent) * len(stages))
    assert np.all(np.array(diff.parent[1:]) < np.arange(1, len(diff.parent)))
