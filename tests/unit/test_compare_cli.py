"""`vlmprof compare`: what it prints, what it writes, and its exit codes."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.unit.synthetic_ab_run import AbRun, write_ab_run, write_plain_run
from vlmprof.cli.compare_markdown import render_markdown
from vlmprof.cli.compare_render import print_comparison
from vlmprof.cli.main import app
from vlmprof.errors import FileUnreadable, RegressionFound, UsageError
from vlmprof.model.comparison import Verdict, read_comparison
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import read_table, write_table
from vlmprof.model.tables import SCHEMAS
from vlmprof.session.compare import compare_folders

HOSTILE = "</script><img src=x onerror=alert(1)>|`[x](javascript:1)`\x1b[31m\u202e\n# head"


@pytest.fixture(scope="module")
def ab_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four rounds, and results beside them once a test has compared them."""
    return write_ab_run(tmp_path_factory.mktemp("compare") / "ab", AbRun(rounds=4)).path


def _invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["compare", *arguments], catch_exceptions=False)
    return result.stdout


def test_the_verdict_and_every_metric_are_printed(ab_run: Path) -> None:
    text = _invoke(str(ab_run))
    assert "B is faster: TTFT " in text
    for name in ("TTFT p50", "TTFT p99", "end to end p50", "TPOT p50", "tokens/s p50", "image transform"):
        assert name in text
    assert "one server, 4 rounds, paired by image size" in text
    assert "recipes: none → 1,10" in text


def test_results_stand_beside_the_run_or_where_they_are_wanted(ab_run: Path, tmp_path: Path) -> None:
    _invoke(str(ab_run))
    assert read_comparison(RunFolder(ab_run)).comparisons[0].verdict == Verdict.FASTER
    _invoke(str(ab_run), "--out", str(tmp_path / "elsewhere"))
    elsewhere = RunFolder(tmp_path / "elsewhere")
    assert read_comparison(elsewhere) == read_comparison(RunFolder(ab_run))
    assert (elsewhere.path / "comparison.md").read_text().startswith("### ✅ B is faster")


def test_json_is_one_document_with_everything(ab_run: Path) -> None:
    document = json.loads(_invoke(str(ab_run), "--json", "--gate", "ttft_p50<+50%"))
    assert document["comparisons"][0]["verdict"] == "faster"
    assert document["gates"][0]["outcome"] == "passed"
    assert document["schema_version"] == 1


