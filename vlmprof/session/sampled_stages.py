"""Stages of a server without the agent: spans in its place, as the stack sampler saw them."""

from dataclasses import replace

from vlmprof.agent.boundaries import BOUNDARIES
from vlmprof.analysis.sampled_spans import Boundaries, alone_in_the_server, spans_from_samples
from vlmprof.analysis.stack_table import read_stacks
from vlmprof.model.request import Phase, Request
from vlmprof.model.results import StagesFrom
from vlmprof.read.spans import SpanCapture
from vlmprof.session.capture import Sampled

_ALONE_SHARE = 0.9

# What the agent's hooks do for these, their functions' names do here.
_HOOKED: Boundaries = {
    ("HttpToolsProtocol.data_received", "uvicorn/protocols/http/httptools_impl.py"): "http.receive",
    ("RequestResponseCycle.run_asgi", "uvicorn/protocols/http/httptools_impl.py"): "http.handle",
    ("RequestResponseCycle.send", "uvicorn/protocols/http/httptools_impl.py"): "http.send",
    ("H11Protocol.data_received", "uvicorn/protocols/http/h11_impl.py"): "http.receive",
    ("RequestResponseCycle.run_asgi", "uvicorn/protocols/http/h11_impl.py"): "http.handle",
    ("RequestResponseCycle.send", "uvicorn/protocols/http/h11_impl.py"): "http.send",
    ("_WorkItem.run", "concurrent/futures/thread.py"): "pool.run",
}


def with_sampled_spans(spans: SpanCapture, sampled: Sampled, requests: list[Request]) -> SpanCapture:
    """The capture with the spans that the stack samples show; as it is where an agent recorded any.

    So it is too where requests shared the server: whose work a stack was, it does not tell.
    """
    if spans.agents or not sampled.samples.num_rows or not _mostly_alone(requests):
        return spans
    stacks = read_stacks(sampled.stacks, sampled.frames)
    table = spans_from_samples(sampled.samples, stacks, requests, _boundaries())
    return replace(spans, table=table)


def stages_from(spans: SpanCapture) -> StagesFrom:
    """What the stages of a capture rest on."""
    if spans.agents:
        return "spans"
    return "samples" if spans.table.num_rows else "none"


def _mostly_alone(requests: list[Request]) -> bool:
    profiled = [request for request in requests if request.phase == Phase.PROFILED and not request.error]
    alone = {request.id for request in alone_in_the_server(requests)}
    return sum(request.id in alone for request in profiled) >= _ALONE_SHARE * max(1, len(profiled))


def _boundaries() -> Boundaries:
    rows = {
        (boundary.function, boundary.module.replace(".", "/") + ".py"): boundary.span
        for boundary in BOUNDARIES
    }
    return {**rows, **_HOOKED}
