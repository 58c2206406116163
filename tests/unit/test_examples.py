"""The examples run on a run folder and say what they promise."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.synthetic_run import write_synthetic_run

EXAMPLES = Path(__file__).parents[2] / "examples"


def output_of(example: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / example), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_run(tmp_path_factory.mktemp("examples") / "run").path


def test_the_slowest_requests_come_first_with_their_stages(run: Path) -> None:
    """Two requests are asked for: two lines with a TTFT, each with three stages under it."""
    lines = output_of("slowest_requests.py", run, "--count", 2).splitlines()
    assert [index for index, line in enumerate(lines) if "TTFT" in line] == [0, 4]
    assert all("more than the median request" in line for line in lines if line.startswith("    "))


def test_functions_of_a_role_are_listed_by_self_time(run: Path) -> None:
    """The numbers in the last column fall from line to line."""
    rows = [line for line in output_of("samples_to_pandas.py", run).splitlines() if line.endswith(" ms")]
    times = [float(row.split()[-2]) for row in rows]
    assert times
    assert times == sorted(times, reverse=True)
