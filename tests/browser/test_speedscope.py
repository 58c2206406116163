"""What `vlmprof export --to speedscope` writes, opened in the real speedscope.

Its npm package is a page that works from disk; it is installed below `.cache/` where npm is there.
"""

import base64
import fcntl
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Reports
from tests.browser.traced_run import write_traced_run
from tests.unit.shared_data import shared_file
from vlmprof.session.export_run import export_run
from vlmprof.session.import_files import import_files

if TYPE_CHECKING:
    from playwright.sync_api import Dialog

pytestmark = pytest.mark.browser

_SPEEDSCOPE = "speedscope@1.25.0"
_CACHE = Path(__file__).parents[2] / ".cache" / "speedscope"
_INSTALL_TIMEOUT_S = 300


@pytest.fixture(scope="module")
def speedscope() -> Path:
    """speedscope's own page."""
    page = _CACHE / "node_modules" / "speedscope" / "dist" / "release" / "index.html"
    _CACHE.parent.mkdir(exist_ok=True)
    # Tests run in several processes, and npm takes a tree away that another npm is writing.
    with (_CACHE.parent / "speedscope.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not page.exists():
            _install()
    return page


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm, to install speedscope (apt-get install npm)")
    _CACHE.mkdir(exist_ok=True)
    command = [npm, "install", "--prefix", str(_CACHE), "--no-save", "--ignore-scripts", _SPEEDSCOPE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install {_SPEEDSCOPE}: {done.stderr.strip()[-200:]}")


def _refuse(errors: list[str]) -> Callable[["Dialog"], None]:
    """speedscope tells of a file that it cannot read in a dialog."""

    def refuse(dialog: "Dialog") -> None:
        errors.append(dialog.message)
        dialog.dismiss()

    return refuse


def _look_at_all(reports: Reports, speedscope: Path, export: Path, tmp_path: Path) -> list[str]:
    """Load a file as speedscope's own command does; what it says at each profile, in each of its three views."""
    script = tmp_path / "profile.js"
    content = base64.b64encode(export.read_bytes()).decode()
    script.write_text(f'speedscope.loadFileFromBase64("{export.name}", "{content}")')
    page, errors, shown = reports.new_page(), list[str](), list[str]()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("dialog", _refuse(errors))
    page.goto(f"{speedscope.as_uri()}#localProfilePath={script}")
    page.wait_for_selector("canvas")
    profiles = json.loads(export.read_bytes())["profiles"]
    for number in range(1, len(profiles) + 1):
        page.wait_for_function(
            "end => document.body.innerText.includes(end)", arg=f"({number}/{len(profiles)})"
        )
        for view in "321":
            page.keyboard.press(view)
        shown.append(page.inner_text("body"))
        page.keyboard.press("n")
    page.close()
    assert errors == []
    return shown


def test_a_runs_threads_and_streams_open_in_speedscope(
    reports: Reports, speedscope: Path, tmp_path: Path
) -> None:
    """Four sampled threads of three processes, and a stream."""
    export = export_run(write_traced_run(tmp_path / "run"), "speedscope")
    shown = _look_at_all(reports, speedscope, export, tmp_path)
    for text, name in zip(
        shown,
        ("MainThread", "ThreadPoolExecutor-0_0", "engine_core", "worker 0", "GPU 0, stream 7"),
        strict=True,
    ):
        assert name in text


@pytest.mark.parametrize("fragment", ["e443f32f", "cfa580dc"])
def test_a_real_recording_opens_in_speedscope(
    fragment: str, reports: Reports, speedscope: Path, tmp_path: Path
) -> None:
    """Python's calls and the kernels of a vLLM step; two GPUs with many streams."""
    kind = "nsys" if fragment == "cfa580dc" else "kineto"
    folder = import_files([shared_file(kind, fragment)], tmp_path / "run")
    assert _look_at_all(reports, speedscope, export_run(folder, "speedscope"), tmp_path)
