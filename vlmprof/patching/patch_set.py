"""The patches of a set of recipes in this process: installed, counted, undone."""

import functools
import inspect
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from vlmprof.agent.import_hook import ImportWatch
from vlmprof.patching.call import NOTHING_TO_DO, CallCounter, PatchCounts, PatchedCall
from vlmprof.patching.family import Family
from vlmprof.patching.patch import REPLACEMENT_MARK, Patch, absent, check_original, plain_function
from vlmprof.patching.recipe import Recipe
from vlmprof.patching.source import InstalledSource
from vlmprof.patching.switch import RecipeSwitch, mask_of
from vlmprof.patching.versions import check_recipe, check_versions

_LOG = logging.getLogger(__name__)
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class _Installed:
    """A replacement in its place; before is _ABSENT where the class had inherited the original."""

    owner: Any
    name: str
    before: Any
    replacement: Any

    def remove(self) -> None:
        if self.before is _ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.before)
        if inspect.ismodule(self.owner):
            _rebind(self.replacement, self.before)


class PatchSet:
    """Patches of recipes in this process, for the family of the served model.

    A patch that several recipes share is installed once, and acts where one of them is on.

    Args:
        ledger: also counts by recipe: calls of patches that show its use while it was on, those of them in which
            it gave way, and every call of any patch that failed.
    """

    def __init__(
        self,
        recipes: Iterable[Recipe],
        switch: RecipeSwitch,
        family: Family,
        *,
        ledger: CallCounter | None = None,
    ) -> None:
        self._switch = switch
        self._ledger = ledger
        self._family = family
        self._recipes = sorted(recipes, key=lambda each: each.number)
        self._users: dict[Patch, list[Recipe]] = {}
        for recipe in self._recipes:
            for patch in recipe.patches_for(family):
                self._users.setdefault(patch, []).append(recipe)
        self._installed: list[_Installed] = []
        self._counts: dict[Patch, _Counter] = {}
        self._watch: ImportWatch | None = None

    def check(self) -> None:
        """Make sure that every recipe fits what is installed; imports and changes nothing.

        Raises:
            RecipeMisfit: names the recipe, the version and the function that do not fit.
        """
        installed = InstalledSource()
        for recipe in self._recipes:
            check_recipe(recipe, self._family, installed)

    def apply(self) -> None:
        """Install every patch: at once where its module is loaded, else as soon as it is.

        Raises:
            RecipeMisfit: a loaded function does not fit; after this or any other error nothing is installed.
            ImportError, AttributeError: a replacement is not there.
        """
        try:
            self._watch = ImportWatch({patch.module for patch in self._users}, self._install_in)
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Put every original back, last-first: each place holds the identical object that it held before."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        while self._installed:
            self._installed.pop().remove()

    def counts(self) -> dict[str, PatchCounts]:
        """Target -> counts of this process, for what is or was installed."""
        return {patch.target: counter.read() for patch, counter in self._counts.items()}

    def _install_in(self, module: ModuleType) -> None:
        for patch in self._users:
            if patch.module == module.__name__:
                self._install(patch, module)

    def _install(self, patch: Patch, module: ModuleType) -> None:
        raw = self._checked(patch, module)
        owner, name = patch.owner_in(module)
        counter = self._counts.setdefault(patch, _Counter())
        mask = mask_of(recipe.number for recipe in self._users[patch])
        wrapped = _replaced(
            patch, plain_function(raw), self._switch, mask, counter=counter, ledger=self._ledger
        )
        installed = type(raw)(wrapped) if isinstance(raw, staticmethod | classmethod) else wrapped
        self._installed.append(_Installed(owner, name, vars(owner).get(name, _ABSENT), installed))
        setattr(owner, name, installed)
        if inspect.ismodule(owner):
            _rebind(raw, installed)

    def _checked(self, patch: Patch, module: ModuleType) -> Any:
        """The raw attribute that the patch replaces, after all checks."""
        recipe = self._users[patch][0]
        versions = check_versions(recipe, self._family, InstalledSource()) or module.__name__
        try:
            owner, name = patch.owner_in(module)
        except AttributeError as error:
            raise absent(patch, recipe=recipe.number, versions=versions) from error
        raw = inspect.getattr_static(owner, name)
        check_original(patch, plain_function(raw), recipe=recipe.number, versions=versions)
        return raw


