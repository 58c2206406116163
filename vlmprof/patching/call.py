"""One call of a replaced function: what its replacement sees, and whether a recipe did its work in it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

NOTHING_TO_DO = "nothing was left for it to do"
"""Of a recipe that was on in a call that was of use to others alone, or that had only data of the engine's own."""


@dataclass(frozen=True, slots=True)
class PatchCounts:
    """How often a replacement was called in one process.

    Attributes:
        failures: calls in which it raised and was passed over.
        gave_way: calls that it left to the engine.
    """

    calls: int
    failures: int
    gave_way: int = 0


class PatchedCall:
    """One call of a replaced function, as its replacement sees it.

    A call is the use of every recipe of the patch that is on; of those alone that its replacement asked about by
    `uses`, if it did; of none where it gave way.

    Attributes:
        mask: the patch's recipes that are on; read once, so that a call is of one mind.
        raised: what the original raised in this call, if it did.
        gave_way: why the replacement left the call to the engine; empty where it did not.
    """

    __slots__ = ("_function", "_named", "gave_way", "mask", "raised")

    def __init__(self, function: Callable[..., Any], mask: int) -> None:
        self._function = function
        self._named: int | None = None
        self.mask = mask
        self.raised: BaseException | None = None
        self.gave_way = ""

    def is_on(self, number: int) -> bool:
        """Whether a recipe is on; to ask does not make the call its use."""
        return bool(self.mask >> number & 1)

    def uses(self, *numbers: int) -> bool:
        """Whether all of these recipes are on; if so, they do their work in this call.

        To be asked when nothing else is in the way. With no numbers, no recipe has any work in the call, unless
        another question names it.
        """
        asked = 0
        for number in numbers:
            asked |= 1 << number
        are_on = self.mask & asked == asked
        self._named = (self._named or 0) | (asked if are_on else 0)
        return are_on

    def original(self, *args: Any, **kwargs: Any) -> Any:
        """Call what was replaced, as a part of the replacement's work."""
        try:
            return self._function(*args, **kwargs)
        except BaseException as error:
            self.raised = error
            raise

    def give_way(self, reason: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call what was replaced in the place of the replacement's work.

        Args:
            reason: what the replacement cannot treat, in a few words that no request changes: `videos`.
        """
        self.gave_way = reason
        return self.original(*args, **kwargs)

    @property
    def used(self) -> int:
        """Mask of the recipes that did their work in this call."""
        if self.gave_way:
            return 0
        return self.mask if self._named is None else self._named


class CallCounter(Protocol):
    """Where calls are counted by recipe, each mask having a bit for every recipe concerned; see `CallLedger`."""

    def add_calls(self, mask: int) -> None: ...

    def add_failures(self, mask: int) -> None: ...

    def add_gave_way(self, mask: int, reason: str) -> None: ...
