"""Take the README's pictures from the sample reports: python examples/pictures.py [REPORTS] [PICTURES].

Needs Chromium and the Python package playwright, as the tests of the reports do.
"""

import argparse
import base64
import gzip
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

WIDTH, HEIGHT = 1280, 800
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
# Of the window, what each picture shows: the report, where it is scrolled to, and how high the picture is.
PICTURES = {
    "waterfall": ("run.html", "", 800),
    "flame": ("run.html", "flame", 760),
    "comparison": ("comparison.html", "", 800),
    "differential": ("comparison.html", "flame", 640),
    "ladder": ("ladder.html", "", 800),
}
MARGIN_NS = 12_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", type=Path, nargs="?", default=Path("examples/reports"))
    parser.add_argument("pictures", type=Path, nargs="?", default=Path("docs/images"))
    arguments = parser.parse_args()
    arguments.pictures.mkdir(parents=True, exist_ok=True)
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=list(FLAGS))
        for name, (report, section, height) in PICTURES.items():
            page = opened(browser, arguments.reports / report, f"#{section}")
            save(page, arguments.pictures / f"{name}.webp", height)
        run = arguments.reports / "run.html"
        save(opened(browser, run, timeline_of_a_request(run)), arguments.pictures / "timeline.webp", 800)
        browser.close()


def opened(browser: Browser, report: Path, fragment: str) -> Page:
    """A report at one of its places, with all its charts."""
    page = browser.new_page(
        viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light", reduced_motion="reduce"
    )
    page.goto(report.resolve().as_uri() + fragment)
    page.wait_for_selector("html[data-ready]", state="attached")
    page.evaluate("document.getElementById('requests')?.scrollIntoView()")
    page.wait_for_selector("html[data-ready=charts]", state="attached")
    section = fragment[1:].partition("?")[0]
    page.evaluate("id => id ? document.getElementById(id).scrollIntoView() : scrollTo(0, 0)", section)
    page.wait_for_timeout(1500)
    return page


def save(page: Page, path: Path, height: int) -> None:
    shown = page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
    Image.open(io.BytesIO(shown)).save(path, quality=82, method=6)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    page.close()


def timeline_of_a_request(report: Path) -> str:
    """The address of the timeline around a usual request among those that were sampled."""
    requests = [each for each in details_of(report)["lanes"]["requests"] if each["phase"] == "profiled"]
    usual = sorted(requests, key=lambda request: int(request["ttft_ns"]))[len(requests) // 2]
    start_ns, end_ns = usual["sent_ns"] - MARGIN_NS, usual["sent_ns"] + usual["ttft_ns"] + MARGIN_NS
    return f"#timeline?from={start_ns}&to={end_ns}"


def details_of(report: Path) -> dict[str, Any]:
    """What a report carries compressed."""
    found = re.search(r'id="details">([^<]*)<', report.read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit(f"{report} is no report of vlmprof")
    details: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return details


if __name__ == "__main__":
    main()
