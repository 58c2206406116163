"""The comparison report in a real browser, opened from disk."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from tests.browser.conftest import WATCH, Opened, Reports
from tests.browser.test_run_report import HOSTILE
from tests.unit.synthetic_ab_run import AbRun, write_ab_run, write_plain_run
from tests.unit.synthetic_run import write_synthetic_run
from vlmprof.analysis.compare_gates import check_gate, parse_gate
from vlmprof.model.comparison import ComparisonResult, FirstDifference, OutputEquality
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import write_table
from vlmprof.model.tables import SCHEMAS
from vlmprof.session.compare import compare_folders
from vlmprof_reports.comparison import render

pytestmark = pytest.mark.browser
READY = "html[data-ready=charts], p.failure"


def open_page(reports: Reports, path: Path, html: str) -> Opened:
    """Write a page, open it from disk, and wait until it has drawn what it can."""
    path.write_text(html, encoding="utf-8")
    page = reports.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    opened = Opened(page)
    page.add_init_script(WATCH)
    page.on("pageerror", lambda error: opened.errors.append(str(error)))
    page.on("request", lambda request: opened.requested.append(request.url))
    page.on(
        "console",
        lambda message: opened.errors.append(message.text) if message.type in {"error", "warning"} else None,
    )
    page.goto(path.as_uri())
    page.wait_for_selector(READY, state="attached")
    return opened


def _open(reports: Reports, folders: Sequence[RunFolder], result: ComparisonResult) -> Opened:
    return open_page(reports, folders[-1].path / "comparison.html", render(folders, result))


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A ladder of two steps; not to be changed."""
    arms = {"A": {}, "A2": {}, "+1": {"image_transform": 0.5}, "+1,10": {"*": 0.5}}
    return write_ab_run(tmp_path_factory.mktemp("ladder") / "run", AbRun(arms=arms, rounds=4))


def test_the_numbers_on_the_page_are_those_of_the_result(reports: Reports, ladder: RunFolder) -> None:
    """The sentence, the change of every tile, and a row for every stage with its verdict."""
    result = compare_folders([ladder])
    comparison = result.comparisons[0]
    opened = _open(reports, [ladder], result)
    assert opened.page.locator("h1").inner_text() == comparison.sentence
    ratio = comparison.metrics[0].ratio
    assert ratio is not None
    shown = opened.page.locator("[data-metric=ttft_p50] .value").inner_text()
    assert shown == f"−{100 * (1 - ratio):.1f}%"
    verdicts: dict[str, str] = opened.page.evaluate(
        """() => Object.fromEntries(
          [...document.querySelectorAll(".compared .row[data-metric]")]
            .map((row) => [row.dataset.metric, row.dataset.verdict])
        )"""
    )
    own = {part.metric: part.verdict.value for part in comparison.parts}
    assert verdicts == {metric: own[metric] for metric in verdicts}
    assert set(own) - set(verdicts) <= {"stage.unattributed"}
    opened.check()


def test_both_bars_of_a_stage_are_as_wide_as_its_means(reports: Reports, ladder: RunFolder) -> None:
    """Half the transform: its lower bar is half as wide as the upper one, within noise and a pixel."""
    opened = _open(reports, [ladder], compare_folders([ladder]))
    row = opened.page.locator(".row[data-metric='stage.image_transform']")
    before, after = row.locator(".bar.before").bounding_box(), row.locator(".bar.after").bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] / before["width"] == pytest.approx(0.5, abs=0.1)
    opened.check()


def test_another_trial_is_shown_when_it_is_chosen(reports: Reports, ladder: RunFolder) -> None:
    result = compare_folders([ladder])
    opened = _open(reports, [ladder], result)
    trials = opened.page.locator("button.trial")
    assert trials.count() == 2
    trials.nth(1).click()
    assert opened.page.locator("h1").inner_text() == result.comparisons[1].sentence
    assert trials.nth(1).get_attribute("aria-pressed") == "true"
    assert opened.page.locator("#ttft .js-plotly-plot").count() == 2
    opened.check()


def test_small_stages_appear_when_they_are_wanted(reports: Reports, ladder: RunFolder) -> None:
    opened = _open(reports, [ladder], compare_folders([ladder]))
    row = opened.page.locator(".row[data-metric='stage.detokenize']")
    assert not row.is_visible()
    opened.page.get_by_label("hide small stages that did not change").uncheck()
    assert row.is_visible()
    opened.check()


def test_the_differential_flame_graph_zooms_searches_and_changes_its_widths(
    reports: Reports, tmp_path: Path
) -> None:
    """Two runs of which both were sampled: totals per request, a found frame, and a stage of its own."""
    runs = [write_synthetic_run(tmp_path / name, requests=count) for name, count in (("a", 12), ("b", 24))]
    opened = _open(reports, runs, compare_folders(runs))
    page = opened.page
    before_ns = int(opened.flame("before-ns"))
    page.locator("#flame input[type=search]").first.fill("linear.py")
    found = page.locator("#flame output").inner_text()
    assert re.fullmatch(r"\d+ frames, \d.* ms → \d.* ms", found)
    canvas = page.locator("#flame canvas")
    canvas.focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        canvas.press(key)
    assert opened.flame("focus") == "<module>"
    canvas.press("Escape")
    assert opened.flame("focus") == "all"
    page.get_by_label("stage", exact=True).select_option("stage:image_transform")
    assert 0 < int(opened.flame("before-ns")) < before_ns
    page.get_by_label("widths").select_option("after")
    assert page.locator("#flame details tbody tr").count() > 0
    opened.check()


