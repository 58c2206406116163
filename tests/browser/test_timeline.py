"""The timeline, the orders of the flame graph and links to both, in a real browser."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pyarrow as pa
import pytest

from tests.browser.conftest import Opened, Reports
from tests.browser.traced_run import KERNELS, write_traced_run
from vlmprof.model.results import RequestBreakdown, SegmentResult, read_breakdown, read_summary
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import read_table, write_table

pytestmark = pytest.mark.browser

HEADER, LANE = 26, 16
REQUEST_LANE, STAGE_LANE = HEADER + LANE // 2, HEADER + LANE + LANE // 2
HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=2'>"
    '<a href="javascript:window.hacked=3">a</a>"\'`${window.hacked=4}' + "x" * 3000
)


@pytest.fixture(scope="module")
def traced_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_traced_run(tmp_path_factory.mktemp("timeline") / "run")


@dataclass
class Timeline:
    """The timeline of an open report: where times are on its canvas, and what it says of itself."""

    opened: Opened
    folder: RunFolder

    @property
    def origin_ns(self) -> int:
        """The earliest start of any table."""
        names = ("samples", "spans", "gpu_kernels", "gpu_copies", "cuda_api")
        starts = [min(read_table(self.folder, name)["start_ns"].to_pylist()) for name in names]
        return int(min(*starts, *read_table(self.folder, "requests")["sent_ns"].to_pylist()))

    def says(self, name: str) -> str:
        value = self.opened.page.locator("#timeline").get_attribute(f"data-{name}")
        assert value is not None
        return value

    def wait_for(self, name: str, value: str) -> None:
        self.opened.page.wait_for_selector(f"#timeline[data-{name}='{value}']", state="attached")

    def window(self) -> tuple[float, float]:
        return float(self.says("from")), float(self.says("to"))

    def x(self, time_ns: int) -> float:
        """Where a time of the session clock is on the page."""
        start, end = self.window()
        box = self.box()
        return box["x"] + (time_ns - self.origin_ns - start) / (end - start) * box["width"]

    def box(self) -> dict[str, float]:
        box = self.opened.page.locator(".trace-canvas").bounding_box()
        assert box is not None
        return {"x": box["x"], "y": box["y"], "width": box["width"]}

    def click(self, time_ns: int, y: float) -> None:
        self.opened.page.mouse.click(self.x(time_ns), self.box()["y"] + y)

    def move(self, time_ns: int, y: float) -> None:
        self.opened.page.mouse.move(self.x(time_ns), self.box()["y"] + y)

    def settle(self) -> None:
        """Until the frame after the next one: what an event changed has been drawn then."""
        self.opened.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )


@pytest.fixture
def timeline(reports: Reports, traced_run: RunFolder) -> Iterator[Timeline]:
    opened = reports.open(traced_run)
    opened.page.locator("#timeline").evaluate("element => element.scrollIntoView()")
    yield Timeline(opened, traced_run)
    opened.check()
    opened.page.close()


def _requests(folder: RunFolder) -> list[RequestBreakdown]:
    return read_breakdown(folder).requests


def _segment(request: RequestBreakdown, stage: str) -> SegmentResult:
    return next(segment for segment in request.segments if segment.stage == stage)


def _middle(segment: SegmentResult) -> int:
    return (segment.start_ns + segment.end_ns) // 2


def test_a_click_selects_the_stage_under_it_and_enter_zooms_to_it(timeline: Timeline) -> None:
    """The encoder of the fourth request: its name, then a window that it nearly fills."""
    segment = _segment(_requests(timeline.folder)[3], "vision_encoder")
    timeline.click(_middle(segment), STAGE_LANE)
    timeline.wait_for("selected", "vision encoder")
    assert "vision encoder" in timeline.opened.page.locator(".trace-details").inner_text()
    timeline.opened.page.keyboard.press("Enter")
    start, end = timeline.window()
    length = segment.end_ns - segment.start_ns
    assert end - start == pytest.approx(1.3 * length, rel=0.01)
    assert start < segment.start_ns - timeline.origin_ns < segment.end_ns - timeline.origin_ns < end


def test_the_wheel_zooms_where_the_pointer_is(timeline: Timeline) -> None:
    """What was below the pointer still is; the window is a fraction of what it was."""
    before = timeline.window()
    time_ns = _middle(_segment(_requests(timeline.folder)[5], "prefill"))
    x = timeline.x(time_ns)
    timeline.opened.page.mouse.move(x, timeline.box()["y"] + STAGE_LANE)
    timeline.opened.page.keyboard.down("Control")
    for _ in range(4):
        timeline.opened.page.mouse.wheel(0, -100)
    timeline.opened.page.keyboard.up("Control")
    timeline.settle()
    after = timeline.window()
    assert after[1] - after[0] < 0.5 * (before[1] - before[0])
    assert timeline.x(time_ns) == pytest.approx(x, abs=2)


def test_w_a_s_d_zoom_and_move(timeline: Timeline) -> None:
    """W makes the window shorter, S longer, D later, A earlier."""
    page = timeline.opened.page
    page.locator(".trace-canvas").focus()
    lengths, starts = [], []
    for key in "wwdas":
        page.keyboard.press(key)
        start, end = timeline.window()
        lengths.append(end - start)
        starts.append(start)
    assert lengths[0] > lengths[1] == pytest.approx(lengths[2]) == pytest.approx(lengths[3])
    assert lengths[4] == pytest.approx(lengths[0], rel=0.01)
    assert starts[2] > starts[1] == pytest.approx(starts[3], abs=2)


def test_a_drag_moves_the_window_by_its_distance(timeline: Timeline) -> None:
    """200 pixels to the left: the window is 200 pixels' worth of time later."""
    page, box = timeline.opened.page, timeline.box()
    page.locator(".trace-canvas").focus()
    page.keyboard.press("w")
    before = timeline.window()
    page.mouse.move(box["x"] + 500, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 60, steps=4)
    page.mouse.up()
    after = timeline.window()
    moved = 200 / box["width"] * (before[1] - before[0])
    assert after[0] - before[0] == pytest.approx(moved, rel=0.02)
    assert timeline.says("selected") == ""


