"""Which request a call works for: ids inside ids, and messages shaped like vLLM's."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from vlmprof.agent.context import Batch, client_request_id, current_request
from vlmprof.agent.recorder import Requests
from vlmprof.agent.request_finders import FINDERS

_ENGINE_ID = "chatcmpl-r-1-0123abcd"


@pytest.fixture(autouse=True)
def _no_batch() -> Iterator[None]:
    before, Batch.latest = Batch.latest, None
    yield
    Batch.latest = before


@pytest.mark.parametrize(
    ("engine_id", "client_id"),
    [
        ("chatcmpl-r-1-0123abcd", "r-1"),
        ("cmpl-r-1-0123abcd", "r-1"),
        ("chatcmpl-r-1", "r-1"),
        ("r-1", "r-1"),
        ("chatcmpl-r-0123ABCD", "r-0123ABCD"),
        ("chatcmpl-r-0123abc", "r-0123abc"),
        ("chatcmpl-0123abcd", "0123abcd"),
        ("chatcmpl-deadbeef-0123abcd", "deadbeef"),
        ("", ""),
    ],
)
def test_the_clients_id_is_what_vllm_put_its_own_around(engine_id: str, client_id: str) -> None:
    """Prefix of the endpoint, then the id, then since 0.15 a hyphen and eight small hex digits."""
    assert client_request_id(engine_id) == client_id


def _find(finder: str, *args: Any, result: Any = None) -> Requests:
    """A finder's answer for a call with these arguments after self."""
    return FINDERS[finder]((SimpleNamespace(), *args), result)


def _scheduled(*engine_ids: str) -> SimpleNamespace:
    return SimpleNamespace(num_scheduled_tokens=dict.fromkeys(engine_ids, 5))


def test_a_request_is_found_in_the_engines_own_request() -> None:
    """EngineCoreRequest.request_id."""
    assert _find("engine_request", SimpleNamespace(request_id=_ENGINE_ID)) == "r-1"


@pytest.mark.parametrize("finder", ["encoded", "decoded"])
def test_messages_between_processes_are_requests_outputs_or_neither(finder: str) -> None:
    """A request has an id, outputs have a list of them, a utility call has nothing."""

    def find(message: Any) -> Requests:
        return _find(finder, message) if finder == "encoded" else _find(finder, b"", result=message)

    outputs = [SimpleNamespace(request_id=_ENGINE_ID), SimpleNamespace(request_id="chatcmpl-r-2-0123abcd")]
    assert find(SimpleNamespace(request_id=_ENGINE_ID)) == "r-1"
    assert find(SimpleNamespace(outputs=outputs)) == ("r-1", "r-2")
    assert find(SimpleNamespace(outputs=[])) is None
    assert find((1, "is_sleeping", ())) is None
    assert find(None) is None


def test_outputs_name_their_requests() -> None:
    """A list of EngineCoreOutput."""
    assert _find("outputs_in", [SimpleNamespace(request_id=_ENGINE_ID)]) == ("r-1",)
    assert _find("outputs_in", []) is None


def test_a_detokenizer_knows_its_request_or_the_context_does() -> None:
    """Some versions keep the id in the detokenizer."""
    assert FINDERS["detokenizer"]((SimpleNamespace(request_id=_ENGINE_ID),), None) == "r-1"
    token = current_request.set("r-9")
    try:
        assert FINDERS["detokenizer"]((SimpleNamespace(),), None) == "r-9"
    finally:
        current_request.reset(token)


def test_what_was_scheduled_is_the_batch_of_the_spans_that_follow() -> None:
    """schedule() returns the batch; update_from_output gets it again; the wait between them knows neither."""
    batch = _scheduled(_ENGINE_ID, "chatcmpl-r-2-0123abcd")
    assert _find("scheduled", result=batch) == ("r-1", "r-2")
    assert _find("last_batch") == ("r-1", "r-2")
    assert _find("batch", _scheduled("chatcmpl-r-3-0123abcd")) == ("r-3",)
    assert _find("last_batch") == ("r-3",)


def test_an_empty_batch_belongs_to_nobody() -> None:
    """A step in which the scheduler had nothing to run."""
    assert _find("scheduled", result=_scheduled()) is None
    assert _find("last_batch") is None


def test_an_argument_without_a_batch_means_the_last_one() -> None:
    """sample_tokens(grammar_output) in the place of execute_model(scheduler_output)."""
    _find("scheduled", result=_scheduled(_ENGINE_ID))
    assert _find("batch", SimpleNamespace()) == ("r-1",)


def test_an_executors_message_holds_the_batch_of_its_execute_model() -> None:
    """(method, args, kwargs, rank); other methods work for the batch before them."""
    message: Any = ("execute_model", (_scheduled(_ENGINE_ID),), {}, None)
    assert _find("rpc_message", message) == ("r-1",)
    assert _find("rpc_message", ("sample_tokens", (None,), {}, None)) == ("r-1",)
    assert _find("rpc_message", "shutdown") == ("r-1",)
