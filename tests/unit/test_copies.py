"""The audit of copies: sizes, memory, rates, and what less copying would do."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.gpu_timeline import Timeline
from tests.unit.shared_data import shared_file
from tests.unit.synthetic_run import synthetic_info
from vlmprof.analysis.copies import copy_groups
from vlmprof.analysis.gpu_tables import GpuTables
from vlmprof.analysis.merge_gpu import merge_gpu
from vlmprof.cli.main import app
from vlmprof.errors import FileUnreadable
from vlmprof.model.gpu_result import Attributed, CopyGroup, GpuResult
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.tables import CUDA_API, GPU_SYNCS, SAMPLES, SPANS
from vlmprof.read.nsys_sqlite import read_gpu
from vlmprof.session.import_files import import_files


def _groups(timeline: Timeline, dtype: str = "") -> list[CopyGroup]:
    gpu = timeline.gpu()
    attribution = merge_gpu(gpu, timeline.span_table(), timeline.sample_table(), {})
    return copy_groups(gpu.copies, attribution, dtype)


def test_small_copies_of_one_span_could_be_one() -> None:
    """Four copies of 100 ns + 1 ns a byte: sizes 100 to 400, 1000 B in 1400 ns; as one 100 + 1000 = 1100 ns.

    1000 bytes of bfloat16 are 500 values, 500 bytes as uint8.
    """
    timeline = Timeline()
    timeline.span("worker.h2d", 0, 50, "a")
    for number, size_bytes in enumerate((100, 200, 300, 400), 1):
        timeline.launch(number, number + 1, number)
        timeline.copy(number * 1000, number * 1000 + 100 + size_bytes, number, size_bytes=size_bytes)
    (group,) = _groups(timeline, "bfloat16")
    assert (group.stage, group.kind, group.pinned, group.copies) == ("h2d", "HtoD", True, 4)
    assert (group.size_bytes, group.copy_ns) == (1000, 1400)
    assert group.bytes_per_s == pytest.approx(1e12 / 1400)
    assert (group.packed_copies, group.packed_ns) == (1, 1100)
    assert (group.dtype, group.uint8_bytes) == ("bfloat16", 500)


def test_memories_directions_and_stages_are_apart() -> None:
    """A pageable and a pinned copy in, one out; only what is in `h2d` are pixels; memsets move nothing."""
    timeline = Timeline()
    timeline.copy(0, 30, 0, source_memory="pageable")
    timeline.copy(40, 60, 0)
    timeline.copy(70, 80, 0, kind="DtoH", source_memory="device", target_memory="pinned")
    timeline.copy(90, 95, 0, kind="Memset", source_memory=None)
    found = [(each.kind, each.pinned, each.packed_copies, each.packed_ns) for each in _groups(timeline)]
    assert found == [("HtoD", False, 1, None), ("HtoD", True, 1, None), ("DtoH", True, 1, None)]
    assert {each.uint8_bytes for each in _groups(timeline, "float32")} == {None}


def test_real_streaming_of_weights_runs_at_the_links_rate() -> None:
    """446 pinned copies of 51 GB onto two H100: each at 27 to 28 GB/s, as sums over the table give it."""
    trace = read_gpu(shared_file("nsys", "cfa580dc"))
    gpu = GpuTables(trace.kernels, trace.copies, CUDA_API.empty_table(), GPU_SYNCS.empty_table())
    attribution = merge_gpu(gpu, SPANS.empty_table(), SAMPLES.empty_table(), {})
    group = copy_groups(gpu.copies, attribution)[0]
    assert (group.kind, group.pinned, group.copies, group.size_bytes) == ("HtoD", True, 446, 50_950_504_448)
    assert 27e9 < group.bytes_per_s < 28e9


def test_the_command_shows_rates_and_what_the_gpu_waited_for(tmp_path: Path) -> None:
    """The same recording: 95% of the time each GPU waits for pinned copies."""
    import_files([shared_file("nsys", "cfa580dc")], tmp_path / "run")
    runner = CliRunner(env={"COLUMNS": "140"})
    shown = runner.invoke(app, ["gpu", str(tmp_path / "run")])
    assert shown.exit_code == 0, shown.output
    for text in ("waits for H2D", "95.0%", "pageable", "27.67"):
        assert text in shown.stdout
    document = json.loads(runner.invoke(app, ["gpu", str(tmp_path / "run"), "--json"]).stdout)
    assert (document["copies"][0]["copies"], len(document["devices"])) == (446, 2)


def test_what_packing_and_uint8_would_do_is_told(tmp_path: Path) -> None:
    """The four copies of above, in a run's results."""
    folder = RunFolder.create(tmp_path / "run")
    folder.write_info(synthetic_info())
    timeline = Timeline()
    timeline.span("worker.h2d", 0, 50, "a")
    for number, size_bytes in enumerate((100, 200, 300, 400), 1):
        timeline.launch(number, number + 1, number)
        timeline.copy(number * 1000, number * 1000 + 100 + size_bytes, number, size_bytes=size_bytes)
    attributed = Attributed(work=4, with_call=4, with_span=4, with_stage=4, with_stack=0)
    copies = _groups(timeline, "bfloat16")
    result = GpuResult(kernels=0, kernel_ns=0, attributed=attributed, devices=[], copies=copies, stages=[])
    folder.write_result("gpu", result)
    shown = CliRunner(env={"COLUMNS": "140"}).invoke(app, ["gpu", str(folder.path)])
    assert (
        "h2d HtoD (pinned): one copy per span would be 1 instead of 4, 1.10 us instead of 1.40 us"
        in shown.stdout
    )
    assert "h2d HtoD (pinned): as uint8 instead of bfloat16 500 B instead of 1.00 kB" in shown.stdout


def test_a_run_without_a_gpu_is_told(tmp_path: Path) -> None:
    """A run of a machine without one."""
    folder = RunFolder.create(tmp_path / "run")
    folder.write_info(synthetic_info())
    result = CliRunner().invoke(app, ["gpu", str(folder.path)])
    assert isinstance(result.exception, FileUnreadable)
    assert "no GPU times" in result.exception.message
