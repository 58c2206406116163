"""Finds the requests of a call in the arguments or the result of an engine function.

Each finder takes the positional arguments (args[0] is self) and the result, which is None where the call raised.
"""

from typing import Any

from .context import Batch, client_request_id, current_request
from .recorder import Requests
from .wrap import RequestsOf


def _ids(engine_ids: Any) -> Requests:
    ids = tuple(client_request_id(engine_id) for engine_id in engine_ids)
    return ids or None


def _remember(engine_ids: Any) -> Requests:
    Batch.latest = _ids(engine_ids)
    return Batch.latest


def engine_request(args: tuple[Any, ...], _result: Any) -> Requests:
    """args[1] is an EngineCoreRequest or a Request."""
    return client_request_id(args[1].request_id)


def encoded(args: tuple[Any, ...], _result: Any) -> Requests:
    """args[1] is what is sent: an EngineCoreRequest, EngineCoreOutputs, or a message without requests."""
    return _of_message(args[1])


def decoded(_args: tuple[Any, ...], result: Any) -> Requests:
    """The result is what was received."""
    return _of_message(result)


def _of_message(message: Any) -> Requests:
    request_id = getattr(message, "request_id", None)
    if isinstance(request_id, str):
        return client_request_id(request_id)
    outputs = getattr(message, "outputs", None)
    return _ids(output.request_id for output in outputs) if outputs else None


def outputs_in(args: tuple[Any, ...], _result: Any) -> Requests:
    """args[1] is a list of EngineCoreOutput."""
    return _ids(output.request_id for output in args[1])


def detokenizer(args: tuple[Any, ...], _result: Any) -> Requests:
    """args[0] is the detokenizer of one request, which some versions let know its id."""
    request_id = getattr(args[0], "request_id", None)
    return client_request_id(request_id) if isinstance(request_id, str) else current_request.get()


def scheduled(_args: tuple[Any, ...], result: Any) -> Requests:
    """The result is a SchedulerOutput."""
    return _remember(result.num_scheduled_tokens)


def batch(args: tuple[Any, ...], _result: Any) -> Requests:
    """args[1] is a SchedulerOutput."""
    scheduled_tokens = getattr(args[1], "num_scheduled_tokens", None)
    return Batch.latest if scheduled_tokens is None else _remember(scheduled_tokens)


def last_batch(_args: tuple[Any, ...], _result: Any) -> Requests:
    """The batch that this process handled last."""
    return Batch.latest


def rpc_message(args: tuple[Any, ...], _result: Any) -> Requests:
    """args[1] is what an executor sends its workers: (method, args, kwargs, rank)."""
    return of_rpc(args[1])


def of_rpc(message: Any) -> Requests:
    """The batch in an executor's message, or the last one for messages that carry none."""
    if isinstance(message, tuple) and len(message) == 4 and message[0] == "execute_model" and message[1]:
        return _remember(message[1][0].num_scheduled_tokens)
    return Batch.latest


FINDERS: dict[str, RequestsOf] = {
    finder.__name__: finder
    for finder in (
        engine_request,
        encoded,
        decoded,
        outputs_in,
        detokenizer,
        scheduled,
        batch,
        last_batch,
        rpc_message,
    )
}
