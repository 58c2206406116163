"""The page of a run as a file: what it holds, and that nothing of a capture can break out of it."""

import base64
import gzip
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.unit.synthetic_run import write_empty_run, write_synthetic_run
from vlmprof.errors import FileUnreadable
from vlmprof.model.results import read_breakdown, read_summary
from vlmprof_reports.page import bundle, embedded_json
from vlmprof_reports.portable import portable_files
from vlmprof_reports.run import MODULES, render

HOSTILE = (
    "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\"'`${}\u2028\u2029🎉" + "x" * 5000
)
MAX_BYTES = 6_000_000


class _Page(HTMLParser):
    """The elements of a page as a browser's parser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._open: dict[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = dict(attrs) if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.scripts.append((self._open, data))
            self._open = None

    def block(self, name: str) -> str:
        return next(text for attrs, text in self.scripts if attrs.get("id") == name)

    def details(self) -> Any:
        return json.loads(_unpack(self.block("details")))

    def policy(self) -> str:
        return next(
            attrs["content"] or "" for tag, attrs in self.elements if "http-equiv" in attrs and tag == "meta"
        )


def _unpack(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> _Page:
    return _Page(render(write_synthetic_run(tmp_path_factory.mktemp("plain") / "run")))


@pytest.fixture(scope="module")
def hostile_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(write_synthetic_run(tmp_path_factory.mktemp("hostile") / "run", hostile=HOSTILE))


def test_hostile_names_add_no_element_to_the_page(plain: _Page, hostile_text: str) -> None:
    """The same elements, with the same attributes but for the policy's hashes, as with tame names."""
    elements = _Page(hostile_text).elements
    assert [tag for tag, _ in elements] == [tag for tag, _ in plain.elements]
    assert not [attrs for _, attrs in elements for name in attrs if name.startswith("on")]


def test_embedded_json_holds_none_of_the_characters_that_end_a_script(hostile_text: str) -> None:
    """No < > & or line separators; yet it decodes to the very strings."""
    data = _Page(hostile_text).block("data")
    assert not set(data) & set("<>&\u2028\u2029")
    assert json.loads(data)["info"]["warnings"][0].endswith(HOSTILE)


def test_the_title_is_escaped(hostile_text: str) -> None:
    """The title element holds the run's hostile name as text."""
    title = re.search("<title>(.*?)</title>", hostile_text, re.DOTALL)
    assert title is not None
    assert html.unescape(title.group(1)).startswith("demo" + HOSTILE)


def test_embedded_json_of_any_string_decodes_to_itself() -> None:
    """Each character that is replaced comes back."""
    text = '<>&\u2028\u2029\\ " </script>'
    assert json.loads(embedded_json({"a": text})) == {"a": text}


def test_the_policy_names_the_scripts_by_hash_and_forbids_the_network(plain: _Page) -> None:
    """Two hashes: the page's own module and plotly, each of the exact text that will run."""
    module = next(text for attrs, text in plain.scripts if attrs.get("type") == "module")
    plotly = _unpack(plain.block("plotly"))
    for script in (module.encode(), plotly):
        digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
        assert f"'sha256-{digest}'" in plain.policy()
    assert "default-src 'none'" in plain.policy()
    script_sources = re.search("script-src ([^;]*)", plain.policy())
    assert script_sources is not None
    assert not {"unsafe", "http", "data:", "blob:", "*"} & set(re.split("[' -]", script_sources.group(1)))


def test_nothing_in_the_page_points_to_another_place(plain: _Page) -> None:
    """No src, and hrefs come only from scripts."""
    assert [attrs for _, attrs in plain.elements if "src" in attrs or "href" in attrs] == []


def test_a_usual_report_is_small(tmp_path: Path) -> None:
    """40 requests stay under 6 MB."""
    assert len(render(write_synthetic_run(tmp_path / "run", requests=40)).encode()) < MAX_BYTES


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    """Rendered twice: byte for byte equal."""
    folder = write_synthetic_run(tmp_path / "run")
    assert render(folder) == render(folder)