def test_a_range_shows_the_totals_that_the_tables_have(timeline: Timeline) -> None:
    """Shift and drag over two requests: samples and kernels in it add up to what numpy finds."""
    requests, page = _requests(timeline.folder), timeline.opened.page
    page.keyboard.down("Shift")
    timeline.move(requests[3].sent_ns, 60)
    page.mouse.down()
    timeline.move(requests[5].sent_ns, 60)
    page.mouse.up()
    page.keyboard.up("Shift")
    timeline.wait_for("range", timeline.says("range"))
    start, end = (int(part) + timeline.origin_ns for part in timeline.says("range").split("-"))
    page.wait_for_selector(f".trace-range[data-ready='{timeline.says('range')}']", state="attached")
    sampled = int(page.locator(".trace-range").get_attribute("data-sampled-ns") or 0)
    assert sampled == pytest.approx(_overlap(timeline.folder, "samples", start, end), abs=200)
    row = page.locator(".trace-range tr", has_text="gemm_layer_1").first.inner_text()
    assert str(2 * KERNELS // 4) in row
    assert page.locator(".trace-range canvas").is_visible()


def _overlap(folder: RunFolder, name: str, start_ns: int, end_ns: int) -> int:
    table = read_table(folder, name)
    starts = table["start_ns"].to_numpy()
    ends = starts + table["duration_ns"].to_numpy()
    return int(np.clip(np.minimum(ends, end_ns) - np.maximum(starts, start_ns), 0, None).sum())


def test_search_goes_from_occurrence_to_occurrence_and_back(timeline: Timeline) -> None:
    """The kernel's second occurrence is after its first; the one before the second is the first."""
    page = timeline.opened.page
    page.locator(".trace-canvas").focus()
    page.keyboard.press("/")
    page.keyboard.type("gemm_layer_2")
    assert page.locator("#trace-matches").inner_text() == "1 name"
    kernels = read_table(timeline.folder, "gpu_kernels").to_pylist()
    starts = [k["start_ns"] - timeline.origin_ns for k in kernels if k["name"] == "gemm_layer_2"]
    seen: list[int] = []
    for key in ("Enter", "Enter", "Shift+Enter"):
        page.keyboard.press(key)
        seen.append(_selected_start(timeline, {*starts}, seen[-1:]))
    assert seen == [starts[0], starts[1], starts[0]]
    assert timeline.says("selected") == "gemm_layer_2"


def _selected_start(timeline: Timeline, starts: set[int], before: list[int]) -> int:
    """The start of what is selected, once it is another one than before; the link names it."""
    page = timeline.opened.page
    seen = f",{before[0]}" if before else ",none"
    page.wait_for_url(lambda url: "slice=" in url and not _slice_of(url).endswith(seen))
    start = int(_slice_of(page.url).split(",")[2])
    assert start in starts
    return start


def _slice_of(url: str) -> str:
    return parse_qs(url.partition("?")[2])["slice"][0]


def test_measuring_snaps_to_the_edges_of_a_slice(timeline: Timeline) -> None:
    """M next to both ends of a stage measures its length to the nanosecond."""
    segment = _segment(_requests(timeline.folder)[3], "vision_encoder")
    timeline.click(_middle(segment), STAGE_LANE)
    page = timeline.opened.page
    page.keyboard.press("Enter")
    timeline.settle()
    reach = int(0.003 * (segment.end_ns - segment.start_ns))
    for time_ns in (segment.start_ns + reach, segment.end_ns - reach):
        timeline.move(time_ns, STAGE_LANE)
        page.keyboard.press("m")
    assert int(timeline.says("measured")) == segment.end_ns - segment.start_ns
    page.keyboard.press("Escape")
    assert timeline.says("measured") == ""


def test_a_launch_leads_to_its_kernel(timeline: Timeline) -> None:
    """The first CUDA call found by name: its kernel is named, and a button goes there."""
    page = timeline.opened.page
    page.get_by_label("search the timeline").fill("cudaLaunchKernel")
    page.keyboard.press("Enter")
    timeline.wait_for("selected", "cudaLaunchKernel")
    page.get_by_role("button", name="Go to the kernel").wait_for()
    box = timeline.box()
    start, end = timeline.window()
    call = read_table(timeline.folder, "cuda_api").to_pylist()[1]
    middle = call["start_ns"] + 2_500 - timeline.origin_ns
    assert start < middle < end
    page.locator(".trace-canvas").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    timeline.settle()
    assert box["width"] > 0
    page.get_by_role("button", name="Zoom to it").click()
    timeline.settle()
    _click_selected(timeline, middle)
    page.get_by_role("button", name="Go to the kernel").click()
    timeline.wait_for("selected", "gemm_layer_1")


def _click_selected(timeline: Timeline, middle_ns: int) -> None:
    """Clicks the lane of the worker's calls, which is the only one of its title."""
    label = timeline.opened.page.locator(".track-label", has_text="CUDA API").bounding_box()
    assert label is not None
    timeline.opened.page.mouse.click(timeline.x(middle_ns + timeline.origin_ns), label["y"] + 8)


def test_keys_walk_from_slice_to_slice(timeline: Timeline) -> None:
    """From a stage to the next one, and up to the request that it is of."""
    request = _requests(timeline.folder)[3]
    timeline.click(_middle(_segment(request, "vision_encoder")), STAGE_LANE)
    order = [segment.stage for segment in request.segments]
    after = order[order.index("vision_encoder") + 1]
    page = timeline.opened.page
    page.keyboard.press("ArrowRight")
    labels = {stage.stage: stage.label for stage in read_summary(timeline.folder).stages}
    timeline.wait_for("selected", labels[after])
    page.keyboard.press("ArrowUp")
    timeline.wait_for("selected", request.id)


def test_groups_and_deep_tracks_fold(timeline: Timeline) -> None:
    """A group's button hides its tracks and says so."""
    page = timeline.opened.page
    tracks = page.locator(".track-label")
    count = tracks.count()
    button = page.get_by_role("button", name="worker 0 (4243)")
    button.click()
    assert page.get_by_role("button", name="worker 0 (4243)").get_attribute("aria-expanded") == "false"
    assert tracks.count() < count
    button.click()
    assert tracks.count() == count


def test_evidence_of_a_suggestion_leads_to_its_function(timeline: Timeline) -> None:
    """The hottest function of the image transform is selected, in a window around it."""
    page = timeline.opened.page
    hot = read_summary(timeline.folder).hot_by_stage["image_transform"][0]
    page.locator("#suggestions .evidence button").first.click()
    timeline.wait_for("selected", hot.function)
    start, end = timeline.window()
    assert end - start < read_summary(timeline.folder).ttft.p50_ns * 12  # type: ignore[union-attr]


def test_a_stage_of_the_waterfall_leads_to_the_timeline(timeline: Timeline) -> None:
    """Prefill, as the critical path of the first request has it."""
    page = timeline.opened.page
    row = page.locator(".row.stage[data-stage=prefill]")
    row.get_by_role("button").click()
    page.get_by_role("button", name="prefill in the timeline").click()
    timeline.wait_for("selected", "prefill")


def test_a_link_shows_the_same_window_selection_and_range(timeline: Timeline, reports: Reports) -> None:
    """What "Copy link" leaves in the address, opened in another page."""
    page = timeline.opened.page
    segment = _segment(_requests(timeline.folder)[3], "vision_encoder")
    timeline.click(_middle(segment), STAGE_LANE)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Select its range").click()
    page.locator("#timeline").get_by_role("button", name="Copy link").click()
    page.wait_for_url(re.compile("range="))
    url = page.url
    names = ("from", "to", "selected", "range")
    wanted = {name: timeline.says(name) for name in names}
    other = reports.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    other.goto(url)
    other.wait_for_selector(f"#timeline[data-range='{wanted['range']}']", state="attached")
    shown = {name: other.locator("#timeline").get_attribute(f"data-{name}") for name in names}
    other.close()
    assert shown == wanted


def test_requests_of_the_flame_graph_add_up_to_all_of_them(timeline: Timeline) -> None:
    """Each sampled request alone, in one stage and in all: together the view's total."""
    page = timeline.opened.page
    for view in ("critical", "stage:image_transform"):
        page.get_by_label("what the flame graph shows").select_option(view)
        whole = int(timeline.opened.flame("total-ns"))
        total = 0
        choice = page.get_by_label("of which requests")
        ids = choice.locator("option").evaluate_all("options => options.map((o) => o.value).filter(Boolean)")
        for request in ids:
            choice.select_option(request)
            page.wait_for_selector(f"#flame canvas[data-request='{request}']", state="attached")
            total += int(timeline.opened.flame("total-ns"))
        choice.select_option("")
        assert total == whole
    assert len(ids) == 6


def test_every_order_of_the_flame_graph_holds_the_same_time(timeline: Timeline) -> None:
    """Left-heavy, in time order and inverted; the sandwich holds its function's total."""
    page = timeline.opened.page
    whole = timeline.opened.flame("total-ns")
    for mode in ("time", "inverted", "heavy"):
        page.get_by_label("order", exact=True).select_option(mode)
        assert timeline.opened.flame("total-ns") == whole
    summary = read_summary(timeline.folder)
    page.get_by_label("order", exact=True).select_option("sandwich")
    canvases = page.locator("#flame canvas")
    assert canvases.count() == 2
    named = canvases.last.get_attribute("data-named")
    function = next(hot for hot in summary.hot if hot.function == named)
    assert summary.split is not None
    total = int(canvases.last.get_attribute("data-total-ns") or 0)
    assert total / summary.split.requests == pytest.approx(function.total_ns, abs=1)


def test_kernels_are_leaves_of_a_flame_graph_of_their_own(timeline: Timeline) -> None:
    """Its total is the summed time of all kernels."""
    timeline.opened.page.get_by_label("what the flame graph shows").select_option("gpu")
    kernels = read_table(timeline.folder, "gpu_kernels")
    total = (kernels["end_ns"].to_numpy() - kernels["start_ns"].to_numpy()).sum()
    assert int(timeline.opened.flame("total-ns")) == total


def test_hostile_names_are_text_in_the_timeline_too(reports: Reports, tmp_path: Path) -> None:
    """Spans, calls, kernels, copies, functions, suggestions: hovered, clicked, searched, added up."""
    opened = reports.open(write_traced_run(tmp_path / "run", HOSTILE))
    page = opened.page
    page.locator("#timeline").evaluate("element => element.scrollIntoView()")
    box = page.locator(".trace-canvas").bounding_box()
    assert box is not None
    for y in range(30, int(box["height"]) - 10, 24):
        page.mouse.move(box["x"] + box["width"] * 0.31, box["y"] + y)
    page.mouse.click(box["x"] + box["width"] * 0.31, box["y"] + STAGE_LANE)
    page.get_by_label("search the timeline").fill("script")
    page.keyboard.press("Enter")
    page.wait_for_selector("#timeline:not([data-selected=''])", state="attached")
    page.get_by_role("button", name="Select its range").click()
    page.wait_for_selector(".trace-range table", state="attached")
    page.locator("#suggestions .evidence button").first.click()
    page.wait_for_url(re.compile("#timeline"))
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, iframe, object, embed, form, a[href^='javascript']").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    opened.check()
    page.close()


def test_a_link_shows_the_same_flame_graph(timeline: Timeline, reports: Reports) -> None:
    """View, order, search and the frame that was zoomed to, opened in another page."""
    page = timeline.opened.page
    page.get_by_label("what the flame graph shows").select_option("stage:vision_encoder")
    page.get_by_label("order", exact=True).select_option("time")
    page.locator("#flame").get_by_label("search").fill("apply")
    canvas = page.locator("#flame canvas")
    canvas.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "Enter"):
        canvas.press(key)
    page.locator("#flame").get_by_role("button", name="Copy link").click()
    page.wait_for_url(re.compile("frame="))
    names = ("view", "mode", "focus", "matches", "total-ns")
    wanted = {name: timeline.opened.flame(name) for name in names}
    other = reports.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    other.goto(page.url)
    other.wait_for_selector(f"#flame canvas[data-focus='{wanted['focus']}']", state="attached")
    shown = {name: other.locator("#flame canvas").get_attribute(f"data-{name}") for name in names}
    other.close()
    assert shown == wanted
    assert wanted["focus"] != "all"


