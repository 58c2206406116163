"""Which request the running code works for: a context variable in the API server, the last batch elsewhere."""

from contextvars import ContextVar

from .recorder import Requests

current_request: ContextVar[str | None] = ContextVar("vlmprof_request", default=None)
"""Set where a request enters the API server; follows it through coroutines and pool threads."""


class Batch:
    """The batch that this process scheduled or executed last: spans without a request of their own get it."""

    latest: Requests = None


def client_request_id(engine_id: str) -> str:
    """The client's `X-Request-Id` inside vLLM's own id `chatcmpl-<that>-<8 hex>`.

    Source:
        vLLM prefixes the endpoint's kind in its serving layer and, since 0.15, appends eight random hex digits
        in `InputProcessor.assign_request_id`.
    """
    for prefix in ("chatcmpl-", "cmpl-"):
        if engine_id.startswith(prefix):
            engine_id = engine_id[len(prefix) :]
            break
    if len(engine_id) > 9 and engine_id[-9] == "-" and _is_hex(engine_id[-8:]):
        return engine_id[:-9]
    return engine_id


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text)
