"""Wrappers: what they record, and that the wrapped function cannot tell."""

import asyncio
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.agent_spans import SWITCHED_OFF, instrument_in, names_and_requests, read_back
from vlmprof.agent.context import current_request
from vlmprof.agent.wrap import replace


def _double(number: int, *, plus: int = 0) -> int:
    """Twice a number."""
    return 2 * number + plus


async def _double_later(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def test_a_timed_function_returns_what_it_returned(tmp_path: Path) -> None:
    """2 * 4 + 1 = 9, and one span."""
    instrument = instrument_in(tmp_path)
    assert instrument.timed(_double, "work", None)(4, plus=1) == 9
    assert names_and_requests(tmp_path, instrument.recorder) == [("work", ())]


def test_a_timed_coroutine_function_returns_what_it_returned(tmp_path: Path) -> None:
    """It stays a coroutine function, which is what frameworks look for."""
    instrument = instrument_in(tmp_path)
    timed = instrument.timed_async(_double_later, "work", None)
    assert inspect.iscoroutinefunction(timed)
    assert asyncio.run(timed(4)) == 8
    assert names_and_requests(tmp_path, instrument.recorder) == [("work", ())]


def test_a_wrapper_keeps_name_signature_and_docstring(tmp_path: Path) -> None:
    """FastAPI reads signatures, logs read names."""
    timed = instrument_in(tmp_path).timed(_double, "work", None)
    assert (timed.__name__, timed.__doc__) == ("_double", "Twice a number.")
    assert inspect.signature(timed) == inspect.signature(_double)


def test_an_exception_passes_through_and_its_call_is_recorded(tmp_path: Path) -> None:
    """The very same exception object arrives, from functions and from coroutines."""
    instrument = instrument_in(tmp_path)
    error = ValueError("bad image")

    def fail() -> None:
        raise error

    async def fail_later() -> None:
        raise error

    with pytest.raises(ValueError, match="bad image") as raised:
        instrument.timed(fail, "work", None)()
    assert raised.value is error
    with pytest.raises(ValueError, match="bad image"):
        asyncio.run(instrument.timed_async(fail_later, "later", None)())  # type: ignore[arg-type]
    assert [name for name, _ in names_and_requests(tmp_path, instrument.recorder)] == ["work", "later"]


def test_a_finder_that_fails_costs_the_request_id_only(tmp_path: Path) -> None:
    """An engine's message that looks different in its next version: the call works, the span has no request."""
    instrument = instrument_in(tmp_path)

    def no_such_field(args: tuple[Any, ...], _result: Any) -> str:
        return str(args[0].request_id)

    assert instrument.timed(_double, "work", no_such_field)(4) == 8
    assert names_and_requests(tmp_path, instrument.recorder) == [("work", ())]


def test_a_finder_gets_arguments_and_result(tmp_path: Path) -> None:
    """Its answer is the span's request."""
    instrument = instrument_in(tmp_path)
    timed = instrument.timed(_double, "work", lambda args, result: f"{args[0]}->{result}")
    timed(4)
    assert names_and_requests(tmp_path, instrument.recorder) == [("work", ("4->8",))]


def test_without_a_finder_the_context_names_the_request(tmp_path: Path) -> None:
    """Two coroutines at once: each span has the request of its own task."""
    instrument = instrument_in(tmp_path)
    timed = instrument.timed_async(_double_later, "work", None)

    async def serve(request_id: str) -> None:
        current_request.set(request_id)
        await timed(1)

    async def serve_both() -> None:
        await asyncio.gather(serve("r-1"), serve("r-2"))

    asyncio.run(serve_both())
    assert sorted(names_and_requests(tmp_path, instrument.recorder)) == [
        ("work", ("r-1",)),
        ("work", ("r-2",)),
    ]


def test_nothing_is_recorded_while_the_switch_is_off(tmp_path: Path) -> None:
    """The calls work all the same."""
    instrument = instrument_in(tmp_path, SWITCHED_OFF)
    assert instrument.timed(_double, "work", None)(4) == 8
    assert asyncio.run(instrument.timed_async(_double_later, "work", None)(4)) == 8  # type: ignore[arg-type]
    assert read_back(tmp_path, instrument.recorder) == []


def test_a_coroutines_span_holds_its_waiting(tmp_path: Path) -> None:
    """The inner span lies within the outer one's start and end."""
    instrument = instrument_in(tmp_path)
    inner = instrument.timed_async(_double_later, "inner", None)

    async def call_inner() -> None:
        await inner(1)

    asyncio.run(instrument.timed_async(call_inner, "outer", None)())  # type: ignore[arg-type]
    spans = {span.name: span for span in read_back(tmp_path, instrument.recorder)}
    assert spans["outer"].start_ns <= spans["inner"].start_ns
    assert spans["inner"].end_ns <= spans["outer"].end_ns


class _Ranges:
    """Notes NVTX ranges as they are pushed and popped."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def push(self, name: str) -> None:
        self.calls.append(f"push {name}")

    def pop(self) -> None:
        self.calls.append("pop")


def test_a_range_is_closed_where_the_function_raises(tmp_path: Path) -> None:
    """A push without its pop would nest every later range of the thread."""
    instrument = instrument_in(tmp_path)
    ranges = _Ranges()
    instrument.nvtx = ranges

    def fail() -> None:
        raise ValueError("bad image")

    with pytest.raises(ValueError, match="bad image"):
        instrument.timed(fail, "work", None)()
    assert ranges.calls == ["push work", "pop"]


def test_replacing_twice_wraps_once(tmp_path: Path) -> None:
    """Two rows of the table, or a module loaded anew, may name one function: one call stays one span."""
    instrument = instrument_in(tmp_path)
    module = SimpleNamespace(double=_double)
    for _ in range(2):
        replace(module, "double", lambda original: instrument.timed(original, "work", None))
    assert module.double(4) == 8
    assert len(read_back(tmp_path, instrument.recorder)) == 1


class _Maker:
    @staticmethod
    def doubled(number: int) -> int:
        return 2 * number

    def tripled(self, number: int) -> int:
        return 3 * number


class _Heir(_Maker):
    pass


@pytest.mark.parametrize("owner", [_Maker, _Heir])
def test_methods_and_static_methods_stay_what_they_are(
    owner: type[_Maker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called on the class and on an instance, also where they are inherited: 2 * 4 = 8, 3 * 4 = 12."""
    for part in (_Maker, _Heir):
        monkeypatch.setattr(part, "doubled", inspect.getattr_static(part, "doubled"))
        monkeypatch.setattr(part, "tripled", inspect.getattr_static(part, "tripled"))
    instrument = instrument_in(tmp_path)
    for name in ("doubled", "tripled"):
        replace(owner, name, lambda original: instrument.timed(original, "work", None))
    assert owner.doubled(4) == owner().doubled(4) == 8
    assert owner().tripled(4) == 12
    assert len(read_back(tmp_path, instrument.recorder)) == 3


def test_a_function_that_is_not_there_is_an_error() -> None:
    """The agent notes it as missing."""
    with pytest.raises(AttributeError):
        replace(SimpleNamespace(), "gone", lambda original: original)
