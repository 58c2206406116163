"""Spans that a stack sampler shows of a server without the agent."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from vlmprof.analysis.sampled_spans import alone_in_the_server, spans_from_samples
from vlmprof.analysis.stack_table import StackTable, read_stacks
from vlmprof.model.request import Phase, Request
from vlmprof.model.tables import FRAMES, SAMPLES, STACKS
from vlmprof.units import NS_PER_MS

_BOUNDARIES = {
    ("Runner.execute", "vllm/runner.py"): "worker.execute_model",
    ("Runner.encode", "vllm/runner.py"): "worker.encoder",
}
_FRAMES = ["main", "Runner.execute", "Runner.encode", "matmul"]
_IDLE, _EXECUTE, _ENCODE = 0, 1, 2
# From the root to the leaf; the innermost function of the last one bounds nothing.
_STACKS = {_IDLE: [0], _EXECUTE: [0, 1], _ENCODE: [0, 1, 2, 3]}
_WORKER, _OTHER = 7, 8


def _request(name: str, sent_ms: int, first_token_ms: int, done_ms: int) -> Request:
    return Request(
        id=name,
        phase=Phase.PROFILED,
        block=0,
        sent_ns=sent_ms * NS_PER_MS,
        first_token_ns=first_token_ms * NS_PER_MS,
        done_ns=done_ms * NS_PER_MS,
        prompt_tokens=1,
        image_tokens=0,
        output_tokens=1,
        images=(),
    )


def _stacks() -> StackTable:
    frames = [
        {"frame_id": number, "function": name, "file": "/env/vllm/runner.py", "line": 1}
        for number, name in enumerate(_FRAMES)
    ]
    stacks = [{"stack_id": number, "frame_ids": ids} for number, ids in _STACKS.items()]
    return read_stacks(
        pa.Table.from_pylist(stacks, schema=STACKS), pa.Table.from_pylist(frames, schema=FRAMES)
    )


def _samples(stacks: Sequence[int], tid: int = _WORKER, begin_ms: int = 0, each_ms: int = 2) -> list[Any]:
    return [
        {
            "pid": 1,
            "tid": tid,
            "stack_id": stack,
            "start_ns": (begin_ms + number * each_ms) * NS_PER_MS,
            "duration_ns": each_ms * NS_PER_MS,
        }
        for number, stack in enumerate(stacks)
    ]


def _spans(samples: list[Any], requests: list[Request]) -> list[tuple[str, list[str], int, int, int]]:
    """Name, requests, begin and end in ms, depth."""
    table = spans_from_samples(
        pa.Table.from_pylist(samples, schema=SAMPLES), _stacks(), requests, _BOUNDARIES
    )
    return [
        (
            row["name"],
            row["request_ids"],
            row["start_ns"] // NS_PER_MS,
            row["end_ns"] // NS_PER_MS,
            row["depth"],
        )
        for row in table.to_pylist()
    ]


def test_a_span_lasts_as_long_as_its_function_is_on_the_stack() -> None:
    """Samples of 2 ms: idle, execute, encode twice, execute: execute [2, 10), in it the encoder [4, 8)."""
    samples = _samples([_IDLE, _EXECUTE, _ENCODE, _ENCODE, _EXECUTE, _IDLE])
    assert _spans(samples, [_request("a", 0, 12, 20)]) == [
        ("worker.execute_model", ["a"], 2, 10, 0),
        ("worker.encoder", ["a"], 4, 8, 1),
    ]


def test_a_function_that_leaves_the_stack_ends_its_span() -> None:
    """Twice on the stack with an idle sample between: two spans."""
    samples = _samples([_EXECUTE, _IDLE, _EXECUTE])
    assert [span[2:4] for span in _spans(samples, [_request("a", 0, 12, 20)])] == [(0, 2), (4, 6)]


def test_threads_are_apart() -> None:
    """The same function on two threads at once: a span each, and neither goes on in the other."""
    samples = _samples([_EXECUTE, _EXECUTE]) + _samples([_EXECUTE], tid=_OTHER, begin_ms=4)
    assert [span[2:4] for span in _spans(samples, [_request("a", 0, 12, 20)])] == [(0, 4), (4, 6)]


def test_a_request_is_told_by_when_it_was_on_its_way() -> None:
    """One that follows at once begins a span of its own; what is after the first token belongs to none."""
    requests = [_request("a", 0, 4, 4), _request("b", 4, 6, 10)]
    assert [span[1:4] for span in _spans(_samples([_EXECUTE] * 5), requests)] == [
        (["a"], 0, 4),
        (["b"], 4, 6),
    ]


def test_requests_that_shared_the_server_get_no_span() -> None:
    """`b` began before `a` was done: whose work a stack was, nobody knows. `c` was alone."""
    requests = [_request("a", 0, 4, 8), _request("b", 6, 9, 10), _request("c", 10, 14, 16)]
    assert [request.id for request in alone_in_the_server(requests)] == ["c"]
    assert [span[1] for span in _spans(_samples([_EXECUTE] * 8), requests)] == [["c"]]


def test_a_long_request_covers_all_that_begin_in_it() -> None:
    """`a` outlasts `b`; `c` begins after `b` and before the end of `a`."""
    requests = [_request("a", 0, 4, 100), _request("b", 6, 9, 10), _request("c", 20, 24, 30)]
    assert alone_in_the_server(requests) == []


def test_a_request_during_which_the_sampler_paused_has_no_span() -> None:
    """Nobody looked for 200 ms of `a`: its stages would be guessed. `b` was watched to its end."""
    samples = _samples([_EXECUTE] * 5) + _samples([_EXECUTE], begin_ms=10, each_ms=200)
    samples += _samples([_EXECUTE] * 50, begin_ms=210)
    requests = [_request("a", 0, 250, 250), _request("b", 250, 300, 300)]
    assert [span[1:4] for span in _spans(samples, requests)] == [(["b"], 250, 300)]


def test_a_pause_at_one_thread_is_no_part_of_a_span() -> None:
    """A sample of 200 ms, taken at 210, while others were sampled: it says nothing of the time before."""
    samples = _samples([_EXECUTE], begin_ms=10, each_ms=200) + _samples([_EXECUTE], begin_ms=210)
    samples += _samples([_IDLE] * 150, tid=_OTHER)
    assert [span[2:4] for span in _spans(samples, [_request("a", 0, 300, 300)])] == [(210, 212)]


def test_without_samples_or_requests_there_are_no_spans() -> None:
    assert _spans([], [_request("a", 0, 12, 20)]) == []
    assert _spans(_samples([_EXECUTE]), []) == []
