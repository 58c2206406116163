"""What is sent: folders with files that are no images, load commands that work, fail or do not exist."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.vlmprof_process import Outcome, assert_refused
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import read_table
from vlmprof.workload.images import generated_images

pytestmark = pytest.mark.e2e

Run = Callable[..., Outcome]

LOAD_UNTIL_SAMPLED = """
import pathlib, sys, time
run, mojo = pathlib.Path(sys.argv[1], "run.json"), pathlib.Path(sys.argv[1], "raw", "austin.mojo")
while "Block 1" not in run.read_text():
    time.sleep(0.1)
if mojo.exists():
    enough, end = mojo.stat().st_size + 100_000, time.monotonic() + 300
    while mojo.stat().st_size < enough and time.monotonic() < end:
        time.sleep(0.1)
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def arguments(fake_model: Path, fake_python: Path, out: Path) -> list[object]:
    """A run of the fake engine that works."""
    return ["run", fake_model, "--python", fake_python, "--out", out, "--requests", 4, "--warmup", 0]


def test_unreadable_images_are_named_and_skipped(
    run_cli: Run, arguments: list[object], out: Path, tmp_path: Path
) -> None:
    """One good JPEG, one of zeros, one cut in half: all four requests carry variants of the good one."""
    images = tmp_path / "images"
    images.mkdir()
    (content,) = [image.content for image in generated_images(1, seed=0)]
    (images / "good.jpg").write_bytes(content)
    (images / "zeros.jpg").write_bytes(bytes(1000))
    (images / "cut.jpg").write_bytes(content[: len(content) // 2])
    outcome = run_cli(*arguments, "--images", images, "--cpu-profiler", "none")
    assert outcome.exit_code == 0, outcome.stderr
    info = RunFolder(out).read_info()
    assert info.workload is not None
    assert [line.partition(":")[0] for line in info.workload.skipped_images] == ["cut.jpg", "zeros.jpg"]
    for name in ("cut.jpg", "zeros.jpg"):
        assert f"skipped image {name}: " in outcome.stderr
        assert outcome.stderr.index(name) < outcome.stderr.index("Starting vLLM")
    carried = read_table(RunFolder(out), "requests")["image_names"].to_pylist()
    assert len(carried) == 4
    assert all(name.startswith("good") for (name,) in carried)


def test_profilers_go_on_and_off_under_a_load_command(
    run_cli: Run, arguments: list[object], out: Path
) -> None:
    """The load ends when the second window, a profiled one, has 100 kB of austin's samples."""
    program = out.with_name("load.py")
    program.write_text(LOAD_UNTIL_SAMPLED)
    outcome = run_cli(*arguments, "--load-cmd", f"{sys.executable} {program} {out}")
    assert outcome.exit_code == 0, outcome.stderr
    info = RunFolder(out).read_info()
    blocks = [step for step in info.steps if step.name.startswith("Block")]
    assert [step.name for step in blocks[:2]] == ["Block 0 (control)", "Block 1 (profiled)"]
    if any(collector.name == "austin" for collector in info.collectors):
        samples = read_table(RunFolder(out), "samples")["start_ns"].to_numpy()
        assert (samples >= blocks[1].start_ns).sum() > 100


def test_a_load_command_that_fails_is_told(run_cli: Run, arguments: list[object], out: Path) -> None:
    """Its exit code and where its output is; the run itself ends well."""
    outcome = run_cli(*arguments, "--cpu-profiler", "none", "--load-cmd", "sh -c 'echo no dataset; exit 3'")
    assert outcome.exit_code == 0, outcome.stderr
    assert "The load command failed: no dataset" in outcome.stderr
    assert any("exit code 3" in warning for warning in RunFolder(out).read_info().warnings)
    assert (out / "raw" / "load.log").read_text() == "no dataset\n"


def test_a_load_command_that_does_not_exist_is_refused_before_the_server_starts(
    run_cli: Run, arguments: list[object], out: Path
) -> None:
    """Exit code 3, at once."""
    assert_refused(
        run_cli(*arguments, "--load-cmd", "no-such-generator {url}"), 3, "no-such-generator", "PATH"
    )
    assert not out.exists()
