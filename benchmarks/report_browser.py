"""Pages in a real Chromium: when they paint and answer, how long their frames take, what memory they hold."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Frames as fast as they come: a screen's 60 Hz would round each up to 16.7 ms.
FLAGS = (
    "--no-sandbox",
    "--disable-frame-rate-limit",
    "--disable-gpu-vsync",
    "--enable-precise-memory-info",
)
SOFTWARE = ("--disable-gpu",)
SWIFTSHADER = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
"""WebGL without a GPU."""
STEPS = 240
ZOOMED_IN = 20
"""Steps of zooming in before panning: to about a fortieth of the capture, a few screens of which are passed."""
QUIET_MS = 1500
READY_S = 300

_WATCH = """
window.longTasks = [];
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) window.longTasks.push(task.startTime + task.duration);
}).observe({ type: "longtask", buffered: true });
const look = () => {
  if (window.readyAt === undefined && (IS_READY)) requestAnimationFrame(() => (window.readyAt = performance.now()));
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
_FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
_FRAMES = """
async ({ selector, kind, steps, at }) => {
  const target = document.querySelector(selector);
  const box = target.getBoundingClientRect();
  const place = { clientX: box.left + box.width * at, clientY: box.top + Math.min(200, box.height / 2) };
  const frames = [];
  let last = await new Promise(requestAnimationFrame);
  for (let step = 0; step < steps; step++) {
    const back = step % 80 >= 40;
    const wheel = kind === "zoom" ? { deltaY: back ? 60 : -60, ctrlKey: true } : { deltaX: back ? -90 : 90 };
    target.dispatchEvent(new WheelEvent("wheel", { bubbles: true, cancelable: true, ...place, ...wheel }));
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
  }
  return frames;
}
"""


@dataclass(frozen=True, slots=True)
class Viewer:
    """How a page says that it shows its data, where it takes the wheel, and what it needs of the browser."""

    name: str
    ready: str
    canvas: str
    flags: tuple[str, ...]


OURS = Viewer("vlmprof", "document.documentElement.dataset.ready", ".trace-canvas", SOFTWARE)
SPEEDSCOPE = Viewer(
    "speedscope", "document.title.endsWith(' - speedscope')", "canvas:last-of-type", SWIFTSHADER
)


@dataclass(frozen=True, slots=True)
class PageFigures:
    """One page: times in ms since navigation began, memory of its renderer process in bytes."""

    viewer: str
    browser: str
    first_paint_ms: float
    ready_ms: float
    interactive_ms: float
    zoom_median_ms: float
    zoom_p95_ms: float
    pan_median_ms: float
    pan_p95_ms: float
    script_heap_bytes: int
    renderer_bytes: int
    browser_bytes: int


def measure_page(url: str, viewer: Viewer, times: int = 1) -> dict[str, Any]:
    """Open a page so many times, each in a fresh browser: the median of each figure.

    Interactive is when it shows its data and the last long task after that has ended.
    """
    measured = [asdict(_measured_once(url, viewer)) for _ in range(times)]
    return {
        key: value if isinstance(value, str) else statistics.median(each[key] for each in measured)
        for key, value in measured[0].items()
    }


def _measured_once(url: str, viewer: Viewer) -> PageFigures:
    """Open a page, wait until it is still, zoom in and out of it, pan in the midst of it."""
    with _browser(viewer) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(300_000)
        page.add_init_script(_WATCH.replace("IS_READY", viewer.ready))
        page.goto(url)
        _wait_until_ready(page)
        page.wait_for_timeout(QUIET_MS)
        ready_ms = page.evaluate("window.readyAt")
        interactive_ms = max([ready_ms, *page.evaluate("window.longTasks")])
        page.locator(viewer.canvas).first.scroll_into_view_if_needed()
        _wait_until_still(page)
        zoom = _frames(page, viewer, "zoom")
        _frames(page, viewer, "zoom", ZOOMED_IN)
        _wait_until_still(page)
        pan = _frames(page, viewer, "pan")
        return PageFigures(
            viewer=viewer.name,
            browser=f"Chromium {browser.version}",
            first_paint_ms=page.evaluate(_FIRST_PAINT),
            ready_ms=ready_ms,
            interactive_ms=interactive_ms,
            zoom_median_ms=statistics.median(zoom),
            zoom_p95_ms=_p95(zoom),
            pan_median_ms=statistics.median(pan),
            pan_p95_ms=_p95(pan),
            script_heap_bytes=page.evaluate("performance.memory.usedJSHeapSize"),
            **_memory(),
        )


@contextmanager
def _browser(viewer: Viewer) -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=[*FLAGS, *viewer.flags])
        yield browser
        browser.close()


def _wait_until_ready(page: "Page") -> None:
    # Not wait_for_function: it evaluates text in the page, which the report's policy forbids.
    deadline = time.monotonic() + READY_S
    while page.evaluate("window.readyAt === undefined"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{page.url} was not ready after {READY_S} s")
        page.wait_for_timeout(50)


def _wait_until_still(page: "Page") -> None:
    """Until no long task has ended for a while: what comes into sight may be drawn only then."""
    for _ in range(READY_S):
        page.wait_for_timeout(QUIET_MS)
        if page.evaluate("performance.now() - Math.max(0, ...window.longTasks)") > QUIET_MS:
            return


def _frames(page: "Page", viewer: Viewer, kind: str, steps: int = STEPS) -> list[float]:
    """Times between frames in ms, with one turn of the wheel in each."""
    options = {"selector": viewer.canvas, "kind": kind, "steps": steps, "at": 0.5}
    frames: list[float] = page.evaluate(_FRAMES, options)
    return frames


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * len(values))]


def _memory() -> dict[str, int]:
    """Proportional memory of the browser among this process's children: of its largest renderer, and of it all."""
    renderers, whole = [0], 0
    for process in psutil.Process().children(recursive=True):
        try:
            command, size = process.cmdline(), process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if "chrom" in process.name():
            whole += size
        if "--type=renderer" in command:
            renderers.append(size)
    return {"renderer_bytes": max(renderers), "browser_bytes": whole}
