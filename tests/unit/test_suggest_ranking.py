"""The order of suggestions, what each adds to those above it, what shows it, and how to try it."""

from collections.abc import Mapping, Sequence

import pytest

from tests.unit.synthetic_savings import model, recipe
from vlmprof.analysis import suggest
from vlmprof.analysis.suggest import Candidates, all_together, rank
from vlmprof.model.suggestions import NotSuggested, Suggestion
from vlmprof.patching import Adds, Effect, Recipe, Removes, SendsLess


@pytest.fixture(autouse=True)
def nanoseconds_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of these tests last 420 ns."""
    monkeypatch.setattr(suggest, "SMALLEST_SAVING_NS", 1)


def _ranked(
    effects: Mapping[int, Sequence[Effect]], *recipes: Recipe, active: tuple[int, ...] = ()
) -> tuple[list[Suggestion], list[NotSuggested]]:
    known = {each.number: each for each in recipes} or {number: recipe(number) for number in effects}
    candidates = Candidates(known, frozenset(active), {}, "MODEL")
    return rank(model(effects, active=frozenset(active)), candidates)


def test_the_largest_saving_comes_first() -> None:
    """`encode` 200, `preprocess` 100, `pad` 40."""
    suggestions, _ = _ranked({1: [Removes("pad")], 2: [Removes("Model.encode")], 3: [Removes("preprocess")]})
    assert [each.number for each in suggestions] == [2, 3, 1]
    assert [each.saving.saving_ns for each in suggestions] == [200, 100, 40]


def test_each_says_what_it_adds_to_those_above() -> None:
    """All of `pad` is in `preprocess`, which recipe 1 removes."""
    suggestions, _ = _ranked({1: [Removes("preprocess")], 2: [Removes("pad"), SendsLess(0.1)]})
    assert [each.added.saving_ns for each in suggestions if each.added] == [100, 9]
    assert all_together(suggestions) == {1, 2}


def test_a_recipe_is_valued_beside_what_it_needs_and_tried_with_it() -> None:
    """8 needs 1: its own saving is what it adds to 1, and `--ab 1,8` is the smallest trial."""
    suggestions, _ = _ranked(
        {1: [Removes("pad")], 8: [Removes("preprocess")]}, recipe(1), recipe(8, needs=(1,))
    )
    assert [(each.number, each.saving.saving_ns, each.tested) for each in suggestions] == [
        (8, 60, [1, 8]),
        (1, 40, [1]),
    ]
    assert suggestions[0].command == "vlmprof run MODEL --ab 1,8"
    assert suggestions[0].added is not None
    assert suggestions[0].added.saving_ns == 100


def test_of_two_that_conflict_the_better_one_is_taken() -> None:
    """3 may not be on with 2, whichever of them says so."""
    suggestions, _ = _ranked(
        {2: [Removes("Model.encode")], 3: [Removes("preprocess")], 4: [Removes("pad")]},
        recipe(2),
        recipe(3, conflicts=(2,)),
        recipe(4),
    )
    assert [(each.number, each.conflicts_with, each.added is None) for each in suggestions] == [
        (2, [], False),
        (3, [2], True),
        (4, [], False),
    ]
    assert all_together(suggestions) == {2, 4}


def test_what_was_on_is_not_suggested_and_stays_on_in_the_trial() -> None:
    """The run had recipe 1 on."""
    suggestions, useless = _ranked({1: [Removes("scan")], 2: [Removes("pad")]}, active=(1,))
    assert [each.number for each in suggestions] == [2]
    assert useless == []
    assert suggestions[0].command == "vlmprof run MODEL --recipes 1 --ab 1,2"


def test_what_would_save_nothing_or_cost_time_is_listed_apart() -> None:
    """2's function is nowhere; 3 adds half of `preprocess` to the request."""
    suggestions, useless = _ranked({2: [Removes("absent")], 3: [Adds("preprocess", 0.5)]})
    assert suggestions == []
    assert [each.number for each in useless] == [2, 3]
    assert "show nothing" in useless[0].reason
    assert "cost" in useless[1].reason


def test_the_evidence_names_stage_function_file_line_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `preprocess` 40 ns at line 10 and 20 at line 20; bytes take half of 90; what is added is < 0."""
    monkeypatch.setattr("vlmprof.analysis.suggest_evidence._SMALLEST_NS", 1)
    effects: list[Effect] = [Removes("preprocess", "self"), SendsLess(0.5), Adds("scan", 0.1)]
    [suggestion], _ = _ranked({1: effects})
    found = [(each.stage, each.function, each.file, each.line, each.time_ns) for each in suggestion.evidence]
    assert found == [
        ("image_transform", "preprocess", "p.py", 10, 60),
        ("ipc_transfer", "", "", 0, 45),
        ("vision_encoder", "scan", "e.py", 7, -5),
    ]
