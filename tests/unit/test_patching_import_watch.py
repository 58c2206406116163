"""Patches are installed as modules are loaded, those included that a replacement's own import loads."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlmprof.model.run_folder import RunFolder
from vlmprof.patching import Diagnosis, Family, Patch, PatchSet, Recipe, RecipeSwitch
from vlmprof.patching.source import InstalledSource

_FAMILY = Family.IDEFICS3
_FUNCTION = "def same(x):\n    return x\n"
_REPLACEMENTS = "import toy_a\n\ndef negated(call, x):\n    return -call.original(x)\n"


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstalledSource]:
    """Two modules of an engine, of which the second is loaded; replacements import the first."""
    for name, source in (("toy_a", _FUNCTION), ("toy_b", _FUNCTION), ("toy_negated", _REPLACEMENTS)):
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("toy_b")
    yield InstalledSource([str(tmp_path)])
    for name in ("toy_a", "toy_b", "toy_negated"):
        sys.modules.pop(name, None)


def _patch(target: str, engine: InstalledSource) -> Patch:
    found = engine.function(target)
    assert found is not None
    return Patch(target, "toy_negated:negated", found.parameters, (found.fingerprint,))


def _no_diagnosis(_run: RunFolder) -> Diagnosis:
    return Diagnosis()


def test_a_module_that_a_replacement_imports_is_patched_once(engine: InstalledSource) -> None:
    """Both return -3 for 3: toy_a, which comes first by its name, is loaded as toy_b is being patched."""
    recipe = Recipe(
        number=1,
        slug="toy",
        title="toy",
        paper="-",
        here="-",
        standing={},
        diagnose=_no_diagnosis,
        patches={_FAMILY: tuple(_patch(f"{name}:same", engine) for name in ("toy_a", "toy_b"))},
    )
    patches = PatchSet([recipe], RecipeSwitch.private([1]), _FAMILY)
    patches.apply()
    assert [sys.modules[name].same(3) for name in ("toy_a", "toy_b")] == [-3, -3]
    patches.undo()
    assert [sys.modules[name].same(3) for name in ("toy_a", "toy_b")] == [3, 3]