def test_the_page_carries_the_results_as_they_are(tmp_path: Path) -> None:
    """Summary and breakdown of the page equal results/*.json."""
    folder = write_synthetic_run(tmp_path / "run")
    page = _Page(render(folder))
    summary = json.loads((folder.results / "summary.json").read_bytes())
    assert json.loads(page.block("data"))["summary"] == portable_files(summary)
    lanes = page.details()["lanes"]
    for shown, request in zip(lanes["requests"], read_breakdown(folder).requests, strict=True):
        assert (shown["id"], shown["ttft_ns"]) == (request.id, request.ttft_ns)
        assert sum(shown["length_ns"]) == request.ttft_ns
        assert [lanes["causes"][cause] for cause in shown["cause"]] == [s.cause for s in request.segments]
    assert [lane["process"] for lane in lanes["lanes"]] == [
        "between processes",
        "api_server",
        "api_server",
        "engine_core",
        "worker 0",
    ]


def test_the_generated_text_of_a_request_is_not_in_the_page(tmp_path: Path) -> None:
    """A report is passed around; what the model said stays in the run folder."""
    page = _Page(render(write_synthetic_run(tmp_path / "run")))
    assert "text" not in page.details()["requests"][0]


def test_flame_views_add_up_to_what_was_sampled(tmp_path: Path) -> None:
    """Critical path = the summary's sampled time = the sum of its stages; the capture = its processes."""
    folder = write_synthetic_run(tmp_path / "run")
    summary = read_summary(folder)
    flames = _Page(render(folder)).details()["flames"]
    views = {view["key"]: view for view in flames["views"]}
    assert summary.split is not None
    assert views["critical"]["total_ns"] == summary.split.sampled_ns
    assert views["critical"]["requests"] == summary.split.requests
    for whole, part in (("critical", "stage:"), ("all", "pid:"), ("all", "tid:")):
        parts = [view for key, view in views.items() if key.startswith(part)]
        assert sum(view["total_ns"] for view in parts) == views[whole]["total_ns"]
    for view in views.values():
        assert sum(view["self_ns"]) == view["total_ns"]
    assert all(parent < node for node, parent in enumerate(flames["parent"]))


def test_a_run_without_a_single_request_still_has_a_page(tmp_path: Path) -> None:
    """The engine died while loading: no lanes but the wire, no views."""
    page = _Page(render(write_empty_run(tmp_path / "run")))
    details = page.details()
    assert details["lanes"]["requests"] == []
    assert details["flames"]["views"] == []


def test_a_run_that_was_never_analysed_says_how_to_do_it(tmp_path: Path) -> None:
    """run.json is there, results are not."""
    folder = write_synthetic_run(tmp_path / "run")
    (folder.results / "breakdown.json").unlink()
    with pytest.raises(FileUnreadable, match=r"cannot read .*breakdown\.json") as caught:
        render(folder)
    assert "--rebuild" in caught.value.hint


def test_modules_are_joined_without_imports_each_in_a_scope_of_its_own() -> None:
    """No import or export is left; what a module exports is what its function returns."""
    script = bundle(MODULES)
    assert not re.findall(r"^(?:import|export)\b", script, re.MULTILINE)
    assert re.findall(r"^const module_(\w+) = ", script, re.MULTILINE) == MODULES
    assert "const { el } = module_dom;" in script or "const { el, section } = module_dom;" in script


def test_every_import_names_an_export_of_an_earlier_module() -> None:
    """As ES modules they would load; joined in this order no constant is used before it is defined."""
    earlier: dict[str, str] = {}
    for module in MODULES:
        source = (files("vlmprof_reports") / "static" / f"{module}.js").read_text(encoding="utf-8")
        for names, origin in re.findall(r'^import \{([^}]*)\} from "\./(\w+)\.js";', source, re.MULTILINE):
            exported = re.findall(
                r"^export (?:async )?(?:function|class|const) (\w+)", earlier[origin], re.MULTILINE
            )
            assert {name.strip() for name in names.split(",") if name.strip()} <= set(exported)
        earlier[module] = source
