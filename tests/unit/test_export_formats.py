"""Every writer's file is read back, by this project's readers or by the format's own package."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent

from tests.unit.mojo_reference import frame, header, refs, stack, string, time_us
from tests.unit.perfetto_slices import packets_of, slices_of
from tests.unit.synthetic_run import write_empty_run, write_synthetic_run
from vlmprof.errors import FileUnreadable
from vlmprof.export.timeline import Timeline
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import read_table, write_table
from vlmprof.model.tables import SCHEMAS
from vlmprof.read.collapsed import read_collapsed
from vlmprof.read.kineto import read_kineto
from vlmprof.read.speedscope import read_speedscope
from vlmprof.session.export_run import export_run
from vlmprof.session.import_files import import_files

_MS = 1_000_000
_START_NS = 5_000 * _MS


def _rows(table: str, /, **columns: list[Any]) -> Any:
    schema = SCHEMAS[table]
    count = len(next(iter(columns.values())))
    given = {column: columns.get(column, [None] * count) for column in schema.names}
    return pa.table({column: pa.array(given[column], schema.field(column).type) for column in schema.names})


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with samples, to which spans, two launches, their kernel and copy are added, in process 4243."""
    folder = write_synthetic_run(tmp_path / "run")
    at = _START_NS
    tables = {
        "spans": _rows(
            "spans",
            pid=[4243] * 3,
            tid=[4243] * 3,
            name=["worker.forward", "layer", "worker.sample"],
            request_ids=[["a", "b"], [], []],
            start_ns=[at, at + 10, at + 200],
            end_ns=[at + 100, at + 90, at + 300],
            depth=[0, 1, 0],
        ),
        "cuda_api": _rows(
            "cuda_api",
            pid=[4243] * 2,
            tid=[4243] * 2,
            name=["cudaLaunchKernel", "cudaMemcpyAsync"],
            start_ns=[at + 20, at + 40],
            end_ns=[at + 30, at + 50],
            correlation_id=[7, 8],
        ),
        "gpu_kernels": _rows(
            "gpu_kernels",
            pid=[4243] * 2,
            device=[0, 0],
            stream=[7, 9],
            start_ns=[at + 60, at + 65],
            end_ns=[at + 80, at + 70],
            name=["gemm", "rotary"],
            correlation_id=[7, 0],
            graph_node_id=[None, 3],
        ),
        "gpu_copies": _rows(
            "gpu_copies",
            pid=[4243],
            device=[0],
            stream=[7],
            start_ns=[at + 81],
            end_ns=[at + 95],
            kind=["HtoD"],
            size_bytes=[4096],
            source_memory=["pageable"],
            target_memory=["device"],
            correlation_id=[8],
        ),
    }
    for name, table in tables.items():
        write_table(folder, name, table)
    return folder


def test_perfettos_own_package_reads_the_same_slices_back(run: RunFolder) -> None:
    """Three spans, two calls, two kernels and a copy, each with its start and end."""
    packets = packets_of(export_run(run, "perfetto"))
    tables = [read_table(run, name) for name in ("spans", "cuda_api", "gpu_kernels")]
    expected = [
        (row["name"], row["start_ns"], row["end_ns"]) for table in tables for row in table.to_pylist()
    ]
    expected += [("HtoD", _START_NS + 81, _START_NS + 95)]
    assert slices_of(packets) == sorted(expected)


def test_perfetto_leads_from_launch_to_kernel(run: RunFolder) -> None:
    """Correlations 7 and 8 are a flow each, which begins once and ends once; 0 is none."""
    packets = packets_of(export_run(run, "perfetto"))
    begun = [flow for packet in packets for flow in packet.track_event.flow_ids]
    ended = [flow for packet in packets for flow in packet.track_event.terminating_flow_ids]
    assert len(begun) == 2
    assert sorted(begun) == sorted(ended)


def test_perfetto_counts_the_kernels_that_run(run: RunFolder) -> None:
    """One from 60, two from 65, one from 70, none from 80."""
    packets = packets_of(export_run(run, "perfetto"))
    counters = [packet for packet in packets if packet.track_event.type == TrackEvent.TYPE_COUNTER]
    values = [(packet.timestamp - _START_NS, packet.track_event.counter_value) for packet in counters]
    assert values == [(60, 1), (65, 2), (70, 1), (80, 0)]


def test_perfetto_holds_every_sample_with_its_stack(run: RunFolder) -> None:
    """Thread, time of the sample, and function names from the root to the leaf."""
    packets = packets_of(export_run(run, "perfetto"))
    (data,) = (packet.interned_data for packet in packets if packet.interned_data.callstacks)
    functions = {each.iid: each.str.decode() for each in data.function_names}
    frames = {each.iid: functions[each.function_name_id] for each in data.frames}
    stacks = {each.iid: [frames[frame] for frame in each.frame_ids] for each in data.callstacks}
    found = Counter(
        (each.perf_sample.pid, each.perf_sample.tid, each.timestamp, *stacks[each.perf_sample.callstack_iid])
        for each in packets
        if each.HasField("perf_sample")
    )
    names = {row["frame_id"]: row["function"] for row in read_table(run, "frames").to_pylist()}
    expected_stacks = {
        row["stack_id"]: [names[each] for each in row["frame_ids"]]
        for row in read_table(run, "stacks").to_pylist()
    }
    assert found == Counter(
        (row["pid"], row["tid"], row["start_ns"] + row["duration_ns"], *expected_stacks[row["stack_id"]])
        for row in read_table(run, "samples").to_pylist()
    )


