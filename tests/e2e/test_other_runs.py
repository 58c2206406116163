"""Runs of the real vLLM in other ways: four at a time, under other profilers, under a load of the user's own."""

import json
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ENGINE_ARGS
from tests.e2e.vlmprof_process import Outcome
from tests.unit.native_program import compile_native
from vlmprof.collect.austin import find_austin
from vlmprof.collect.nsys_report import find_importer, find_nsys
from vlmprof.errors import ToolMissing
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import CollectorInfo, RunInfo
from vlmprof.model.table_io import read_table
from vlmprof.workload.images import generated_images

pytestmark = pytest.mark.e2e

Run = Callable[..., Outcome]

_REPOSITORY = Path(__file__).parents[2]
_IMAGES = _REPOSITORY.parent / "shared" / "data" / "images"
_AUSTIN_4 = Path(os.environ.get("VLMPROF_AUSTIN_4", _REPOSITORY / ".cache" / "austin-4.0.0" / "austin"))
_SECRET = "not-for-anybodys-eyes-5f0c"

LOAD_PROGRAM = """
import base64, json, os, pathlib, sys, urllib.request

for path in sorted(pathlib.Path(sys.argv[2]).iterdir()):
    data = base64.b64encode(path.read_bytes()).decode()
    image = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64," + data}}
    content = [image, {"type": "text", "text": path.name}]
    body = {"model": sys.argv[1], "messages": [{"role": "user", "content": content}], "stream": True}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        json.dumps(body | {"max_tokens": 8}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as reply:
        print(path.name, len(reply.read()))
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


def _breakdown(folder: Path) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = json.loads((folder / "results" / "breakdown.json").read_bytes())[
        "requests"
    ]
    return requests


def _assert_attributed(requests: list[dict[str, Any]]) -> None:
    """Exact sums; at most 1% unattributed in the median request, 3% in the worst."""
    for request in requests:
        assert sum(request["stages"].values()) + request["unattributed_ns"] == request["ttft_ns"]
    shares = [request["unattributed_ns"] / request["ttft_ns"] for request in requests]
    assert statistics.median(shares) <= 0.01
    assert max(shares) <= 0.03


def _collector(info: RunInfo, kind: str) -> CollectorInfo:
    return next(collector for collector in info.collectors if collector.kind == kind)


def test_four_at_a_time_with_real_images_under_austin_4(run_cli: Run, checkpoint: Path, out: Path) -> None:
    """Requests wait for one another and are still attributed; one JSON document on stdout.

    Where there are no real images or no austin 4, generated ones and the installed austin do.
    """
    images = ["--images", _IMAGES] if _IMAGES.is_dir() else []
    austin = ["--austin", _AUSTIN_4] if _runs(_AUSTIN_4) else []
    load = ["--concurrency", 4, "--requests", 16, "--warmup", 4]
    outcome = run_cli("run", checkpoint, "--out", out, *load, *images, *austin, "--json", *ENGINE_ARGS)
    assert outcome.exit_code == 0, outcome.stderr
    document = json.loads(outcome.stdout)
    assert document["run"] == str(out)
    assert document["summary"]["control"]["requests"] == 8
    breakdown = _breakdown(out)
    assert len(breakdown) == 16
    _assert_attributed(breakdown)
    waits = ("queue", "pool_wait", "event_loop_wait")
    assert sum(request["stages"].get(stage, 0) for request in breakdown for stage in waits) > 0
    info = RunFolder(out).read_info()
    assert info.cache_policy is not None
    assert info.cache_policy.counters["mm_cache_hits"] == 0
    if austin:
        assert _collector(info, "cpu").version.startswith("4.")
        assert read_table(RunFolder(out), "samples").num_rows > 1000


def _runs(program: Path) -> bool:
    try:
        find_austin(program)
    except ToolMissing:
        return False
    return True


@pytest.mark.nsys
def test_nsys_and_py_spy_record_beside_one_another(run_cli: Run, checkpoint: Path, out: Path) -> None:
    """nsys is within 1 ms of the spans by their own NVTX ranges, above which a run warns; no secret is kept."""
    try:
        found = find_importer(find_nsys())
    except ToolMissing as missing:
        pytest.skip(f"{missing.message}: {missing.hint}")
    if found is None:
        pytest.skip("nsys has no importer: apt-get install nsight-systems")
    profilers = ["--gpu-profiler", "nsys", "--cpu-profiler", "py-spy"]
    outcome = run_cli(
        *("run", checkpoint, "--out", out, "--requests", 10, "--warmup", 2, *profilers, *ENGINE_ARGS),
        environment={"VLMPROF_TEST_API_KEY": _SECRET},
    )
    assert outcome.exit_code == 0, outcome.stderr
    info = RunFolder(out).read_info()
    for kind in ("cpu", "gpu"):
        assert (_collector(info, kind).state, _collector(info, kind).detail) == ("ok", "")
    (nsys,) = [clock for clock in info.clocks if clock.source == "nsys"]
    assert nsys.witness_count > 50
    assert nsys.witness_p95_ns is not None
    assert nsys.witness_p95_ns < 1_000_000
    assert any(clock.source.startswith("py-spy:") for clock in info.clocks)
    assert read_table(RunFolder(out), "samples").num_rows > 100
    assert len(list((out / "raw").glob("nsys.*.sqlite"))) == 1
    for path in out.rglob("*"):
        assert not (path.is_file() and _SECRET.encode() in path.read_bytes()), path
    _assert_attributed(_breakdown(out))


def test_a_load_command_without_permission_to_sample_still_gives_the_whole_waterfall(
    run_cli: Run, checkpoint: Path, out: Path, tmp_path: Path
) -> None:
    """Spans alone; 12 requests of a program of the user's own, timed at the server.

    process_vm_readv is denied to vlmprof and all below it, as in a container without SYS_PTRACE.
    """
    deny = compile_native("deny", tmp_path)
    images, program = tmp_path / "images", tmp_path / "load.py"
    images.mkdir()
    for image in generated_images(12, seed=1):
        (images / image.info.name).write_bytes(image.content)
    program.write_text(LOAD_PROGRAM)
    load = ["--load-cmd", f"{sys.executable} {program} {{model}} {images}"]
    outcome = run_cli("run", checkpoint, "--out", out, *load, *ENGINE_ARGS, under=[deny])
    assert outcome.exit_code == 0, outcome.stderr
    assert "spans alone give the whole waterfall" in outcome.stderr
    info = RunFolder(out).read_info()
    assert _collector(info, "cpu").state == "off"
    assert info.workload is not None
    assert info.workload.load_command == load[1]
    assert (out / "raw" / "load.log").read_text().count("generated-1-") == 12
    breakdown = _breakdown(out)
    assert len(breakdown) == 12
    _assert_attributed(breakdown)
    for stage in ("image_decode", "image_transform", "ipc_transfer", "vision_encoder", "prefill"):
        assert all(request["stages"][stage] > 0 for request in breakdown)
    assert "vision encoder" in outcome.stdout