def test_a_violated_gate_is_a_regression_after_everything_is_written(
    ab_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """B saves a tenth of the TTFT, so a bound of -50% is violated."""
    with pytest.raises(RegressionFound, match=re.escape("ttft_p50<-50% is violated for B")) as found:
        _invoke(str(ab_run), "--gate", "ttft_p50<-50%", "--out", str(tmp_path))
    assert found.value.exit_code == 1
    assert read_comparison(RunFolder(tmp_path)).gates[0].gate == "ttft_p50<-50%"


def test_an_undecided_gate_passes_aloud_unless_it_is_strict(ab_run: Path, tmp_path: Path) -> None:
    """The bound is the measured change itself, which lies inside its interval."""
    _invoke(str(ab_run), "--out", str(tmp_path))
    change = read_comparison(RunFolder(tmp_path)).comparisons[0].metrics[0]
    assert change.ratio is not None
    gate = f"ttft_p50<{100 * (change.ratio - 1):.4f}%"
    shown = _invoke(str(ab_run), "--gate", gate, "--out", str(tmp_path))
    assert "undecided: the interval straddles the bound" in " ".join(shown.split())
    with pytest.raises(RegressionFound, match="is undecided for B"):
        _invoke(str(ab_run), "--gate", gate, "--strict", "--out", str(tmp_path))


def test_a_gate_on_what_was_not_measured_is_a_wrong_use(tmp_path: Path) -> None:
    """Requests of one token have no time per output token: results are written, and the build does not pass."""
    run = write_ab_run(tmp_path / "run", AbRun(rounds=3))
    rows = [row | {"output_tokens": 1} for row in read_table(run, "requests").to_pylist()]
    write_table(run, "requests", pa.Table.from_pylist(rows, schema=SCHEMAS["requests"]))
    with pytest.raises(UsageError, match="tpot_p50<5% is not measured for B: no request of one side"):
        _invoke(str(run.path), "--gate", "tpot_p50<5%", "--gate", "ttft_p50<50%", "--markdown")
    assert read_comparison(run).gates[0].measured is None
    assert (
        "| `tpot_p50<5%` | B | – | – | ❌ not measured: no request"
        in (run.path / "comparison.md").read_text()
    )
    assert '"outcome":"not measured"' in (run.path / "comparison.html").read_text()
    with pytest.raises(RegressionFound, match="ttft_p50<-50% is violated"):
        _invoke(str(run.path), "--gate", "tpot_p50<5%", "--gate", "ttft_p50<-50%")


def test_what_is_no_gate_is_refused_before_a_run_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no gate"):
        _invoke(str(tmp_path / "nowhere"), "--gate", "ttft")
    with pytest.raises(FileUnreadable, match="is no run folder"):
        _invoke(str(tmp_path / "nowhere"))


def test_several_trials_are_a_row_each(tmp_path: Path) -> None:
    arms = {"A": {}, "A2": {}, "+1": {"image_transform": 0.5}, "+1,10": {"*": 0.5}}
    text = _invoke(str(write_ab_run(tmp_path / "run", AbRun(arms=arms)).path))
    rows = [line.split() for line in text.splitlines() if line.strip().startswith(("A ", "+1"))]
    assert [row[0] for row in rows] == ["A", "+1", "+1,10"]
    assert [row[-1] for row in rows] == ["baseline", "faster", "faster"]


def test_a_long_list_of_recipes_costs_no_verdict_its_room(tmp_path: Path) -> None:
    """At 80 columns arms and verdicts stand whole; end to end and tokens/s are those that give way."""
    arms = {"A": {}, "A2": {}, "+1,3,6,8": {}, "+1,3,6,8,10,11,13": {"image_transform": 0.5}}
    result = compare_folders([write_ab_run(tmp_path / "run", AbRun(arms=arms))])
    console = Console(record=True, width=80, file=(tmp_path / "out").open("w"))
    print_comparison(result, console)
    rows = [line.split() for line in console.export_text().splitlines() if line.strip().startswith("+1")]
    assert [row[0] for row in rows] == ["+1,3,6,8", "+1,3,6,8,10,1…"]
    assert [row[-1] for row in rows] == [each.verdict.split()[-1] for each in result.comparisons]


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    """No control reaches the terminal, no markup of any kind reaches Markdown."""
    runs = [
        write_plain_run(tmp_path / name, AbRun(arms={"A": {}}, rounds=3, seed=seed, hostile=HOSTILE))
        for seed, name in enumerate(("a", "b"))
    ]
    result = compare_folders(runs)
    console = Console(record=True, width=120, file=(tmp_path / "out").open("w"))
    print_comparison(result, console)
    shown = console.export_text()
    assert not {"\x1b", "\u202e"} & set(shown)
    markdown = render_markdown(result)
    assert not re.search(r"(?<!\\)<(?!details>|summary>|/details>|/summary>)", markdown)
    assert "\n# head" not in markdown
    assert "\x1b" not in markdown


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_line_is_wider_than_the_terminal(ab_run: Path, width: int, tmp_path: Path) -> None:
    console = Console(record=True, width=width, file=(tmp_path / "out").open("w"))
    print_comparison(compare_folders([RunFolder(ab_run)]), console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert any("TTFT p50" in line and line.rstrip().endswith("faster") for line in lines)
    assert any("image transform" in line and line.rstrip().endswith("faster") for line in lines)
    assert any(line.rstrip().endswith("no difference") for line in lines)
