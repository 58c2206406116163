"""The ladder report in a real browser, opened from disk."""

from pathlib import Path

import msgspec
import pytest

from tests.browser.conftest import Reports
from tests.browser.test_comparison_report import open_page
from tests.browser.test_run_report import HOSTILE
from tests.unit.synthetic_ladder import write_synthetic_ladder
from vlmprof.model.ladder import read_ladder
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import BaselineUse
from vlmprof_reports.ladder import predictions, render

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Not to be changed."""
    return write_synthetic_ladder(tmp_path_factory.mktemp("ladder") / "run")


def test_every_row_shows_its_ratio_beside_the_papers(reports: Reports, ladder: RunFolder) -> None:
    """TTFT, ratio, interval, predicted and the paper's 71.9 / 344.7 = 0.209 for the first row."""
    opened = open_page(reports, ladder.path / "ladder.html", render(ladder))
    step = read_ladder(ladder).steps[0]
    change = step.comparison and step.comparison.change("ttft_p50")
    assert change
    assert change.ratio is not None
    row = opened.page.locator("tr[data-arm='+1'][data-metric=ttft_p50]").inner_text()
    assert f"{change.ratio:.3f}" in row
    assert "0.209" in row
    assert f"{1 - 24e6 / change.baseline:.3f}" in row
    opened.check()


def test_a_row_with_nothing_to_switch_on_says_why(reports: Reports, ladder: RunFolder) -> None:
    opened = open_page(reports, ladder.path / "ladder.html", render(ladder))
    assert "nothing to switch on" in opened.page.locator("table.steps").first.inner_text()
    assert "no GPU here" in opened.page.locator("#left-out").inner_text()
    opened.check()


def test_a_ladder_from_an_old_behaviour_names_it(reports: Reports, tmp_path: Path) -> None:
    """In the head, in the first row of each table, and with what was not left out."""
    folder = write_synthetic_ladder(tmp_path / "run")
    use = BaselineUse(name="pil", title="PIL and numpy", recipe=2, span="mm.pil")
    result = msgspec.structs.replace(read_ladder(folder), baseline=use, notes=["no row leaves out recipe 2"])
    folder.write_result("ladder", result)
    opened = open_page(reports, folder.path / "ladder.html", render(folder))
    assert (
        "baseline pil (PIL and numpy), + 2 the engine as it is"
        in opened.page.locator("#overview").inner_text()
    )
    assert opened.page.locator("tr[data-arm='A'] td").first.inner_text() == "baseline pil"
    assert "no row leaves out recipe 2" in opened.page.locator("#left-out").inner_text()
    opened.check()


def test_all_charts_are_drawn_and_the_metric_can_be_chosen(reports: Reports, ladder: RunFolder) -> None:
    opened = open_page(reports, ladder.path / "ladder.html", render(ladder))
    assert opened.page.locator(".js-plotly-plot").count() == 3
    legend = opened.page.locator("#ladder .legend")
    assert "predicted" in (legend.text_content() or "")
    opened.page.get_by_label("metric").select_option("Decoding")
    assert "predicted" not in (legend.text_content() or "")
    opened.check()


def test_every_row_of_the_chart_is_named_whole(reports: Reports, ladder: RunFolder) -> None:
    opened = open_page(reports, ladder.path / "ladder.html", render(ladder))
    named = opened.page.locator("#ladder .xtick text").all_text_contents()
    assert named == ["baseline", *(step.title for step in read_ladder(ladder).steps)]
    opened.check()


def test_predictions_are_held_against_what_was_measured(ladder: RunFolder) -> None:
    """Recipe 1 saves about 23 ms and was predicted at 24; both save about 66 and were predicted at 90."""
    found = {each["title"]: each for each in predictions(read_ladder(ladder))}
    assert {title: each["within"] for title, each in found.items()} == {
        "+ 1": True,
        "+ 10": False,
        "all but 1": True,
    }
    assert all(each["counted"] for each in found.values())


def test_hostile_names_are_only_text(reports: Reports, tmp_path: Path) -> None:
    """Model, family, table, rows, reasons and everything around the run are attacks: every section shows them."""
    folder = write_synthetic_ladder(tmp_path / "run", hostile=HOSTILE)
    opened = open_page(reports, folder.path / "ladder.html", render(folder))
    assert opened.page.evaluate("window.hacked") is None
    assert opened.page.locator("main img, main a[href^=javascript]").count() == 0
    shown = {
        part: opened.page.locator(f"#{part}").inner_text()
        for part in ("overview", "tables", "left-out", "method")
    }
    assert [part for part, text in shown.items() if "</script>" not in text] == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 1280
    opened.check()
