"""What a block's requests say to the engine."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from vlmprof.model.request import Phase
from vlmprof.patching import Family
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.source import InstalledSource
from vlmprof.session.baseline import choose_baseline
from vlmprof.session.measure import _requests
from vlmprof.workload.chat import ChatOptions
from vlmprof.workload.images import generated_images
from vlmprof.workload.schedule import Block


def _body(behaviour: str, *, with_baseline: bool = True) -> dict[str, Any]:
    old = choose_baseline("pil", Family.IDEFICS3, load_recipes(), InstalledSource([]))
    plan = SimpleNamespace(old=old if with_baseline else None)
    prepared: Any = SimpleNamespace(plan=plan, images=generated_images(1, 0))
    block = Block(0, Phase.CONTROL, 1, behaviour=behaviour)
    (request,) = _requests(prepared, block, ChatOptions("toy", "token"))
    body: dict[str, Any] = json.loads(request.body)
    return body


def test_a_request_of_the_baseline_asks_for_pil() -> None:
    assert _body("pil")["mm_processor_kwargs"] == {"backend": "pil"}


@pytest.mark.parametrize("with_baseline", [True, False])
def test_any_other_request_says_nothing_of_it(with_baseline: bool) -> None:
    """An engine that asks for permission would refuse it."""
    assert "mm_processor_kwargs" not in _body("", with_baseline=with_baseline)


def test_both_send_the_same_image_and_prompt() -> None:
    assert _body("pil")["messages"] == _body("")["messages"]
