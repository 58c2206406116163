"""Requests of a load generator that is not ours, rebuilt from what the agent saw of them in the API server."""

from collections import defaultdict
from collections.abc import Iterator

from vlmprof.model.request import Phase, Request
from vlmprof.model.run_info import StepInfo
from vlmprof.read.spans import SpanCapture

_WATCHED = ("http.receive", "http.handle", "http.send", "out.process")
_Times = dict[str, list[tuple[int, int]]]


def requests_from_spans(spans: SpanCapture, steps: list[StepInfo]) -> list[Request]:
    """One request for each that got output, timed at the server: from its first byte read to its first token sent.

    The client's own network time is not in it. A request belongs to the block in which it was sent.
    """
    found = []
    for request_id, times in _times_by_request(spans).items():
        if not (times["http.receive"] and times["out.process"] and times["http.send"]):
            continue
        sent_ns = times["http.receive"][0][0]
        block, phase = _block_of(sent_ns, steps)
        found.append(
            Request(
                id=request_id,
                phase=phase,
                block=block,
                sent_ns=sent_ns,
                first_token_ns=_first_token_ns(times),
                done_ns=times["http.send"][-1][1],
                prompt_tokens=0,
                image_tokens=0,
                output_tokens=0,
                images=(),
                http_status=200,
            )
        )
    return sorted(found, key=lambda request: request.sent_ns)


def _times_by_request(spans: SpanCapture) -> dict[str, _Times]:
    by_request: dict[str, _Times] = defaultdict(lambda: {name: [] for name in _WATCHED})
    table = spans.table
    columns = (table[name].to_pylist() for name in ("name", "request_ids", "start_ns", "end_ns"))
    for name, request_ids, start_ns, end_ns in zip(*columns, strict=True):
        if name in _WATCHED:
            for request_id in request_ids:
                by_request[request_id][name].append((start_ns, end_ns))
    return by_request


def _first_token_ns(times: _Times) -> int | None:
    """The end of the send that carried the first token.

    A stream's first chunk after the first output holds the role alone, the second one the token; an answer
    that is not streamed is sent once.
    """
    after_ns = times["out.process"][0][1]
    sends = [end_ns for start_ns, end_ns in times["http.send"] if start_ns >= after_ns]
    if not sends:
        return None
    return sends[1] if len(sends) > 1 and len(times["http.send"]) > len(sends) else sends[0]


def _block_of(sent_ns: int, steps: list[StepInfo]) -> tuple[int, Phase]:
    for number, phase, step in _blocks(steps):
        if step.start_ns <= sent_ns and (step.end_ns is None or sent_ns < step.end_ns):
            return number, phase
    return -1, Phase.WARM_UP


def _blocks(steps: list[StepInfo]) -> Iterator[tuple[int, Phase, StepInfo]]:
    for step in steps:
        if step.name.startswith("Block "):
            number = int(step.name.split()[1])
            yield number, Phase.PROFILED if "profiled" in step.name else Phase.CONTROL, step