class _Counter:
    """What became of one patch's calls; the lock makes increments of several threads add up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._failures = 0
        self._gave_way = 0

    def add_call(self, *, gave_way: bool) -> None:
        with self._lock:
            self._calls += 1
            self._gave_way += gave_way

    def add_failure(self) -> int:
        """Count a call that failed, and say how many have."""
        with self._lock:
            self._calls += 1
            self._failures += 1
            return self._failures

    def read(self) -> PatchCounts:
        with self._lock:
            return PatchCounts(self._calls, self._failures, self._gave_way)


def _replaced(
    patch: Patch,
    original: Callable[..., Any],
    switch: RecipeSwitch,
    users: int,
    *,
    counter: _Counter,
    ledger: CallCounter | None,
) -> Callable[..., Any]:
    """The function that takes the original's place; it calls the original where no recipe of the patch is on."""
    served = _Served(patch, original, users, counter, ledger)
    always = not patch.follows_switch

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        active = switch.mask & users
        if not (active or always):
            return original(*args, **kwargs)
        if not patch.holds_switch:
            return served(active, args, kwargs)
        with switch.held():
            return served(switch.mask & users, args, kwargs)

    setattr(call, REPLACEMENT_MARK, original)
    return call


class _Served:
    """Calls of a replaced function that a recipe may act in; whatever the recipe does wrong, each is served.

    An exception would end the engine: after one of the replacement's own the patch's fallback is called, and after
    one of that the original. What the original raises is raised.
    """

    def __init__(
        self,
        patch: Patch,
        original: Callable[..., Any],
        users: int,
        counter: _Counter,
        ledger: CallCounter | None,
    ) -> None:
        self._patch = patch
        self._original = original
        self._users = users
        self._counter = counter
        self._ledger = ledger
        self._replacement = patch.load_replacement()
        self._fallback = patch.load_fallback()

    def __call__(self, active: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Serve a call with a mask of the patch's recipes that are on."""
        patched = PatchedCall(self._original, active)
        try:
            found = self._replacement(patched, *args, **kwargs)
        except Exception as error:
            if error is patched.raised:
                self._count(patched)
                raise
            self._count_failure(active)
        else:
            self._count(patched)
            return found
        # Here the exception is gone, and with it what its frames held: memory may be what was lacking.
        return self._fall_back(active, args, kwargs)

    def _fall_back(self, active: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._fallback is not None:
            patched = PatchedCall(self._original, active)
            try:
                return self._fallback(patched, *args, **kwargs)
            except Exception as error:
                if error is patched.raised:
                    raise
                _LOG.warning("fallback for %s failed too", self._patch.target, exc_info=True)
        return self._original(*args, **kwargs)

    def _count(self, patched: PatchedCall) -> None:
        self._counter.add_call(gave_way=bool(patched.gave_way))
        if self._ledger is None or not (self._patch.shows_use and patched.mask):
            return
        self._ledger.add_calls(patched.mask)
        unused = patched.mask & ~patched.used
        if unused:
            self._ledger.add_gave_way(unused, patched.gave_way or NOTHING_TO_DO)

    def _count_failure(self, active: int) -> None:
        """Count the exception that is handled now; the first one is logged.

        While all of the patch's recipes are off, what one of them had sent made it act: none of them is spared.
        """
        if self._ledger is not None:
            self._ledger.add_calls(active or self._users)
            self._ledger.add_failures(active or self._users)
        if self._counter.add_failure() == 1:
            way = self._patch.fallback or "the engine's own way"
            _LOG.warning("recipe for %s failed; %s is taken", self._patch.target, way, exc_info=True)


def _rebind(function: Any, other: Any) -> None:
    """Put another function wherever `from module import function` bound this one."""
    for module in list(sys.modules.values()):
        names = [name for name, value in list(getattr(module, "__dict__", {}).items()) if value is function]
        for name in names:
            setattr(module, name, other)
