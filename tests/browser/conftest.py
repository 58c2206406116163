"""A real browser: Debian's Chromium, driven by Playwright, without its own download."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.synthetic_run import write_synthetic_run
from vlmprof.model.run_folder import RunFolder
from vlmprof_reports.run import render

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Playwright itself starts the browser headless, with a new empty profile.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT_MS = 180_000
FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
FONTS = Path(__file__).parent / "fonts.conf"
WATCH = """
window.refused = [];
document.addEventListener("securitypolicyviolation", (event) => window.refused.push(event.blockedURI));
"""


@dataclass
class Opened:
    """A report in the browser and what went wrong in it."""

    page: "Page"
    errors: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def check(self) -> None:
        """No error on the console, no exception, nothing asked of any place but the file itself."""
        assert self.errors == []
        assert [url for url in self.requested if not url.startswith(("file:", "data:", "blob:"))] == []
        assert self.page.evaluate("window.refused") == []

    def settle(self) -> None:
        """Wait until what the last input changed is drawn: the frame after the next one has begun."""
        self.page.evaluate(
            "() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
        )

    def flame(self, name: str) -> str:
        """What the flame graph says about itself."""
        value = self.page.locator("#flame canvas").get_attribute(f"data-{name}")
        assert value is not None
        return value


class Reports:
    """Renders run folders and opens them from disk."""

    def __init__(self, browser: "Browser") -> None:
        self.browser = browser

    def new_page(self, **options: Any) -> "Page":
        """A page that waits as long as a slow machine takes."""
        page = self.browser.new_page(**options)
        page.set_default_timeout(TIMEOUT_MS)
        return page

    def open(
        self,
        folder: RunFolder,
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        edit: Callable[[str], str] = str,
    ) -> Opened:
        """Render a run, edit the file if asked to, open it, and wait until it has drawn what it can."""
        folder.report.write_text(edit(render(folder)), encoding="utf-8")
        page = self.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        opened = Opened(page)
        page.add_init_script(WATCH)
        page.on("pageerror", lambda error: opened.errors.append(str(error)))
        page.on("request", lambda request: opened.requested.append(request.url))
        page.on(
            "console",
            lambda message: (
                opened.errors.append(message.text) if message.type in {"error", "warning"} else None
            ),
        )
        page.goto(folder.report.as_uri())
        page.wait_for_selector("html[data-ready], p.failure", state="attached")
        # The charts are drawn when they come near the screen.
        page.locator("#requests").scroll_into_view_if_needed()
        page.wait_for_selector("html[data-ready=charts], p.failure", state="attached")
        page.evaluate("scrollTo(0, 0)")
        return opened


@pytest.fixture(scope="session")
def reports() -> Iterator[Reports]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip(f"needs Chromium: none of {', '.join(NAMES)} is on PATH (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=executable,
            args=list(FLAGS),
            timeout=TIMEOUT_MS,
            env={**os.environ, "FONTCONFIG_FILE": str(FONTS)},
        )
        yield Reports(browser)
        browser.close()


@pytest.fixture(scope="session")
def usual_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The synthetic run of 12 requests; not to be changed."""
    path: Path = tmp_path_factory.mktemp("browser") / "run"
    return write_synthetic_run(path)


@pytest.fixture
def usual(reports: Reports, usual_run: RunFolder) -> Iterator[Opened]:
    """The usual run's report, open; checked for errors when the test is done with it."""
    opened = reports.open(usual_run)
    yield opened
    opened.check()
    opened.page.close()
