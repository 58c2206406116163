"""What checks of recipes are a fault, and for which recipes."""

from typing import Any

import msgspec
import pytest

from tests.unit.synthetic_savings import recipe
from tests.unit.synthetic_verification import PROCESSED
from vlmprof.model.verification import (
    PixelsCompared,
    PixelsMismatched,
    PixelsUnseen,
    ProcessorCheck,
    ServerCheck,
    SetVerdict,
)
from vlmprof.patching import Exactness, Recipe
from vlmprof.session.verify_verdict import AllChecks, verdict

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


def _verdict(
    exactness: Exactness = Exactness.EXACT,
    *,
    processor: list[ProcessorCheck],
    server: list[ServerCheck],
    server_prompts: int = 1,
) -> SetVerdict:
    known: dict[int, Recipe] = {1: recipe(1, exactness=exactness)}
    return verdict([1], known, AllChecks(processor, server, 1, server_prompts, ("float32",)))


def _faults(
    exactness: Exactness = Exactness.EXACT, *, processed: dict[str, Any] | None = None, **served: Any
) -> list[str]:
    check = msgspec.structs.replace(_SERVED, **served)
    known: dict[int, Recipe] = {1: recipe(1, exactness=exactness)}
    processor = [msgspec.structs.replace(PROCESSED, **processed or {})]
    return verdict([1], known, AllChecks(processor, [check], 1, 1, (check.dtype,))).faults


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
        (
            {"pixels": PixelsMismatched(found="float32 [2, 3, 8, 8]", expected="bfloat16 [2, 3, 8, 9]")},
            "a.jpg: pixels are float32 [2, 3, 8, 8] with recipes, bfloat16 [2, 3, 8, 9] without",
        ),
        (
            {"pixels": PixelsUnseen(reason="the worker fails with recipes: KeyError: 'x'")},
            "a.jpg: pixels could not be compared: the worker fails with recipes: KeyError: 'x'",
        ),
    ],
)
@pytest.mark.parametrize("exactness", list(Exactness))
def test_other_inputs_and_hidden_failures_are_a_fault_of_any_recipe(
    exactness: Exactness, change: dict[str, Any], fault: str
) -> None:
    """A tolerance is about values, never about ids, ranges, shapes, decisions or a recipe that did not work."""
    known: dict[int, Recipe] = {1: recipe(1, exactness=exactness)}
    processor = [msgspec.structs.replace(PROCESSED, **change), PROCESSED]
    found = verdict([1], known, AllChecks(processor, [_SERVED], 2, 1, ("float32",)))
    assert found.faults == [fault]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"repeat_equal": False}, "another answer from the caches"),
        ({"foreign_hits": 1}, "made under other recipes"),
        ({"failures": 1}, "1 calls failed"),
        ({"calls": 0}, "never called"),
        ({"hits": 0}, "caches could not be shown: sent again, 0 of 1 images came from the multimodal cache"),
        ({"hits": None}, "caches could not be shown: the engine's /metrics has no count"),
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
    pixels = {"pixels": PixelsCompared(max_difference=0.25, mean_difference=0.1)}
    assert _faults(processed=pixels) == ["a.jpg: pixels differ by up to 0.25"]
    assert _faults(text_equal=False) == ["a.jpg in float32: the greedy text differs"]
    assert _faults(Exactness.TOLERANCE, processed=pixels, text_equal=False) == []


@pytest.mark.parametrize("check", ["text_equal", "repeat_equal"])
def test_a_text_in_bfloat16_may_differ(check: str) -> None:
    """Two tokens of nearly equal probability may change places by rounding alone, as after a cached prefix."""
    served: dict[str, Any] = {"dtype": "bfloat16", check: False}
    assert _faults(**served) == []


def test_a_request_that_only_recipes_refuse_is_a_fault_and_needs_no_cache() -> None:
    """What was refused was never in a cache."""
    refused = msgspec.structs.replace(_SERVED, refused="400", hits=0)
    found = _verdict(processor=[PROCESSED], server=[refused, _SERVED], server_prompts=2)
    assert found.faults == ["a.jpg in float32: refused with recipes (400), taken without"]


def test_two_refusals_agree_whatever_they_say() -> None:
    """The engine's message may name a function that a recipe replaces; another prompt is taken."""
    both = {"refused": "A", "refused_without": "B"}
    unseen = PixelsUnseen(reason="the prompt was refused")
    processor = [msgspec.structs.replace(PROCESSED, pixels=unseen, **both), PROCESSED]
    server = [msgspec.structs.replace(_SERVED, hits=0, **both), _SERVED]
    known: dict[int, Recipe] = {1: recipe(1)}
    assert verdict([1], known, AllChecks(processor, server, 2, 2, ("float32",))).faults == []


def test_checks_that_were_not_made_are_a_fault() -> None:
    """None of one prompt, 1 of 3; a server that was not asked for lacks nothing."""
    known: dict[int, Recipe] = {1: recipe(1)}
    nothing = verdict([1], known, AllChecks([], [], 1, 3, ("float32", "bfloat16")))
    assert nothing.faults == [
        "in the processor: 0 of 1 prompts were checked",
        "in the server, float32: 0 of 3 prompts were checked",
        "in the server, bfloat16: 0 of 3 prompts were checked",
    ]
    some = _verdict(processor=[PROCESSED], server=[_SERVED], server_prompts=3)
    assert some.faults == ["in the server, float32: 1 of 3 prompts were checked"]
    assert verdict([1], known, AllChecks([PROCESSED], [], 1, 3, ())).faults == []


def test_checks_of_refused_prompts_alone_show_nothing() -> None:
    """A server that takes no image refuses alike with and without recipes."""
    both = {"refused": "at most 0 images", "refused_without": "at most 0 images"}
    found = _verdict(
        processor=[msgspec.structs.replace(PROCESSED, **both)],
        server=[msgspec.structs.replace(_SERVED, **both)],
    )
    assert found.faults == [
        "in the processor: could not be shown: every prompt was refused (at most 0 images)",
        "in the server, float32: could not be shown: every prompt was refused (at most 0 images)",
    ]


def test_an_embedding_that_normalizes_is_noted_and_no_fault() -> None:
    """Its tiles were compared, its weights were not there."""
    raw = PixelsCompared(max_difference=0.0, mean_difference=0.0, embedded_raw=True)
    found = _verdict(processor=[msgspec.structs.replace(PROCESSED, pixels=raw)], server=[_SERVED])
    assert found.faults == []
    assert found.allowed.startswith("1: the patch embedding normalizes")
    assert _verdict(processor=[PROCESSED], server=[_SERVED]).allowed == ""
