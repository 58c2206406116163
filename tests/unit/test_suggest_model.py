"""What a set of recipes would save: claims about functions and bytes, weighed on a run of known nanoseconds."""

from typing import Any

import pytest

from tests.unit.synthetic_savings import model, request, sampled_run, unequal_run
from vlmprof.patching import Adds, Effect, Removes, SendsLess


@pytest.mark.parametrize(
    ("effect", "saving_ns"),
    [
        (Removes("preprocess"), 100),
        (Removes("preprocess", "self"), 60),
        (Removes("preprocess", at="mask = zeros("), 20),
        (Removes("preprocess", "self", at="zeros("), 60),
        (Removes("preprocess", at="= pad("), 40),
        (Removes("pad", share=0.5), 20),
        (Removes("Model.encode", "self"), 150),
        (Removes("*.encode|pad"), 240),
        (Removes("pad", under="preprocess"), 40),
        (Removes("pad", under="*.encode"), 0),
        (Removes("scan", under="main"), 50),
        (Removes("absent"), 0),
        (Removes("preprocess", at="not in its source"), 0),
        (SendsLess(0.5), 45),
        (Adds("preprocess", 0.3), -30),
    ],
    ids=str,
)
def test_a_claim_takes_what_the_samples_show_of_it(effect: Effect, saving_ns: int) -> None:
    """See the run's table: `pad` is 40 of the 100 of `preprocess`; bytes take 100 there less 10 on the way back."""
    saving = model({1: [effect]}).saving({1})
    assert (saving.saving_ns, saving.low_ns, saving.high_ns) == (saving_ns, saving_ns, saving_ns)


@pytest.mark.parametrize(("on_gpu", "saving_ns"), [(False, 0), (True, 40)])
def test_work_that_moves_to_the_device_is_saved_where_that_is_a_gpu(on_gpu: bool, saving_ns: int) -> None:
    """`pad` takes 40 ns in the API server, and as long in a worker without a GPU."""
    moved: list[Effect] = [Removes("pad"), Adds("pad", 1.0, on_device=True)]
    assert model({1: moved}, on_gpu=on_gpu).saving({1}).saving_ns == saving_ns


def test_work_that_another_recipe_leaves_out_again_is_that_one_s_saving() -> None:
    """1 saves `scan`, 50, and adds 20; with 2 the 20 are not done: 50 together, and 2 saves 20 more than 1."""
    both = model({1: [Removes("scan"), Adds("pad", 0.5, unless=2)], 2: []})
    assert both.saving({1}).saving_ns == 30
    assert both.saving({1, 2}).saving_ns == 50
    assert both.saving({2}, given={1}).saving_ns == 20


@pytest.mark.parametrize(
    ("machine", "saving_ns"),
    [
        ({}, 50),
        ({"multiplies_bfloat16": False}, 50),
        ({"multiplies_bfloat16": True}, 0),
        ({"on_gpu": True, "multiplies_bfloat16": False}, 0),
    ],
    ids=str,
)
def test_slow_bfloat16_products_are_saved_only_where_they_are_slow(
    machine: dict[str, Any], saving_ns: int
) -> None:
    """`scan` takes 50 ns; of a run that says nothing of its CPU, the claim stands."""
    claim = Removes("scan", without_bfloat16=True)
    assert model({1: [claim]}, **machine).saving({1}).saving_ns == saving_ns


def test_what_two_recipes_both_remove_counts_once() -> None:
    """1 removes all of `preprocess`, 2 its `pad`: together 100, and 2 adds nothing to 1."""
    both = model({1: [Removes("preprocess")], 2: [Removes("pad")]})
    assert both.saving({1, 2}).saving_ns == 100
    assert both.saving({2}, given={1}).saving_ns == 0
    assert both.saving({1}, given={2}).saving_ns == 60


def test_parts_of_one_function_add_up_to_the_whole_at_most() -> None:
    """0.5 and 0.3 of 40 are 32; 0.5 and 0.8 of it are all 40, not 52."""
    parts = model(
        {1: [Removes("pad", share=0.5)], 2: [Removes("pad", share=0.3)], 3: [Removes("pad", share=0.8)]}
    )
    assert parts.saving({1, 2}).saving_ns == 32
    assert parts.saving({1, 3}).saving_ns == 40


