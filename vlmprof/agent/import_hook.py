"""Calls back when a module of interest has been imported; costs nothing where none is.

The agent's patches and those of recipes are both made so, though the agent is in a server that has nothing else of
this package: standard library only.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

Loaded = Callable[[ModuleType], None]


class _Waiting(threading.local):
    """Modules that this thread has loaded and not reported; the first one's report is under way."""

    def __init__(self) -> None:
        self.modules: list[ModuleType] = []


class ImportWatch(importlib.abc.MetaPathFinder):
    """Finds a module as the other finders would, and calls back after it has been executed, before anyone has it.

    Modules that are loaded already are reported at once. Each is reported once for each time that it is executed,
    and one at a time: those that a report imports wait for its end, as what it imports may be half executed then.

    Args:
        on_loaded: what it raises is raised from the import, or from here after the watch has been stopped.
    """

    def __init__(self, names: Iterable[str], on_loaded: Loaded) -> None:
        self._names = frozenset(names)
        self._on_loaded = on_loaded
        self._looking_for: set[str] = set()
        self._waiting = _Waiting()
        # First of all, as a report may import others of the modules.
        sys.meta_path.insert(0, self)
        try:
            for module in [sys.modules[name] for name in sorted(self._names) if name in sys.modules]:
                self._report(module)
        except BaseException:
            self.stop()
            raise

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
            self._report_after_execution(spec.loader)
        return spec

    def _report_after_execution(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._report(module)

        loader.exec_module = exec_module

    def _report(self, module: ModuleType) -> None:
        self._waiting.modules.append(module)
        if len(self._waiting.modules) == 1:
            self._report_waiting()

    def _report_waiting(self) -> None:
        waiting = self._waiting.modules
        try:
            self._on_loaded(waiting[0])
        finally:
            # The others are reported even if this one's report has failed: they are loaded all the same.
            del waiting[0]
            if waiting:
                self._report_waiting()


def watch_imports(names: Iterable[str], on_loaded: Loaded) -> None:
    """Call `on_loaded(module)` after each of the named modules is imported, at once for those that are."""
    ImportWatch(names, on_loaded)
