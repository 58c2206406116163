"""Calls back as soon as a module is loaded, before anyone could bind its functions."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

Loaded = Callable[[ModuleType], None]


class ImportWatch(importlib.abc.MetaPathFinder):
    """Watches some modules, from now on until `stop`; those that are loaded are called back about at once."""

    def __init__(self, names: Iterable[str], on_loaded: Loaded) -> None:
        self._names = frozenset(names)
        self._on_loaded = on_loaded
        self._looking_for: set[str] = set()
        for name in sorted(self._names):
            if name in sys.modules:
                on_loaded(sys.modules[name])
        sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Leave the import system; does nothing the second time."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

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
