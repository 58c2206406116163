"""One replaced function: where it is, what it must look like, and what takes its place."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from vlmprof.errors import RecipeMisfit
from vlmprof.patching.source import source_fingerprint

REPLACEMENT_MARK = "__vlmprof_replaces__"
"""Attribute of an installed replacement that holds the function below it."""


@dataclass(frozen=True, slots=True)
class Original:
    """A function as one version has it: its parameters' names, in order, and its `fingerprint`."""

    parameters: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Patch:
    """A function or method to replace.

    Attributes:
        target: `module:function` or `module:Class.method`; a method may be inherited by the class.
        replacement: `module:function`, imported when the patch is installed, so that a recipe can be listed
            without its engine; called as `replacement(call, *args, **kwargs)` with a `PatchedCall`.
        parameters: names of the original's parameters, in order.
        fingerprints: `fingerprint` of each version of the original that the replacement was written for.
        follows_switch: False where the call's own data say what to do: what one process sent with a recipe on
            must be understood by the next process after the recipe was switched off.
        earlier: the original as earlier versions have it, where its parameters are others; the replacement
            takes those too.
        shows_use: False where the engine calls it with every request, whatever became of the recipe's other
            patches: that it was called does not show that the recipe acted.
        holds_switch: True where a request is prepared inside of a call: every patched call in it is of the recipes
            that were on when it began. It cannot follow the switch: off must be held too.
        fallback: as `replacement`, called in its place when it raised; empty where the original understands what
            it is given. A worker's does not where the API server sent other fields: by plain means, which ask for
            little memory, the fallback gives it its own.
    """

    target: str
    replacement: str
    parameters: tuple[str, ...]
    fingerprints: tuple[str, ...]
    follows_switch: bool = True
    earlier: tuple[Original, ...] = ()
    shows_use: bool = True
    holds_switch: bool = False
    fallback: str = ""

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]

    @property
    def qualified_name(self) -> str:
        return self.target.partition(":")[2]

    def owner_in(self, module: ModuleType) -> tuple[Any, str]:
        """The object that holds the function, and the function's name there.

        Raises:
            AttributeError: the module has no such object.
        """
        *path, name = self.qualified_name.split(".")
        owner: Any = module
        for part in path:
            owner = getattr(owner, part)
        inspect.getattr_static(owner, name)
        return owner, name

    def load_replacement(self) -> Callable[..., Any]:
        return _load(self.replacement)

    def load_fallback(self) -> Callable[..., Any] | None:
        return _load(self.fallback) if self.fallback else None


def _load(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return loaded


def fingerprint(function: Callable[..., Any]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a function's dedented source, wrappers taken off.

    Raises:
        OSError: it has no source.
    """
    return source_fingerprint(inspect.getsource(inspect.unwrap(function)))


def plain_function(raw: Any) -> Callable[..., Any]:
    """The function inside a static or class method, or itself."""
    function: Callable[..., Any] = raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw
    return function


def check_original(patch: Patch, function: Callable[..., Any], *, recipe: int, versions: str) -> None:
    """Make sure that a function is one that the patch was written for.

    Raises:
        RecipeMisfit: its parameters or its source differ from what the patch knows.
    """
    parameters = tuple(inspect.signature(inspect.unwrap(function)).parameters)
    try:
        found = fingerprint(function)
    except OSError:
        found = "none: it has no source"
    check_known(patch, parameters, found, recipe=recipe, versions=versions)


def check_known(patch: Patch, parameters: tuple[str, ...], found: str, *, recipe: int, versions: str) -> None:
    """Make sure that parameters and fingerprint are of a function that the patch was written for.

    Raises:
        RecipeMisfit: they are not.
    """
    if Original(parameters, found) in patch.earlier:
        return
    if parameters != patch.parameters:
        raise _misfit(
            patch,
            f"its parameters are ({', '.join(parameters)}), not ({', '.join(patch.parameters)})",
            recipe,
            versions,
        )
    if found not in patch.fingerprints:
        known = " or ".join(patch.fingerprints)
        raise _misfit(patch, f"its source fingerprint is {found}, not {known}", recipe, versions)


def absent(patch: Patch, *, recipe: int, versions: str) -> RecipeMisfit:
    """The error for a function that is not there."""
    return RecipeMisfit(
        f"recipe {recipe} changes {patch.target}, which {versions} does not have",
        hint="leave the recipe out, or install a version that it fits",
    )


def _misfit(patch: Patch, difference: str, recipe: int, versions: str) -> RecipeMisfit:
    return RecipeMisfit(
        f"recipe {recipe} does not fit {patch.target} of {versions}: {difference}",
        hint="`vlmprof recipes list` shows the versions that fit; leave the recipe out, or install one of them",
    )
