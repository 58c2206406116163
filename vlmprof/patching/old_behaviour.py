"""What an engine did before it took a recipe upstream, as far as it can still be asked for."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from vlmprof.patching.effects import Adds, Effect, Removes
from vlmprof.patching.fits import Fits
from vlmprof.patching.launch import Launch
from vlmprof.patching.patch import Patch


@dataclass(frozen=True, slots=True, kw_only=True)
class OldBehaviour:
    """The old behaviour that a recipe replaced and that an engine still has, for one family.

    Attributes:
        name: as `--baseline` takes it: `pil`.
        title: what does the work then, for people.
        fits: versions since which it is the old behaviour; with others it is what the engine does.
        request: fields of a chat request's body that ask for it, so that one server serves both.
        permission: how a server is started so that it takes such fields from a client.
        asks_permission: `module:function` that engines have which refuse them otherwise; empty for all.
        launch: how a server is started that works so for every request, whoever sends it.
        replaced: functions of today's engine that are not called then, shell patterns divided by `|`.
        span: name of the agent's span which every request has that was served so, and no other.
    """

    name: str
    title: str
    fits: tuple[Fits, ...] = ()
    request: Mapping[str, Any]
    permission: Launch
    asks_permission: str = ""
    launch: Launch
    replaced: str
    span: str

    def leaves_out(self, patches: Collection[Patch]) -> bool:
        """Whether one of some patches is of a function that is not called then."""
        return any(self._replaces(patch.qualified_name) for patch in patches)

    def hides(self, effects: Collection[Effect]) -> bool:
        """Whether one of some claims is about a function of which a run with this behaviour has no sample."""
        return any(self._replaces(name) for effect in effects for name in _functions(effect))

    def _replaces(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.replaced.split("|"))


def _functions(effect: Effect) -> list[str]:
    match effect:
        case Removes():
            return effect.function.split("|")
        case Adds():
            return effect.like.split("|")
        case _:
            return []
