"""What checks of recipes are a fault, and for which recipes."""

from typing import Any

import msgspec
import pytest

from tests.unit.synthetic_savings import recipe
from vlmprof.model.verification import ProcessorCheck, ServerCheck
from vlmprof.patching import Exactness, Recipe
from vlmprof.session.verify_server import Answer, logprob_difference
from vlmprof.session.verify_verdict import verdict

_PROCESSED = ProcessorCheck(
    recipes=[1],
    images=["a.jpg"],
    refused="",
    refused_without="",
    ids_equal=True,
    ranges_equal=True,
    max_difference=0.0,
    mean_difference=0.0,
    failures=0,
)
_SERVED = ServerCheck(
    recipes=[1],
    dtype="float32",
    images=["a.jpg"],
    refused="",
    refused_without="",
    text_equal=True,
    logprob_difference=0.0,
    repeat_equal=True,
    hits=1,
    foreign_hits=0,
    calls=3,
    failures=0,
)


def _faults(
    exactness: Exactness = Exactness.EXACT, *, processed: dict[str, Any] | None = None, **served: Any
) -> list[str]:
    known: dict[int, Recipe] = {1: recipe(1, exactness=exactness)}
    processor = [msgspec.structs.replace(_PROCESSED, **processed or {})]
    return verdict([1], known, processor, [msgspec.structs.replace(_SERVED, **served)]).faults


def test_checks_without_a_difference_have_no_fault() -> None:
    """Everything equal, called, and the cache answered when it should."""
    assert _faults() == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"refused": "ValueError: no"}, "a.jpg: refused with recipes (ValueError: no), taken without"),
        (
            {"refused_without": "ValueError: no"},
            "a.jpg: taken with recipes, refused without (ValueError: no)",
        ),
        ({"ids_equal": False}, "a.jpg: token ids differ"),
        ({"ranges_equal": False}, "a.jpg: placeholder ranges differ"),
        ({"failures": 2}, "a.jpg: 2 calls failed and went the engine's own way"),
    ],
)
@pytest.mark.parametrize("exactness", list(Exactness))
def test_other_inputs_and_hidden_failures_are_a_fault_of_any_recipe(
    exactness: Exactness, change: dict[str, Any], fault: str
) -> None:
    """A tolerance is about values, never about ids, ranges, decisions or a recipe that did not work."""
    assert _faults(exactness, processed=change) == [fault]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"repeat_equal": False}, "another answer from the caches"),
        ({"foreign_hits": 1}, "made under other recipes"),
        ({"failures": 1}, "1 calls failed"),
        ({"calls": 0}, "never called"),
        ({"refused": "400"}, "refused with recipes (400)"),
    ],
)
def test_a_server_s_caches_calls_and_decisions_are_a_fault_of_any_recipe(
    change: dict[str, Any], fault: str
) -> None:
    """What was never called proves nothing."""
    [found] = _faults(Exactness.TOLERANCE, **change)
    assert fault in found


def test_other_pixels_and_texts_are_a_fault_of_an_exact_recipe_alone() -> None:
    """A tolerance recipe says why its outputs may differ."""
    pixels = {"max_difference": 0.25}
    assert _faults(processed=pixels) == ["a.jpg: pixels differ by up to 0.25"]
    assert _faults(text_equal=False) == ["a.jpg in float32: the greedy text differs"]
    assert _faults(Exactness.TOLERANCE, processed=pixels, text_equal=False) == []


@pytest.mark.parametrize("check", ["text_equal", "repeat_equal"])
def test_a_text_in_bfloat16_may_differ(check: str) -> None:
    """Two tokens of nearly equal probability may change places by rounding alone, as after a cached prefix."""
    served: dict[str, Any] = {"dtype": "bfloat16", check: False}
    assert _faults(**served) == []


def test_two_refusals_agree_whatever_they_say() -> None:
    """The engine's message may name a function that a recipe replaces."""
    assert _faults(processed={"refused": "A", "refused_without": "B"}, refused="A", refused_without="B") == []


def test_log_probabilities_are_compared_until_the_texts_part() -> None:
    """`a`, then `b` against `c`: what follows is of different texts."""
    one = Answer(tokens=("a", "b", "d"), logprobs=(-1.0, -2.0, -3.0))
    other = Answer(tokens=("a", "c", "d"), logprobs=(-1.25, -9.0, -9.0))
    assert logprob_difference(one, other) == 0.25
    assert logprob_difference(one, Answer(refused="no")) is None
