"""The import hook: a module is patched when it has been executed, whoever found it."""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from vlmprof.agent.import_hook import ImportWatch, watch_imports

_NAME = "vlmprof_test_watched"


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith(_NAME)]:
        del sys.modules[name]


def _write_module(folder: Path, text: str = "value = 1\n") -> None:
    (folder / f"{_NAME}.py").write_text(text)
    importlib.invalidate_caches()


def test_a_module_is_reported_after_it_was_executed(tmp_path: Path) -> None:
    """Its names are there, and the importer gets what the call made of it."""
    _write_module(tmp_path)

    def double(module: ModuleType) -> None:
        module.value *= 2  # type: ignore[attr-defined]

    watch_imports([_NAME], double)
    assert importlib.import_module(_NAME).value == 2


def test_a_module_is_reported_once(tmp_path: Path) -> None:
    """The second import finds it loaded."""
    _write_module(tmp_path)
    loaded: list[str] = []
    watch_imports([_NAME], lambda module: loaded.append(module.__name__))
    for _ in range(2):
        importlib.import_module(_NAME)
    assert loaded == [_NAME]


def test_a_module_that_is_loaded_already_is_reported_at_once(tmp_path: Path) -> None:
    """concurrent.futures is loaded before any sitecustomize has a say, in some interpreters."""
    _write_module(tmp_path)
    importlib.import_module(_NAME)
    loaded: list[str] = []
    watch_imports([_NAME], lambda module: loaded.append(module.__name__))
    assert loaded == [_NAME]


def test_modules_of_no_interest_are_left_to_the_others(tmp_path: Path) -> None:
    """Nothing is reported, and the loader is untouched."""
    _write_module(tmp_path)
    loaded: list[str] = []
    watch_imports(["some.other"], lambda module: loaded.append(module.__name__))
    module = importlib.import_module(_NAME)
    assert loaded == []
    assert "exec_module" not in vars(module.__loader__)


def test_an_absent_module_stays_absent() -> None:
    """The engine sees the error that it would have seen."""
    watch_imports([_NAME], lambda module: None)
    with pytest.raises(ModuleNotFoundError, match=_NAME):
        importlib.import_module(_NAME)


def test_a_module_that_fails_is_not_reported(tmp_path: Path) -> None:
    """Half a module is not to be patched."""
    _write_module(tmp_path, "raise RuntimeError('no GPU')\n")
    loaded: list[str] = []
    watch_imports([_NAME], lambda module: loaded.append(module.__name__))
    with pytest.raises(RuntimeError, match="no GPU"):
        importlib.import_module(_NAME)
    assert loaded == []


class _Made(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and loads a module that is in no file, as editable installs and other hooks do."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == _NAME else None

    def exec_module(self, module: ModuleType) -> None:
        module.value = "made"  # type: ignore[attr-defined]


@pytest.mark.parametrize("position", ["before", "after"])
def test_other_finders_still_find(position: str) -> None:
    """A finder behind ours is asked by ours; one that was put before ours and finds the module wins unpatched."""
    loaded: list[str] = []
    made = _Made()
    if position == "after":
        sys.meta_path.append(made)
    watch_imports([_NAME], lambda module: loaded.append(module.__name__))
    if position == "before":
        sys.meta_path.insert(0, made)
    assert importlib.import_module(_NAME).value == "made"
    assert loaded == ([_NAME] if position == "after" else [])


def test_a_second_hook_over_ours_calls_both(tmp_path: Path) -> None:
    """Another tool of the same make, or an agent of two versions: each gets its call."""
    _write_module(tmp_path)
    loaded: list[str] = []
    watch_imports([_NAME], lambda module: loaded.append("first"))
    watch_imports([_NAME], lambda module: loaded.append("second"))
    importlib.import_module(_NAME)
    assert sorted(loaded) == ["first", "second"]


def _write_modules(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / f"{_NAME}_{name}.py").write_text(text)
    importlib.invalidate_caches()


def test_a_module_that_a_report_imports_is_reported_too_and_after_it(tmp_path: Path) -> None:
    """a and c are loaded by the report of b: whoever looked at a before b was loaded, or not again, misses it."""
    _write_modules(tmp_path, a="", b="", c="")
    names = [f"{_NAME}_{letter}" for letter in "abc"]
    importlib.import_module(names[1])
    reported: list[str] = []

    def report(module: ModuleType) -> None:
        if module.__name__ == names[1]:
            importlib.import_module(names[0])
            importlib.import_module(names[2])
        reported.append(module.__name__)

    watch_imports(names, report)
    assert reported == [names[1], names[0], names[2]]


def test_a_report_that_fails_keeps_none_from_the_others(tmp_path: Path) -> None:
    """b fails after it has imported a: the importer of b sees that, and a is reported nevertheless."""
    _write_modules(tmp_path, a="", b="")
    reported: list[str] = []

    def report(module: ModuleType) -> None:
        reported.append(module.__name__)
        if module.__name__ == f"{_NAME}_b":
            importlib.import_module(f"{_NAME}_a")
            raise RuntimeError("does not fit")

    watch_imports([f"{_NAME}_a", f"{_NAME}_b"], report)
    with pytest.raises(RuntimeError, match="does not fit"):
        importlib.import_module(f"{_NAME}_b")
    assert reported == [f"{_NAME}_b", f"{_NAME}_a"]


def test_a_watch_that_fails_as_it_begins_is_gone(tmp_path: Path) -> None:
    """What loads later is then nobody's to report."""
    _write_module(tmp_path)
    importlib.import_module(_NAME)
    before = list(sys.meta_path)

    def refuse(_module: ModuleType) -> None:
        raise RuntimeError("does not fit")

    with pytest.raises(RuntimeError, match="does not fit"):
        ImportWatch([_NAME], refuse)
    assert sys.meta_path == before
