"""Calls back when a module of interest has been imported; costs nothing where none is."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Container, Sequence
from types import ModuleType
from typing import Any

Loaded = Callable[[ModuleType], None]


class ImportHook(importlib.abc.MetaPathFinder):
    """Finds a module as the other finders would, and adds a call after it has been executed."""

    def __init__(self, names: Container[str], on_loaded: Loaded) -> None:
        self._names = names
        self._on_loaded = on_loaded
        self._looking_for: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._names or fullname in self._looking_for:
            return None
        self._looking_for.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._looking_for.discard(fullname)
        if spec is not None and spec.loader is not None:
            self._call_after_execution(spec.loader)
        return spec

    def _call_after_execution(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._on_loaded(module)

        loader.exec_module = exec_module


def watch_imports(names: Sequence[str], on_loaded: Loaded) -> None:
    """Call `on_loaded(module)` after each of the named modules is imported, at once for those that are."""
    sys.meta_path.insert(0, ImportHook(frozenset(names), on_loaded))
    for name in names:
        module = sys.modules.get(name)
        if module is not None:
            on_loaded(module)
