"""What was derived from weights is made again when the engine may have changed them, and not with every step."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the models' extra is not installed")

from vlmprof.patching import Family, PatchedCall  # noqa: E402
from vlmprof_recipes import r14_fold_normalization, r15_float32_vision  # noqa: E402
from vlmprof_recipes.weight_changes import answer, load, state_of  # noqa: E402


class _Worker:
    def __getattr__(self, attr: str) -> Callable[[], str]:
        return lambda: attr


def _asked(name: str) -> str:
    done: str = answer(PatchedCall(getattr, 0), _Worker(), name)()
    return done


@pytest.mark.parametrize(
    "name", ["reload_weights", "update_weights", "finish_weight_update", "wake_up", "load_model", "get_model"]
)
def test_a_worker_that_is_asked_for_what_may_change_weights_has_other_ones(name: str) -> None:
    """A method of an extension is called by names that nobody knows here; it gets its answer."""
    before = state_of([])
    assert _asked(name) == name
    assert state_of([]) != before


def test_steps_leave_weights_as_they_are() -> None:
    """What the engine asks a worker for between two tokens: weights must not be widened again for it."""
    before = state_of([])
    for name in ("sample_tokens", "take_draft_token_ids", "execute_dummy_batch", "check_health"):
        _asked(name)
    assert state_of([]) == before


@pytest.mark.parametrize("fails", [False, True])
def test_loading_weights_changes_them_even_where_it_stops_amid_them(fails: bool) -> None:
    """The engine gets what its function returned or raised."""

    def load_weights(_model: Any, weights: Iterator[str]) -> set[str]:
        loaded = {next(weights)}
        if fails:
            raise ValueError("truncated")
        return loaded

    before = state_of([])
    call = PatchedCall(load_weights, 0)
    if fails:
        with pytest.raises(ValueError, match="truncated"):
            load(call, None, iter(["bias"]))
    else:
        assert load(call, None, iter(["bias"])) == {"bias"}
    assert state_of([]) != before


def test_a_parameter_that_was_made_in_inference_mode_has_a_state() -> None:
    """torch counts no changes of it and raises when asked for them: the engine's ways alone are noticed."""
    with torch.inference_mode():
        parameter = torch.nn.Parameter(torch.zeros(1))
    assert state_of([parameter]) == state_of([parameter])


def test_both_recipes_that_derive_weights_watch_them_in_every_family_and_version() -> None:
    """Of what they replace in a worker and in a model."""
    rows = [
        (family, patches)
        for recipe in (r14_fold_normalization.recipe, r15_float32_vision.recipe)
        for family, patches in (
            *recipe.patches.items(),
            *((family, row.patches) for family, row in recipe.earlier.items() if row.patches),
        )
    ]
    assert {family for family, _ in rows} == set(Family)
    for _, patches in rows:
        names = {patch.target.rpartition(".")[2] for patch in patches}
        assert {"__getattr__", "load_weights"} <= names
