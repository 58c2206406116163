"""The run report in a real browser, opened from disk."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.browser.conftest import Opened, Reports
from tests.browser.traced_run import write_traced_run
from tests.unit.synthetic_run import write_empty_run, write_synthetic_run
from vlmprof.model.results import read_breakdown, read_summary
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import RecipeUse
from vlmprof_reports.portable import portable_files

pytestmark = pytest.mark.browser

HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=2'>"
    '<a href="javascript:window.hacked=3">a</a><!--${window.hacked=4}%{x}\u2028"\'`&lt;🎉漢字' + "x" * 5000
)
BOX_HEIGHT = 20
NAMED = (
    "overview",
    "suggestions",
    "requests",
    "timeline",
    "flame",
    "functions",
    "gpu",
    "processes",
    "quality",
    "environment",
)
"""Sections that show names of the capture."""


def _box(opened: Opened) -> dict[str, float]:
    canvas = opened.page.locator("#flame canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    return {"x": box["x"], "y": box["y"], "width": box["width"]}


def _click_flame(opened: Opened, level: int, at: float) -> None:
    box = _box(opened)
    opened.page.mouse.click(box["x"] + at * box["width"], box["y"] + (level + 0.5) * BOX_HEIGHT)
    opened.settle()


def test_the_numbers_on_the_page_are_those_of_the_results(usual: Opened, usual_run: RunFolder) -> None:
    """TTFT tiles, every stage's total, the flame graph's time, the selected request's TTFT."""
    summary = read_summary(usual_run)
    assert summary.control is not None
    assert summary.split is not None
    tiles = usual.page.locator(".tile .value").all_inner_texts()
    assert tiles[:3] == [
        f"{ns / 1e6:.0f} ms"
        for ns in (summary.control.p50_ns, summary.control.p90_ns, summary.control.p99_ns)
    ]
    shown: dict[str, int] = usual.page.evaluate(
        """() => Object.fromEntries(
          [...document.querySelectorAll("[data-stage]:not([data-stage=''])")]
            .map((row) => [row.dataset.stage, +row.dataset.totalNs])
        )"""
    )
    assert shown == {stage.stage: stage.total_ns for stage in summary.stages}
    assert int(usual.flame("total-ns")) == summary.split.sampled_ns
    ttft_ns = {request.id: request.ttft_ns for request in read_breakdown(usual_run).requests}
    chosen: dict[str, str] = usual.page.evaluate("({...document.getElementById('requests').dataset})")
    assert int(chosen["ttftNs"]) == ttft_ns[chosen["request"]]
    assert usual.page.locator("h1").inner_text() == summary.diagnosis


def test_each_group_is_a_row_as_wide_as_its_share(usual: Opened, usual_run: RunFolder) -> None:
    """The bar of the model's group takes its share of the track, within a pixel."""
    group = max(read_summary(usual_run).groups, key=lambda group: group.share)
    row = usual.page.locator(f".row.group[data-group='{group.group}']")
    track, bar = row.locator(".track").bounding_box(), row.locator(".bar").bounding_box()
    assert track is not None
    assert bar is not None
    assert bar["width"] == pytest.approx(group.share * track["width"], abs=1.5)


def test_a_click_zooms_and_keeps_the_ancestors(usual: Opened) -> None:
    """The encoder's frame fills the width; a click on its caller above zooms out to that."""
    _click_flame(usual, 8, 0.2)
    assert usual.flame("focus") == "Idefics3ForConditionalGeneration.embed_multimodal"
    _click_flame(usual, 8, 0.95)
    assert usual.flame("focus") == "Idefics3ForConditionalGeneration.embed_multimodal"
    _click_flame(usual, 7, 0.95)
    assert usual.flame("focus") == "GPUModelRunner._execute_mm_encoder"
    usual.page.get_by_role("button", name="Reset").click()
    assert usual.flame("focus") == "all"


def test_keys_walk_the_flame_graph(usual: Opened) -> None:
    """Down twice from the root, Enter zooms, Escape resets."""
    canvas = usual.page.locator("#flame canvas")
    canvas.focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        canvas.press(key)
    assert usual.flame("focus") == "<module>"
    canvas.press("ArrowUp")
    canvas.press("ArrowRight")
    canvas.press("Enter")
    assert usual.flame("focus") == "api_server"
    canvas.press("Escape")
    assert usual.flame("focus") == "all"


def test_search_says_how_many_frames_and_what_share(usual: Opened, usual_run: RunFolder) -> None:
    """The hottest function by name: its total time of the sampled time, in every frame it has."""
    summary = read_summary(usual_run)
    assert summary.split is not None
    usual.page.locator("#flame").scroll_into_view_if_needed()
    usual.page.locator("#flame canvas").focus()
    usual.page.keyboard.press("/")
    usual.page.keyboard.type("UnquantizedLinearMethod.apply")
    matched_ns = int(usual.flame("matched-ns"))
    assert matched_ns / summary.split.requests == pytest.approx(summary.hot[0].total_ns, abs=1)
    share = f"{100 * matched_ns / summary.split.sampled_ns:.1f}%"
    assert usual.page.locator("#flame-matches").inner_text() == f"{usual.flame('matches')} frames, {share}"
    usual.page.keyboard.press("Escape")
    assert usual.page.locator("#flame-matches").inner_text() == ""


