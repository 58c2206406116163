"""How a server is started so that a recipe is in it: variables and engine arguments beside the user's own."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

_LISTS = ("LD_PRELOAD", "PYTHONPATH")


@dataclass(frozen=True, slots=True)
class Launch:
    """What a server is started with.

    Attributes:
        environment: variables; those that hold a list of paths are put in front of what is there, others
            replace it.
        arguments: engine arguments.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    def added_to(self, environment: Mapping[str, str]) -> dict[str, str]:
        """A whole environment with these variables in it."""
        added = dict(environment)
        for name, value in self.environment.items():
            before = added.get(name, "") if name in _LISTS else ""
            added[name] = os.pathsep.join(filter(None, (value, before)))
        return added

    def __or__(self, other: "Launch") -> "Launch":
        """This launch and another one's additions to it."""
        return Launch(other.added_to(self.environment), (*self.arguments, *other.arguments))