def test_kernels_stand_side_by_side(reports: Reports, tmp_path: Path) -> None:
    """A layer of four kernels; after, its norm and activation are one fused kernel of another name."""
    before = ("qkv_gemm", "fmha", "rms_norm", "silu", HOSTILE)
    runs = [write_synthetic_run(tmp_path / name) for name in ("a", "b")]
    for run, layer in zip(runs, (before, (*before[:2], "silu_norm_fused", HOSTILE)), strict=True):
        write_table(run, "gpu_kernels", pa.Table.from_pylist(_kernels(layer), schema=SCHEMAS["gpu_kernels"]))
    opened = _open(reports, runs, compare_folders(runs))
    section = opened.page.locator("#kernels")
    told = {row.split("\t")[0]: row for row in section.locator("tbody tr").all_inner_texts()}
    assert told["rms_norm"].strip().endswith("vanished")
    assert told["silu_norm_fused"].strip().endswith("new")
    assert not told["qkv_gemm"].strip().endswith(("vanished", "new"))
    assert opened.page.evaluate("window.hacked") is None
    opened.check()


def _kernels(layer: Sequence[str], layers: int = 12) -> list[dict[str, object]]:
    """Kernels of 10 us, one after the other on one stream."""
    return [
        {
            "pid": 7,
            "device": 0,
            "stream": 7,
            "start_ns": 10_000 * number,
            "end_ns": 10_000 * (number + 1),
            "name": layer[number % len(layer)],
            "correlation_id": number,
            "graph_node_id": None,
        }
        for number in range(layers * len(layer))
    ]


def test_gates_warnings_and_differences_are_told(reports: Reports, tmp_path: Path) -> None:
    runs = [
        write_plain_run(tmp_path / name, AbRun(arms={"A": {}}, rounds=4, seed=seed, name=name, level=level))
        for name, seed, level in (("one", 1, 1.0), ("two", 2, 1.5))
    ]
    result = compare_folders(runs)
    gates = [
        check_gate(parse_gate(text), result.comparisons[0]) for text in ("ttft_p50<+5%", "ttft_p99<+90%")
    ]
    lost = msgspec.structs.replace(result.comparisons[0], metrics=result.comparisons[0].metrics[:1])
    gates.append(check_gate(parse_gate("tpot_p50<5%"), lost))
    opened = _open(reports, runs, ComparisonResult(comparisons=result.comparisons, gates=gates))
    told = opened.page.locator(".gates li").all_inner_texts()
    assert "violated" in told[0]
    assert "undecided: 20 requests of a side are too few to tell p99" in told[1]
    assert "not measured: no request of one side" in told[2]
    assert told[2].endswith("–")
    assert "two servers started alike" in opened.page.locator(".warnings").inner_text()
    assert "20 of 20 requests" in opened.page.locator("#outputs").inner_text()
    assert "the same" in opened.page.locator("#environment .note").inner_text()
    opened.check()


def test_hostile_names_are_only_text(reports: Reports, tmp_path: Path) -> None:
    """Every name, recipe set, image, text and package of two runs holds markup; nothing of it runs."""
    runs = [
        write_synthetic_run(tmp_path / name, requests=count, hostile=HOSTILE)
        for name, count in (("a", 12), ("b", 24))
    ]
    arms = write_ab_run(tmp_path / "arms", AbRun(rounds=3, hostile=HOSTILE))
    for folders in (runs, [arms]):
        opened = _open(reports, folders, _with_different_texts(compare_folders(folders)))
        assert opened.page.evaluate("window.hacked") is None
        assert opened.page.locator("main img, main a[href^=javascript]").count() == 0
        shown = {part: opened.page.locator(f"#{part}").inner_text() for part in ("overview", "outputs")}
        assert [part for part, text in shown.items() if "</script>" not in text] == []
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 1280
        opened.check()


def _with_different_texts(result: ComparisonResult) -> ComparisonResult:
    """The first comparison with one pair of requests whose texts differ."""
    first = FirstDifference(
        image=HOSTILE,
        baseline_request=HOSTILE,
        trial_request=HOSTILE,
        at=3,
        baseline_text=HOSTILE,
        trial_text=HOSTILE,
    )
    outputs = OutputEquality(compared=1, equal=0, first_difference=first)
    comparison, *others = result.comparisons
    comparison = msgspec.structs.replace(comparison, outputs=outputs)
    return msgspec.structs.replace(result, comparisons=[comparison, *others])


def test_a_damaged_file_says_so(reports: Reports, ladder: RunFolder) -> None:
    """Without its compressed part the verdict still stands, and the page says what is missing."""
    path = ladder.path / "damaged.html"
    page = render([ladder], compare_folders([ladder]))
    path.write_text(re.sub(r'id="details">[^<]{40}', 'id="details">', page), encoding="utf-8")
    browser = reports.new_page()
    browser.goto(path.as_uri())
    browser.wait_for_selector("p.failure")
    assert "Not all of this report could be drawn" in browser.locator("p.failure").inner_text()
    assert browser.locator("h1").is_visible()
    browser.close()
