"""Recipe 9: Pillow-SIMD found where it was built, put in front of a path, and a failed build explained."""

import os
import sys
from pathlib import Path

import pytest

from vlmprof.errors import ToolMissing
from vlmprof.patching import Family, Need
from vlmprof_recipes import pillow_simd
from vlmprof_recipes.pillow_simd import VERSION, built, version_in
from vlmprof_recipes.r09_pillow_simd import recipe

_PYTHON = Path(sys.executable)


def _pillow(folder: Path, version: str) -> Path:
    """A folder that holds a PIL of some version, as far as an import goes."""
    (folder / "PIL").mkdir(parents=True)
    (folder / "PIL" / "__init__.py").write_text(f"__version__ = {version!r}\n")
    (folder / "PIL" / "_imaging.py").touch()
    return folder


def _pip_that(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(pillow_simd, "_PIP", ("-c", program))


def test_what_was_built_before_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip is not called: here it would fail."""
    _pip_that(monkeypatch, "raise SystemExit('called')")
    folder = _pillow(tmp_path / "simd", VERSION)
    assert built(folder, _PYTHON) == folder
    assert version_in(folder, _PYTHON) == VERSION


def test_a_folder_without_a_pil_that_loads_has_no_version(tmp_path: Path) -> None:
    """Nothing there, and a PIL whose compiled half is missing: the installed Pillow must not answer for it."""
    broken = _pillow(tmp_path / "broken", VERSION)
    (broken / "PIL" / "_imaging.py").unlink()
    assert version_in(tmp_path / "absent", _PYTHON) == version_in(broken, _PYTHON) == ""


def test_missing_headers_are_named_with_what_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all that pip says, the line that names the library."""
    said = "The headers or library files could not be found for jpeg,"
    _pip_that(monkeypatch, f"raise SystemExit({'error: subprocess' + chr(10) + said + chr(10) + 'hint'!r})")
    with pytest.raises(ToolMissing, match="could not be found for jpeg") as refused:
        built(tmp_path / "simd", _PYTHON)
    assert "libjpeg-dev" in refused.value.hint


def test_a_pillow_without_vector_instructions_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installation succeeds, yet what it left is another version."""
    _pip_that(monkeypatch, "pass")
    folder = _pillow(tmp_path / "simd", "13.0.0")
    with pytest.raises(ToolMissing, match=r"holds Pillow 13\.0\.0"):
        built(folder, _PYTHON)


def test_a_server_is_started_with_the_folder_in_front_of_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's own PYTHONPATH stays, behind it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = _pillow(pillow_simd.cache_folder(_PYTHON), VERSION)
    assert recipe.launch is not None
    served = recipe.launch(_PYTHON).added_to({"PYTHONPATH": "/own"})
    assert served == {"PYTHONPATH": f"{folder}{os.pathsep}/own"}
    assert folder.is_relative_to(tmp_path)


# As far as the recipe asks: its tag, and the version of the Pillow-SIMD that only it can load.
_OTHER_PYTHON = """#!/bin/sh
case "$*" in
    *cache_tag*) echo cpython-399 ;;
    *) [ -e "$PYTHONPATH/PIL/for-cpython-399" ] && echo {version} ;;
esac
exit 0
"""
_BUILD_FOR = """
import sys, pathlib
python, target = (sys.argv[sys.argv.index(option) + 1] for option in ("--python", "--target"))
assert python == {python!r}
(pathlib.Path(target) / "PIL").mkdir(parents=True)
(pathlib.Path(target) / "PIL" / "for-cpython-399").touch()
"""


def test_it_is_built_for_the_interpreter_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another minor version loads no module that was compiled for this one, and has a folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    python = tmp_path / "python3.99"
    python.write_text(_OTHER_PYTHON.format(version=VERSION))
    python.chmod(0o755)
    _pip_that(monkeypatch, _BUILD_FOR.format(python=str(python)))
    assert recipe.launch is not None
    folder = recipe.launch(python).environment["PYTHONPATH"]
    assert folder.endswith("-cpython-399")
    assert (Path(folder) / "PIL" / "for-cpython-399").exists()


def test_an_interpreter_that_does_not_run_is_named(tmp_path: Path) -> None:
    """Before anything is fetched."""
    with pytest.raises(ToolMissing, match="no-python does not run"):
        pillow_simd.launch(tmp_path / "no-python")


def test_it_is_for_the_family_that_resizes_with_pil_and_not_beside_recipe_2() -> None:
    """Elsewhere torchvision resizes, and under recipe 2 there too."""
    needing = [family for family, standing in recipe.standing.items() if standing.need is Need.NEEDED]
    assert needing == [Family.INTERNVL_CHAT]
    assert recipe.conflicts == (2,)