def test_hovering_a_frame_tells_its_times(usual: Opened) -> None:
    """Name, file, total, self and share in the tooltip; gone when the pointer leaves."""
    box = _box(usual)
    usual.page.mouse.move(box["x"] + 100, box["y"] + 9.5 * BOX_HEIGHT)
    usual.settle()
    text = usual.page.locator("#tooltip").inner_text()
    assert "Idefics3Model.image_pixels_to_features" in text
    assert "vllm/model_executor/models/idefics3.py" in text
    assert "per request" in text
    usual.page.mouse.move(5, 5)
    usual.settle()
    assert usual.page.locator("#tooltip").is_hidden()


def test_a_stage_opens_its_functions_and_its_flame_graph(usual: Opened) -> None:
    """Image transform: its hottest function in the list, its view below."""
    row = usual.page.locator(".row.stage[data-stage=image_transform]")
    row.get_by_role("button").click()
    inside = row.locator("xpath=following-sibling::*[1]")
    assert "SmolVLMImageProcessor.pad" in inside.inner_text()
    inside.get_by_role("button", name="Flame graph of image transform").click()
    assert usual.flame("view") == "stage:image_transform"


def test_every_view_of_the_flame_graph_shows_its_whole_time(usual: Opened) -> None:
    """With waiting shown, the root of each view holds the view's total; hidden, never more."""
    views = usual.page.locator("#flame select[aria-label^=what] option").evaluate_all(
        "options => options.map(o => o.value)"
    )
    assert {"critical", "all", "pid:4101", "tid:4160", "stage:prefill"} <= set(views)
    for view in views:
        usual.page.get_by_label("what the flame graph shows").select_option(view)
        waiting = usual.page.locator("#flame input[type=checkbox]")
        if waiting.is_visible():
            assert int(usual.flame("total-ns")) < int(usual.flame("view-ns"))
            waiting.uncheck()
        assert usual.flame("total-ns") == usual.flame("view-ns")
        if waiting.is_visible():
            waiting.check()


def test_requests_are_chosen_by_arrows_by_list_and_by_a_click_on_their_bar(usual: Opened) -> None:
    """Next from the list's third is the fourth; the first bar is the first request."""
    requests = usual.page.locator("#requests")
    usual.page.get_by_label("request", exact=True).select_option(index=2)
    assert requests.get_attribute("data-request") == "req-002"
    usual.page.get_by_label("next request").click()
    assert requests.get_attribute("data-request") == "req-003"
    usual.page.locator("#request-bars").scroll_into_view_if_needed()
    plot = usual.page.locator("#request-bars .nsewdrag").first.bounding_box()
    assert plot is not None
    usual.page.mouse.click(plot["x"] + plot["width"] / 24, plot["y"] + plot["height"] * 0.9)
    usual.settle()
    assert requests.get_attribute("data-request") == "req-000"


def test_the_lanes_of_a_request_hold_all_of_its_time(usual: Opened) -> None:
    """The bars of plotly's own data add up to the TTFT and reach from 0 to it."""
    drawn: dict[str, Any] = usual.page.evaluate(
        """() => {
          const traces = document.getElementById("request-lanes").data;
          const bars = traces.flatMap((trace) => trace.x.map((x, i) => [x, trace.base[i] + x]));
          return {
            sum: bars.reduce((sum, [x]) => sum + x, 0),
            end: Math.max(...bars.map(([, end]) => end)),
          };
        }"""
    )
    ttft_ms = int(usual.page.locator("#requests").get_attribute("data-ttft-ns") or 0) / 1e6
    assert drawn["sum"] == pytest.approx(ttft_ms)
    assert drawn["end"] == pytest.approx(ttft_ms)


def test_tables_sort_and_filter(usual: Opened) -> None:
    """Functions by name; requests filtered to the one that failed."""
    usual.page.locator("#functions th button", has_text="function").click()
    names = usual.page.locator("#functions td:first-child").all_inner_texts()
    assert names == sorted(names, key=str.lower)
    usual.page.locator("#requests summary").click()
    usual.page.locator("#requests").get_by_label("filter").fill("too large")
    visible = usual.page.locator("#requests tbody tr:visible")
    assert visible.count() == 1
    assert "req-refused" in visible.inner_text()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1920, 1080)])
def test_the_page_fits_the_screen_in_both_themes(
    reports: Reports, usual_run: RunFolder, width: int, height: int, dark: bool
) -> None:
    """No sideways scrolling; ink and ground follow the theme."""
    opened = reports.open(usual_run, width=width, height=height, dark=dark)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in ground.removeprefix("rgb(").rstrip(")").split(","))
    assert (brightness < 3 * 60) is dark
    opened.check()
    opened.page.close()


