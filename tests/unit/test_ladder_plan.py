"""The rows of a ladder: in the paper's order, with what needs what, and what is left out said."""

from typing import Any

import pytest

from vlmprof.errors import UsageError
from vlmprof.model.run_folder import RunFolder
from vlmprof.patching import Diagnosis, Family, Recipe
from vlmprof.session.ladder_plan import LadderPlan, parse_order, plan_ladder


def _nothing(_run: RunFolder) -> Diagnosis:
    return Diagnosis(effects=())


def _recipe(number: int, **fields: Any) -> Recipe:
    return Recipe(
        number=number, slug="", title="", paper="", here="", standing={}, diagnose=_nothing, **fields
    )


_RECIPES = {
    1: _recipe(1),
    8: _recipe(8, needs=(1,)),
    10: _recipe(10),
    11: _recipe(11, needs=(8,)),
    14: _recipe(14),
}
_CHOSEN = (1, 8, 10, 11, 14)


def _plan(**options: Any) -> LadderPlan:
    return plan_ladder(Family.IDEFICS3, _CHOSEN, _RECIPES, refused={9: "restart"}, **options)


def test_rows_follow_the_paper_and_recipes_beyond_it_come_last() -> None:
    """Table 2 has ten rows; of its recipes 1, 8, 10 and 11 can be on; 14 gets a row of its own."""
    plan = _plan()
    assert plan.table is not None
    assert [step.named for step in plan.steps][:2] == [[9], [1, 2, 5]]
    assert len(plan.steps) == 11
    assert plan.trial == {
        "+1": "1",
        "+8": "1,8",
        "+10": "1,8,10",
        "+11": "1,8,10,11",
        "+14": "1,8,10,11,14",
    }
    assert plan.steps[0].left_out == {9: "restart"}


def test_the_papers_changes_are_relative_to_its_baseline() -> None:
    """Table 2: 22.8 ms of 344.7 ms is 93.4% less, 533.28 of 460.71 tokens/s is 15.8% more."""
    last = _plan().steps[9].paper
    assert last is not None
    assert last.ttft_change == pytest.approx(-0.934, abs=5e-4)
    assert last.tokens_per_s_change == pytest.approx(0.158, abs=5e-4)


def test_a_recipe_waits_for_what_it_needs() -> None:
    """11 needs 8, which needs 1: named first, it comes on with the row of 1; its own row says what it waits for."""
    plan = _plan(order=[[11], [8], [1], [10]])
    assert [step.arm for step in plan.steps] == ["", "", "+1,8,11", "+10", "+14"]
    assert plan.steps[0].left_out == {11: "comes on with recipe 8, which it needs"}
    assert plan.steps[0].paper is None


def test_an_ablation_leaves_out_what_needs_the_recipe() -> None:
    """Without 1 there can be neither 8 nor 11, which needs 8."""
    without_1 = _plan(ablate=True).ablations[0]
    assert (without_1.arm, without_1.recipes) == ("all-1", [10, 14])
    assert without_1.title == "all without 1, 8, 11"


def test_a_model_without_a_table_gets_its_recipes_one_by_one() -> None:
    """The paper measured no ladder of Qwen3-VL."""
    plan = plan_ladder(Family.QWEN3_VL, (1, 10), _RECIPES, refused={})
    assert plan.table is None
    assert [step.named for step in plan.steps] == [[1], [10]]


def test_an_ablation_that_is_a_row_again_is_measured_once() -> None:
    """All without 14 is the row before 14 came: one arm, or the caches would answer the second one's requests."""
    plan = _plan(ablate=True)
    assert plan.ablations[-1].arm == "+11"
    assert len(set(plan.trial.values())) == len(plan.trial)


def test_an_ablation_that_leaves_nothing_is_none() -> None:
    """Of one recipe alone: without it stands the baseline."""
    assert plan_ladder(Family.QWEN3_VL, (1,), _RECIPES, refused={}, ablate=True).ablations == []


_TENSORS = _recipe(2)
_PILLOW = _recipe(9, conflicts=(2,))
_FROM_PIL = {2: _TENSORS, 9: _PILLOW, **_RECIPES}


def _from_old(**options: Any) -> LadderPlan:
    return plan_ladder(Family.IDEFICS3, _CHOSEN, _FROM_PIL, refused={9: "restart"}, today=2, **options)


def test_from_an_old_behaviour_the_engine_as_it_is_has_a_row_of_its_own() -> None:
    """Before the paper's row 1, 2, 5, whose figures stay with it; every later row has 2 in it."""
    plan = _from_old()
    assert [step.named for step in plan.steps][:3] == [[9], [2], [1, 2, 5]]
    assert [step.paper is None for step in plan.steps][:3] == [False, True, False]
    assert [step.arm for step in plan.steps if step.arm] == ["+2", "+1", "+8", "+10", "+11", "+14"]
    assert all(2 in step.recipes for step in plan.steps if step.arm)
    assert plan.trial["+2"] == "2"
    assert "conflicts with recipe 2" in plan.steps[0].left_out[9]


def test_no_order_puts_a_recipe_on_the_old_behaviour() -> None:
    """14 is named before 2, and waits for it; an order without 2 begins with it."""
    named_later = _from_old(order=[[14], [2]])
    assert [step.arm for step in named_later.steps][:2] == ["", "+2,14"]
    assert named_later.steps[0].left_out == {14: "comes on with recipe 2, which it needs"}
    assert [step.arm for step in _from_old(order=[[14]]).steps][:2] == ["+2", "+14"]


def test_an_order_with_a_group_of_its_own_for_2_is_kept() -> None:
    assert _from_old(order=[[1, 2]]).steps[0].arm == "+1,2"


def test_no_ablation_leaves_out_the_engine_as_it_is() -> None:
    """Without it there is the baseline; the note says so. All without 1 is still today's engine."""
    plan = _from_old(ablate=True)
    assert [step.named for step in plan.ablations] == [[1], [8], [10], [11], [14]]
    assert plan.ablations[0].recipes == [2, 10, 14]
    (note,) = plan.notes
    assert note.startswith("no row leaves out recipe 2")
    assert _from_old().notes == []


def test_an_order_is_groups_of_recipes_each_once() -> None:
    assert parse_order("10 1,11 8", _RECIPES) == [(10,), (1, 11), (8,)]
    assert parse_order("  1,1   8 ", _RECIPES) == [(1,), (8,)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("99", "no recipe '99'"),
        ("0", "no recipe '0'"),
        ("1 two", "no recipe 'two'"),
        ("1 ²", "no recipe '²'"),
        ("", "names no recipe in some row"),
        ("1 , 8", "names no recipe in some row"),
        ("1,8 10 8", "names recipe 8 twice"),
    ],
)
def test_an_order_that_says_nothing_of_some_row_is_refused(text: str, told: str) -> None:
    """Each would leave a row of the table empty, for which a server would be started all the same."""
    with pytest.raises(UsageError, match=told):
        parse_order(text, _RECIPES)
