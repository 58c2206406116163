"""What a block's requests say to the engine."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from vlmprof.errors import EngineFailed
from vlmprof.model.request import Phase, Request
from vlmprof.patching import Family
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.source import InstalledSource
from vlmprof.session import measure
from vlmprof.session.baseline import choose_baseline
from vlmprof.session.measure import _check, _requests
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


class _Alive:
    """A server that goes on, whatever happened; and the run's journal, as far as a check asks it."""

    log = "server.log"

    def __init__(self, *, answered: int) -> None:
        self.finished_requests = answered
        self.warnings: list[str] = []

    def check_alive(self, when: str) -> None: ...

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def _check_block(*statuses: int, answered: int) -> list[str]:
    """The warnings after a block whose requests ended with some HTTP statuses; 0 is no reply."""
    requests = [
        Request(
            str(number),
            Phase.CONTROL,
            7,
            0,
            None,
            None,
            0,
            0,
            0,
            (),
            http_status=status,
            error="" if status == 200 else "image is too small",
        )
        for number, status in enumerate(statuses)
    ]
    run: Any = _Alive(answered=answered)
    _check(run, Block(7, Phase.CONTROL, len(statuses)), requests, run)
    warnings: list[str] = run.warnings
    return warnings


def test_a_picture_that_the_engine_refuses_does_not_end_a_run_that_works() -> None:
    """At --per-block 1 it is a whole block; so are several pictures of a kind that lie side by side."""
    told = ["the engine refused every request of a block: image is too small"]
    assert _check_block(400, answered=3) == told
    assert _check_block(400, 413, answered=3) == told
    assert _check_block(400, 200, answered=3) == []


@pytest.mark.parametrize(
    ("statuses", "answered"),
    [((400,), 0), ((400, 400), 0), ((500,), 3), ((400, 500), 3), ((0,), 3)],
    ids=["the first", "the first two", "a defect", "a defect among refusals", "no reply"],
)
def test_a_block_that_failed_for_another_reason_ends_the_run(
    statuses: tuple[int, ...], answered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has never worked is a wrong workload, and what is no refusal is the engine's failure."""
    monkeypatch.setattr(measure, "_DEATH_WAIT_S", 0.0)
    with pytest.raises(EngineFailed, match=f"all {len(statuses)} requests of block 7"):
        _check_block(*statuses, answered=answered)