def test_of_one_part_of_a_function_the_largest_share_counts() -> None:
    """Both take 0.8 of 50 ns for the same reason: 40 together, not all 50."""
    claim = Removes("scan", share=0.8, part="products")
    same = model({1: [claim], 2: [claim]})
    assert same.saving({1, 2}).saving_ns == 40
    assert same.saving({2}, given={1}).saving_ns == 0


def test_a_recipe_s_own_claims_about_one_stack_count_once() -> None:
    """The larger share holds where a stack shows two claimed functions: `pad` inside `preprocess`."""
    nested = model({1: [Removes("preprocess", share=0.5), Removes("pad")]})
    assert nested.saving({1}).saving_ns == 0.5 * 60 + 40


def test_bytes_that_nobody_sends_any_more_are_not_saved_twice() -> None:
    """0.6 and 0.7 of the bytes are all of them: 90 ns."""
    sent = model({1: [SendsLess(0.6)], 2: [SendsLess(0.7)]})
    assert sent.saving({1, 2}).saving_ns == 90
    assert sent.saving({2}, given={1}).saving_ns == 36


def test_shares_of_bytes_are_of_those_sent_without_any_recipe() -> None:
    """With 1 on, half of the bytes are left, and they take the 90 ns: 0.25 of all is half of the rest."""
    run = model({1: [SendsLess(0.5)], 2: [SendsLess(0.25)]}, active=frozenset({1}))
    assert run.saving({2}).saving_ns == 45


def test_a_recipe_that_was_on_has_nothing_more_to_remove() -> None:
    """What samples still show of its functions is what it left."""
    assert model({1: [Removes("pad")]}, active=frozenset({1})).saving({1}).saving_ns == 0


def test_times_are_those_of_the_requests_without_a_profiler() -> None:
    """`pad` is 40% of a stage that takes 100 ns under the sampler and 50 without: 20."""
    plain = [request(number, slower=0.5) for number in range(10, 13)]
    assert model({1: [Removes("pad")]}, sampled_run(plain=plain)).saving({1}).saving_ns == 20


def test_the_interval_is_as_wide_as_requests_differ() -> None:
    """Requests of 100, 200 and 300%: the middle one's 40 ns of `pad` are 80, a resample's between 40 and 120."""
    plain = [request(number, slower=number) for number in (1, 2, 3)]
    saving = model({1: [Removes("pad")]}, sampled_run(plain=plain)).saving({1})
    assert (saving.low_ns, saving.saving_ns, saving.high_ns) == (40, 80, 120)


def test_samples_speak_for_requests_like_their_own() -> None:
    """Small requests never call `pad`, large ones for 80 ns: the median request is small here, and large there.

    Of all samples together, `pad` is 14% and 38% of the stage: 14 ns of a small request and 75 of a large one.
    """
    claim = {1: [Removes("pad")]}
    assert model(claim, unequal_run(small=9, large=3)).saving({1}).saving_ns <= 4
    assert model(claim, unequal_run(small=3, large=9)).saving({1}).saving_ns >= 78


def test_a_share_that_is_not_certain_widens_the_interval() -> None:
    """Half of 40 ns, give or take a quarter of it: 20, within 10 and 30."""
    saving = model({1: [Removes("pad", share=0.5, spread=0.25)]}).saving({1})
    assert saving.saving_ns == 20
    assert 10 <= saving.low_ns <= 12
    assert 28 <= saving.high_ns <= 30


@pytest.mark.parametrize(("shrinks", "saving_ns"), [(True, 40 + 20), (False, 40)])
def test_waits_for_other_requests_shrink_with_their_work(shrinks: bool, saving_ns: int) -> None:
    """`pad` is 40% of what the pool's thread does: of 50 ns of waiting for that thread 20 go."""
    plain = [request(number) for number in range(3)]
    for each in plain:
        each.stages["pool_wait"] = 50
    run = sampled_run(plain=plain)
    assert model({1: [Removes("pad")]}, run, waits_shrink=shrinks).saving({1}).saving_ns == saving_ns


def test_the_same_run_gives_the_same_interval() -> None:
    """The bootstrap's seed is fixed."""
    plain = [request(number, slower=number) for number in (1, 2, 3, 4)]
    first, second = (model({1: [Removes("pad")]}, sampled_run(plain=plain)).saving({1}) for _ in range(2))
    assert first == second
