"""The tracks of the report's timeline, its tree of stacks, and its tables of GPU work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.traced_run import KERNELS, write_traced_run
from vlmprof.analysis.hot import critical_time
from vlmprof.analysis.process_table import read_processes
from vlmprof.analysis.stack_table import read_stacks
from vlmprof.model.results import read_breakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.stages import STAGE_IDS
from vlmprof.model.table_io import read_table
from vlmprof_reports import slice_names, tracks
from vlmprof_reports.archive import Archive
from vlmprof_reports.gpu_flames import gpu_flames
from vlmprof_reports.gpu_work import kernel_rows
from vlmprof_reports.sampled_tree import SampledTree, sampled_tree

TRACED = ("requests", "spans", "samples", "cuda_api", "gpu_kernels", "gpu_copies")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_traced_run(tmp_path_factory.mktemp("tracks") / "run")


def _tree(run: RunFolder) -> SampledTree:
    samples, processes = read_table(run, "samples"), read_processes(read_table(run, "processes"))
    stacks = read_stacks(read_table(run, "stacks"), read_table(run, "frames"))
    return sampled_tree(
        samples, stacks, processes, critical_time(read_breakdown(run).requests, samples, stacks)
    )


def _timeline(run: RunFolder) -> dict[str, Any]:
    tables = {name: read_table(run, name) for name in TRACED}
    processes = read_processes(read_table(run, "processes"))
    return tracks.timeline_tracks(tables, read_breakdown(run), processes, _tree(run), Archive())


def _of(timeline: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [track for track in timeline["tracks"] if track["kind"] == kind]


def test_every_table_is_a_kind_of_track_with_its_whole_time(run: RunFolder) -> None:
    """Rows and summed durations of the tracks are those of the tables; small tracks keep each nanosecond."""
    timeline = _timeline(run)
    tables = {"spans": "spans", "calls": "cuda_api", "kernels": "gpu_kernels", "copies": "gpu_copies"}
    for kind, name in tables.items():
        table = read_table(run, name)
        total_ns = int((table["end_ns"].to_numpy() - table["start_ns"].to_numpy()).sum())
        assert sum(track["rows"] for track in _of(timeline, kind)) == table.num_rows
        assert sum(track["total_ns"] for track in _of(timeline, kind)) == total_ns
    sampled_ns = int(read_table(run, "samples")["duration_ns"].to_numpy().sum())
    assert sum(track["total_ns"] for track in _of(timeline, "stacks")) == sampled_ns
    assert {track["unit_ns"] for track in timeline["tracks"]} == {1}


def test_what_is_shown_first_is_the_time_of_the_requests(run: RunFolder) -> None:
    """From the first sending to the last end, counted from the earliest row."""
    timeline, requests = _timeline(run), read_table(run, "requests")
    origin_ns = int(timeline["origin_ns"])
    done_ns = [value for value in requests["done_ns"].to_pylist() if value is not None]
    assert timeline["start_ns"] + origin_ns == min(requests["sent_ns"].to_pylist())
    assert timeline["end_ns"] + origin_ns == max(done_ns)


def test_spans_carry_their_requests_and_their_stages(run: RunFolder) -> None:
    """Twelve requests and the empty set; the span of the transform is of that stage."""
    timeline = _timeline(run)
    assert timeline["request_sets"][0] == []
    assert {ids[0] for ids in timeline["request_sets"][1:]} == {r.id for r in read_breakdown(run).requests}
    place = timeline["names"].index("mm.hf_processor")
    assert STAGE_IDS[timeline["categories"][place]] == "image_transform"


def test_beyond_a_number_of_names_all_share_one(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for twenty names, the rest is called "(other names)"."""
    monkeypatch.setattr(slice_names, "MAX_NAMES", 20)
    names = _timeline(run)["names"]
    assert len(names) == 21
    assert slice_names.OTHER_NAME in names


def test_the_numbers_of_calls_are_left_out_of_names() -> None:
    """As PyTorch's NVTX ranges have them."""
    import pyarrow as pa

    given = pa.array(["aten::mm, op_id = 31, seq = 5", "aten::mm", "a, b"])
    assert slice_names.without_call_numbers(given).to_pylist() == ["aten::mm", "aten::mm", "a, b"]


def test_the_nodes_of_a_subtree_are_numbered_without_a_gap(run: RunFolder) -> None:
    """Parents before children, a subtree's nodes from its own number on, depth one more than the parent's."""
    tree = _tree(run)
    parent, size = tree.trie.parent, tree.size
    for node in range(1, len(parent)):
        above = parent[node]
        assert above < node < above + size[above]
        assert tree.depth[node] == tree.depth[above] + 1
    assert size[0] == len(parent)


def test_siblings_are_in_the_order_in_which_they_were_first_seen(run: RunFolder) -> None:
    """The earliest sample of each subtree, child by child, never goes back."""
    tree = _tree(run)
    first = np.full(len(tree.trie.parent), np.iinfo(np.int64).max)
    np.minimum.at(first, tree.trie.node_of_entry, tree.sampled.first_ns)
    for node in range(len(first) - 1, 0, -1):
        first[tree.trie.parent[node]] = min(first[tree.trie.parent[node]], first[node])
    for above in range(len(first)):
        children = np.flatnonzero(tree.trie.parent == above)
        assert np.all(np.diff(first[children]) >= 0)


def test_kernels_are_leaves_and_hold_all_gpu_time(run: RunFolder) -> None:
    """Nothing was attributed here: each kernel stands below the line that says so."""
    names = ("gpu_kernels", "gpu_attribution", "spans")
    stacks = read_stacks(read_table(run, "stacks"), read_table(run, "frames"))
    processes = read_processes(read_table(run, "processes"))
    flames = gpu_flames({name: read_table(run, name) for name in names}, stacks, processes)
    assert flames is not None
    kernels = read_table(run, "gpu_kernels")
    total_ns = int((kernels["end_ns"].to_numpy() - kernels["start_ns"].to_numpy()).sum())
    assert [view["total_ns"] for view in flames["views"]] == [total_ns]
    leaves = set(range(1, len(flames["parent"]))) - set(flames["parent"])
    assert {flames["files"][flames["name"][leaf]] for leaf in leaves} == {"GPU kernel"}


def test_kernels_of_a_run_without_any_are_no_tree(tmp_path: Path) -> None:
    """And no rows of the table."""
    from tests.unit.synthetic_run import write_synthetic_run

    plain = write_synthetic_run(tmp_path / "run")
    stacks = read_stacks(read_table(plain, "stacks"), read_table(plain, "frames"))
    assert gpu_flames({"gpu_kernels": read_table(plain, "gpu_kernels")}, stacks, {}) is None
    assert kernel_rows(read_table(plain, "gpu_kernels")) == []


def test_the_table_of_kernels_adds_up(run: RunFolder) -> None:
    """Four names, most time first, `KERNELS` for each of twelve requests."""
    rows = kernel_rows(read_table(run, "gpu_kernels"))
    assert [row["family"] for row in rows] == ["gemm"] * 4
    assert sum(row["count"] for row in rows) == 12 * KERNELS
    assert [row["total_ns"] for row in rows] == sorted((row["total_ns"] for row in rows), reverse=True)
