"""Each report page beside a golden picture, from runs that are the same every time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageDraw, ImageFilter

from tests.browser.conftest import FONT, Opened, Reports
from tests.browser.screens import TOLERATED_SHARE, check_screen, different_share
from tests.browser.test_comparison_report import open_page
from tests.browser.traced_run import write_traced_run
from tests.conftest import GOLDEN
from tests.unit.synthetic_ab_run import AbRun, write_ab_run
from tests.unit.synthetic_ladder import write_synthetic_ladder
from tests.unit.synthetic_run import write_synthetic_run
from vlmprof.session.compare import compare_folders
from vlmprof_reports import comparison, ladder

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
# Frames that come and go while the page settles, and what blinks.
STILL = (
    "*, *::before, *::after { transition: none !important; animation: none !important; "
    "caret-color: transparent !important; }"
)

Check = Callable[["Page", str], None]


@pytest.fixture
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Check:
    """Holds what the window shows against `tests/golden/screens/<name>.png`."""
    if not FONT.exists():
        pytest.skip(f"needs the font of the golden pictures: {FONT} (apt-get install fonts-dejavu-core)")

    def shown(page: "Page", name: str) -> None:
        page.add_style_tag(content=STILL)
        page.evaluate(
            "() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
        )
        update = request.config.getoption("--update-golden")
        check_screen(
            page.screenshot(), GOLDEN / "screens" / f"{name}.png", tmp_path / f"{name}.png", update=update
        )

    return shown


@pytest.fixture(scope="module")
def run_report(reports: Reports, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    opened = reports.open(write_traced_run(tmp_path_factory.mktemp("screens") / "run"))
    yield opened
    opened.check()
    opened.page.close()


@pytest.mark.parametrize(
    "section", ["overview", "suggestions", "requests", "timeline", "flame", "functions", "gpu"]
)
def test_a_section_of_the_run_report_looks_as_it_did(run_report: Opened, section: str, check: Check) -> None:
    _show(run_report.page, section)
    check(run_report.page, f"run_{section}")


def test_the_run_report_looks_as_it_did_in_the_dark(reports: Reports, tmp_path: Path, check: Check) -> None:
    opened = reports.open(write_traced_run(tmp_path / "run"), width=1920, height=1080, dark=True)
    check(opened.page, "run_dark")
    opened.page.close()


@pytest.fixture(scope="module")
def arms(reports: Reports, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    trial = {"A": {}, "A2": {}, "+1": {"image_transform": 0.5}, "+1,10": {"*": 0.5}}
    folder = write_ab_run(tmp_path_factory.mktemp("screens") / "arms", AbRun(arms=trial, rounds=6))
    page = comparison.render([folder], compare_folders([folder]))
    yield (opened := open_page(reports, folder.path / "comparison.html", page))
    opened.page.close()


@pytest.mark.parametrize("section", ["overview", "ttft", "waterfall", "metrics"])
def test_a_section_of_the_comparison_looks_as_it_did(arms: Opened, section: str, check: Check) -> None:
    _show(arms.page, section)
    check(arms.page, f"comparison_{section}")


def test_the_differential_flame_graph_looks_as_it_did(reports: Reports, tmp_path: Path, check: Check) -> None:
    """Two runs, of which both were sampled."""
    runs = [write_synthetic_run(tmp_path / name, requests=count) for name, count in (("a", 12), ("b", 24))]
    opened = open_page(reports, tmp_path / "comparison.html", comparison.render(runs, compare_folders(runs)))
    _show(opened.page, "flame")
    check(opened.page, "comparison_flame")
    opened.page.close()


@pytest.fixture(scope="module")
def rows(reports: Reports, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder = write_synthetic_ladder(tmp_path_factory.mktemp("screens") / "ladder")
    yield (opened := open_page(reports, folder.path / "ladder.html", ladder.render(folder)))
    opened.page.close()


@pytest.mark.parametrize("section", ["overview", "tables", "predicted"])
def test_a_section_of_the_ladder_looks_as_it_did(rows: Opened, section: str, check: Check) -> None:
    _show(rows.page, section)
    check(rows.page, f"ladder_{section}")


def _show(page: "Page", section: str) -> None:
    """Bring a section's head to the top of the window, once all above it has its height."""
    page.mouse.move(1, 1)
    place = (
        "scrollTo(0, 0)"
        if section == "overview"
        else f"document.getElementById('{section}').scrollIntoView()"
    )
    page.evaluate(place)


def test_another_machines_letters_are_the_same_picture_and_a_moved_bar_is_not() -> None:
    """Blurred by a third of a pixel: the same. A bar 16 px lower: another. Another size: another."""
    golden = _drawn(100)
    assert different_share(golden.filter(ImageFilter.GaussianBlur(0.4)), golden) <= TOLERATED_SHARE
    assert different_share(_drawn(116), golden) > TOLERATED_SHARE
    assert different_share(golden.crop((0, 0, 600, 400)), golden) == 1.0


def _drawn(bar_at: int) -> Image.Image:
    picture = Image.new("RGB", (640, 400), "white")
    draw = ImageDraw.Draw(picture)
    for line in range(12):
        draw.text((20, 16 + 30 * line), "image transform 82.5 ms 25.1%" * 2, fill="black")
    draw.rectangle((300, bar_at, 620, bar_at + 15), fill="#e69f00")
    return picture