def test_hostile_names_are_text_everywhere_and_nothing_of_them_runs(reports: Reports, tmp_path: Path) -> None:
    """Every name, path, cause, label and note of the capture is an attack, 5,000 characters long."""
    opened = reports.open(write_traced_run(tmp_path / "run", hostile=HOSTILE))
    page = opened.page
    for button in page.locator("button.disclose").all():
        button.click()
    page.locator("#requests summary").click()
    for view in page.locator("#flame select[aria-label^=what] option").evaluate_all(
        "options => options.map(o => o.value)"
    ):
        page.get_by_label("what the flame graph shows").select_option(view)
    box = _box(opened)
    for level in range(0, 14, 3):
        page.mouse.move(box["x"] + 60, box["y"] + (level + 0.5) * BOX_HEIGHT)
    page.locator("#request-lanes").scroll_into_view_if_needed()
    lanes = page.locator("#request-lanes").bounding_box()
    assert lanes is not None
    for step in range(1, 12):
        page.mouse.move(lanes["x"] + lanes["width"] * (0.2 + 0.06 * step), lanes["y"] + lanes["height"] - 90)
    opened.settle()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, iframe, object, embed, form, a[href^='javascript']").count() == 0
    assert page.locator("script").count() == 2
    shown = {part: page.locator(f"#{part}").inner_text() for part in NAMED}
    assert [part for part, text in shown.items() if "<img src=x onerror='window.hacked=2'>" not in text] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    opened.check()
    page.close()


def test_the_policy_stops_what_the_page_itself_would_never_do(reports: Reports, usual_run: RunFolder) -> None:
    """A script that is not listed, an inline handler and a fetch are all refused."""
    opened = reports.open(usual_run)
    outcome = opened.page.evaluate(
        """async () => {
          const script = document.createElement("script");
          script.textContent = "window.hacked = 1";
          document.body.append(script);
          const button = document.createElement("button");
          button.setAttribute("onclick", "window.hacked = 2");
          document.body.append(button);
          button.click();
          const fetched = await fetch("https://example.invalid/").then(() => true, () => false);
          return {hacked: window.hacked ?? null, fetched};
        }"""
    )
    opened.page.wait_for_function("window.refused.length >= 3")
    refused: list[str] = opened.page.evaluate("window.refused")
    assert outcome["hacked"] is None
    assert outcome["fetched"] is False
    assert refused.count("inline") == 2
    assert any("example.invalid" in place for place in refused)
    opened.page.close()


def test_a_recipe_that_gave_way_says_so_and_why(reports: Reports, tmp_path: Path) -> None:
    """Beside its calls, among the facts of the run."""
    folder = write_synthetic_run(tmp_path / "run")
    use = RecipeUse(
        number=1, slug="reduce", calls={"api_server": 9}, failures=2, gave_way=3, reasons=["videos", "arrays"]
    )
    folder.write_info(msgspec.structs.replace(folder.read_info(), recipes=[use]))
    opened = reports.open(folder)
    text = opened.page.locator("#environment").inner_text()
    assert "api_server: 9 calls, failed in 2, gave way in 3 (videos; arrays)" in text
    opened.check()
    opened.page.close()


def test_a_run_without_requests_says_what_happened(reports: Reports, tmp_path: Path) -> None:
    """The engine died: its error on top, no charts, no errors."""
    opened = reports.open(write_empty_run(tmp_path / "run"))
    text = opened.page.locator("main").inner_text()
    assert "the engine died" in text
    assert "No request got a first token." in text
    assert "No stacks were sampled in this run." in text
    opened.check()
    opened.page.close()


def test_a_page_whose_charts_are_damaged_still_shows_the_rest(reports: Reports, tmp_path: Path) -> None:
    """Plotly's block is cut short: overview, waterfall and flame graph stand, and a line says what is wrong."""
    opened = reports.open(write_synthetic_run(tmp_path / "run"), edit=_without_plotly)
    assert "Not all of this report could be drawn" in opened.page.locator("p.failure").inner_text()
    assert opened.page.locator("#flame canvas").is_visible()
    assert opened.page.locator(".row.stage").count() > 20
    assert opened.errors != []
    opened.page.close()


def _without_plotly(text: str) -> str:
    return re.sub(r'(<script type="application/octet-stream" id="plotly">)[^<]*', r"\1H4sIAAAA", text)


def test_the_summary_in_the_page_is_valid_json_of_the_results(usual: Opened, usual_run: RunFolder) -> None:
    """What a script of the reader's own would find in the page's data block; paths are portable there."""
    text = usual.page.locator("#data").text_content()
    assert text is not None
    summary = json.loads((usual_run.results / "summary.json").read_bytes())
    assert json.loads(text)["summary"] == portable_files(summary)
    assert "/lib/python3" not in text.replace("…/lib/python3", "")