def test_a_long_table_begins_short_and_sorts_filters_and_shows_all_of_its_rows(
    reports: Reports, tmp_path: Path
) -> None:
    """Kernels of 100 names: 50 rows, the last by name on top, the one that is looked for, all."""
    folder = write_traced_run(tmp_path / "run")
    kernels = read_table(folder, "gpu_kernels")
    names = pa.array([f"kernel_{number % 100:03d}" for number in range(kernels.num_rows)])
    place = kernels.schema.get_field_index("name")
    write_table(folder, "gpu_kernels", kernels.set_column(place, "name", names).cast(kernels.schema))
    opened = reports.open(folder)
    table = opened.page.locator("#gpu .table").first
    rows = table.locator("tbody tr")
    assert rows.count() == 50
    head = table.locator("th button").first
    head.click()
    head.click()
    assert "kernel_099" in rows.first.inner_text()
    table.get_by_label("filter").fill("kernel_007")
    assert rows.count() == 1
    table.get_by_label("filter").fill("")
    table.get_by_role("button", name="Show all 100").click()
    assert rows.count() == 100
    opened.check()
    opened.page.close()


def test_a_function_of_the_table_leads_to_its_callers_and_callees(timeline: Timeline) -> None:
    """The hottest one: the sandwich is of it, and as long as its total time."""
    page = timeline.opened.page
    summary = read_summary(timeline.folder)
    page.locator("#functions tbody button").first.click()
    page.wait_for_selector("#flame canvas[data-mode=sandwich]", state="attached")
    callees = page.locator("#flame canvas").last
    assert callees.get_attribute("data-named") == summary.hot[0].function
    assert summary.split is not None
    total = int(callees.get_attribute("data-total-ns") or 0)
    assert total / summary.split.requests == pytest.approx(summary.hot[0].total_ns, abs=1)
