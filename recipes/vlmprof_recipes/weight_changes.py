"""When what was derived from the engine's weights must be made again.

vLLM reloads, updates and wakes weights in place: it copies into `parameter.data`, which leaves the parameter, its
address and torch's count of its changes as they were. A few of the values would not show it either: an update may
change one in a thousand. But a worker does all of it in methods that somebody has asked for by name, and it answers
in one place, `WorkerWrapperBase.__getattr__`. Extensions of the worker come through there too, and so do functions
that are sent to it. Names that change no weight and are asked for while requests are served are let by. Whoever
holds the model itself comes through its `load_weights`.
"""

from collections.abc import Iterable
from itertools import count
from operator import attrgetter
from typing import Any

from vlmprof.patching import PatchedCall

_CHANGE_NO_WEIGHT = frozenset(
    {
        "check_health",
        "execute_dummy_batch",
        "get_encoder_timing_stats",
        "profile",
        "release_late_interaction_query_cache",
        "reset_encoder_cache",
        "sample_tokens",
        "take_draft_token_ids",
    }
)
_version = attrgetter("_version")

# No number is given twice: of two threads that come at once, neither can bring back an earlier one.
_numbers = count()
_current = next(_numbers)


def answer(call: PatchedCall, wrapper: Any, attr: str) -> Any:
    """What a worker has under a name; whoever asked may then change weights."""
    if attr not in _CHANGE_NO_WEIGHT:
        weights_may_change()
    return call.original(wrapper, attr)


def load(call: PatchedCall, model: Any, weights: Any) -> Any:
    """Load weights into a model, all of them or some."""
    try:
        return call.original(model, weights)
    finally:
        weights_may_change()


def weights_may_change() -> None:
    """Have everything that was derived from weights made again when it is needed next."""
    global _current  # noqa: PLW0603 - the weights are those of the process
    _current = next(_numbers)


def state_of(parameters: Iterable[Any]) -> tuple[int, tuple[int, ...]]:
    """Equal for as long as parameters hold the same values; takes 0.06 us for each of them.

    Beside the engine's ways this notices operations in place on the parameters themselves: torch counts them, but
    for those of a parameter that was made in inference mode.
    """
    try:
        return _current, tuple(map(_version, parameters))
    except RuntimeError:
        return _current, ()