def test_chromes_trace_is_read_back_as_pytorchs(run: RunFolder) -> None:
    """The form is PyTorch's own: its reader gives back kernels, copies, calls and annotations."""
    trace = read_kineto(export_run(run, "chrome"))
    assert trace.gpu.kernels.to_pylist() == read_table(run, "gpu_kernels").to_pylist()
    assert trace.gpu.copies.to_pylist() == read_table(run, "gpu_copies").to_pylist()
    assert trace.gpu.calls.to_pylist() == read_table(run, "cuda_api").to_pylist()
    assert trace.ops["name"].to_pylist() == ["worker.forward", "layer", "worker.sample"]


def test_chromes_samples_and_flows_refer_to_what_is_there(run: RunFolder) -> None:
    """Every sample's leaf and every parent is a frame; two flows start, two end."""
    document = json.loads(export_run(run, "chrome").read_text())
    frames = document["stackFrames"]
    assert len(document["samples"]) == read_table(run, "samples").num_rows
    assert {sample["sf"] for sample in document["samples"]} <= frames.keys()
    assert {frame["parent"] for frame in frames.values() if "parent" in frame} <= frames.keys()
    assert Counter(event["ph"] for event in document["traceEvents"] if event.get("cat") == "ac2g") == {
        "s": 2,
        "f": 2,
    }


def _weights(samples: Any, stacks: Any, frames: Any) -> Counter[tuple[Any, ...]]:
    """Nanoseconds per process, thread and stack."""
    texts = {row["frame_id"]: (row["function"], row["file"], row["line"]) for row in frames.to_pylist()}
    paths = {row["stack_id"]: tuple(texts[each] for each in row["frame_ids"]) for row in stacks.to_pylist()}
    weights: Counter[tuple[Any, ...]] = Counter()
    for row in samples.to_pylist():
        weights[row["pid"], row["tid"], paths[row["stack_id"]]] += row["duration_ns"]
    return weights


def _run_weights(run: RunFolder) -> Counter[tuple[Any, ...]]:
    return _weights(*(read_table(run, name) for name in ("samples", "stacks", "frames")))


def test_collapsed_stacks_keep_the_time_of_every_stack(run: RunFolder) -> None:
    """Samples of 2 ms are whole microseconds: nothing is rounded."""
    trace = read_collapsed(export_run(run, "collapsed"))
    assert _weights(trace.samples, trace.stacks, trace.frames) == _run_weights(run)


def test_speedscope_keeps_every_samples_time(run: RunFolder) -> None:
    """Threads come back as they were; streams are profiles of a thread that no sample has."""
    trace = read_speedscope(export_run(run, "speedscope"))
    threads = trace.samples.filter(pa.compute.greater(trace.samples["pid"], 0))
    found = sorted((row["tid"], row["start_ns"], row["duration_ns"]) for row in threads.to_pylist())
    samples = read_table(run, "samples").to_pylist()
    assert found == sorted((row["tid"], row["start_ns"], row["duration_ns"]) for row in samples)
    names = set(trace.frames["function"].to_pylist())
    assert {"gemm", "rotary"} <= names


def test_a_run_without_samples_has_no_collapsed_stacks(tmp_path: Path) -> None:
    """An empty file would look like a failed export."""
    folder = write_empty_run(tmp_path / "run")
    with pytest.raises(FileUnreadable, match="has no stack samples"):
        export_run(folder, "collapsed")
    assert export_run(folder, "perfetto", tmp_path / "elsewhere" / "trace").exists()


def test_times_before_zero_are_shifted_for_perfetto(run: RunFolder, tmp_path: Path) -> None:
    """A recording that began 50 ns before its own time 0: its first slice is at 0."""
    from vlmprof.export.perfetto import write_perfetto

    spans = _rows(
        "spans", pid=[1], tid=[1], name=["early"], request_ids=[[]], start_ns=[-50], end_ns=[10], depth=[0]
    )
    empty = {name: SCHEMAS[name].empty_table() for name in Timeline.__dataclass_fields__}
    write_perfetto(Timeline(**{**empty, "spans": spans}), tmp_path / "trace")
    assert slices_of(packets_of(tmp_path / "trace")) == [("early", 0, 60)]


def test_a_thread_that_goes_by_a_name_has_a_number_in_perfetto(tmp_path: Path) -> None:
    """Newer austins write names in the place of ids, which get negative numbers here; Perfetto's have no sign."""
    path = tmp_path / "named.mojo"
    sample = stack(5, "Thread-1 (serve)") + string(10, "a.py") + string(20, "outer") + frame(1, 10, 20, 5)
    path.write_bytes(header() + sample + refs(1) + time_us(1500))
    folder = import_files([path], tmp_path / "run")
    (tid,) = read_table(folder, "samples")["tid"].to_pylist()
    assert tid < 0
    packets = packets_of(export_run(folder, "perfetto"))
    (sampled,) = (packet.perf_sample.tid for packet in packets if packet.HasField("perf_sample"))
    threads = {
        packet.track_descriptor.thread.tid for packet in packets if packet.HasField("track_descriptor")
    }
    assert sampled in threads
