"""The arms of a trial: what would compare the baseline with itself is refused before a server starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vlmprof.engines.vllm import VllmInstallation
from vlmprof.errors import UsageError
from vlmprof.model.run_info import ModelInfo
from vlmprof.patching.selection import Selection
from vlmprof.session import recipe_plan
from vlmprof.session.options import RunOptions
from vlmprof.session.prepare import _plan_blocks
from vlmprof.session.recipe_plan import RecipePlan, plan_recipes

_SMOLVLM = ModelInfo(
    name="toy", path="toy", model_type="smolvlm", architecture="SmolVLMForConditionalGeneration"
)
_ENGINE = VllmInstallation(Path("python"), {"vllm": "0.32.0"})


def _selected(text: str, *_: Any) -> Selection:
    """As of an engine that every recipe fits: `all` is 1, 8 and 10."""
    words = "1,8,10" if text == "all" else text
    return Selection(tuple(sorted({int(part) for part in words.split(",") if part.strip()})))


@pytest.fixture(autouse=True)
def _fitting_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_plan, "select_today", _selected)


def _options(trial: Mapping[str, str], **changes: Any) -> RunOptions:
    return RunOptions(model="toy", out=Path("run"), command=[], trial=trial, **changes)


def _plan(trial: Mapping[str, str], **changes: Any) -> RecipePlan:
    return plan_recipes(_options(trial, **changes), _SMOLVLM, _ENGINE)


@pytest.mark.parametrize(
    ("ab", "recipes", "told"),
    [
        ("1,8", "1,8", "compares recipes 1,8 with the same"),
        ("8,1,8", "1,8", "compares recipes 1,8 with the same"),
        ("all", "1,8,10", "compares recipes 1,8,10 with the same"),
        (",", "", "compares no recipes with the same"),
        (" ", "", "names no recipe"),
        ("", "1", "names no recipe"),
    ],
)
def test_an_arm_that_is_the_baseline_again_is_refused(ab: str, recipes: str, told: str) -> None:
    """Both would send the same images under the same recipes, and the caches would answer the second."""
    with pytest.raises(UsageError, match=told):
        _plan({"B": ab}, recipes=recipes)


def test_arms_that_differ_by_one_recipe_are_a_trial() -> None:
    plan = _plan({"B": "1,8"}, recipes="1")
    assert plan.arms == {"A": (1,), "B": (1, 8)}


@pytest.mark.parametrize("size", [{"rounds": 5}, {"per_block": 2}, {"rounds": 5, "per_block": 2}])
def test_the_size_of_a_trial_that_is_not_asked_for_is_refused(size: dict[str, int]) -> None:
    """It used to be passed over, and the run compared nothing."""
    with pytest.raises(UsageError, match="without --ab"):
        _plan_blocks(_options({}, **size), RecipePlan())


def test_how_many_requests_a_load_command_sends_is_its_own_business() -> None:
    """40 requests would be too few for the two blocks of 40 each that concurrency 20 takes."""
    with pytest.raises(UsageError, match="too few at concurrency 20"):
        _plan_blocks(_options({}, concurrency=20), RecipePlan())
    assert _plan_blocks(_options({}, concurrency=20, load_command="load"), RecipePlan())
