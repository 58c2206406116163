"""Wrappers that time a function: two clock readings and one append around the call."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from .context import current_request
from .recorder import Recorder, Requests, now_ns

RequestsOf = Callable[[tuple[Any, ...], Any], Requests]
"""Finds a call's requests from its positional arguments and its result (None while it runs)."""

MARK = "__vlmprof_original__"


class NvtxRanges(Protocol):
    """Pushes a range that Nsight Systems records."""

    def push(self, name: str) -> None:
        """Open a range on the calling thread."""

    def pop(self) -> None:
        """Close the innermost range of the calling thread."""


class Instrument:
    """Makes timed versions of functions for one recorder."""

    def __init__(self, recorder: Recorder, switch: Any, nvtx: NvtxRanges | None = None) -> None:
        self.recorder = recorder
        self.switch = switch
        self.nvtx = nvtx

    def timed(
        self, function: Callable[..., Any], name: str, requests_of: RequestsOf | None
    ) -> Callable[..., Any]:
        """A synchronous function that records a span, also where it raises."""
        call = function if self.nvtx is None else self._with_nvtx(function, name, self.nvtx)
        add, switch, name_id = self.recorder.add, self.switch, self.recorder.name_id(name)
        find = requests_of or _from_context

        @functools.wraps(function)
        def timed_call(*args: Any, **kwargs: Any) -> Any:
            if not switch[0]:
                return function(*args, **kwargs)
            result = None
            start_ns = now_ns()
            try:
                result = call(*args, **kwargs)
            finally:
                end_ns = now_ns()
                add(name_id, start_ns, end_ns, _requests(find, args, result))
            return result

        return timed_call

    def timed_async(
        self, function: Callable[..., Awaitable[Any]], name: str, requests_of: RequestsOf | None
    ) -> Callable[..., Awaitable[Any]]:
        """A coroutine function that records from its first step to its end, waiting included."""
        add, switch, name_id = self.recorder.add, self.switch, self.recorder.name_id(name)
        find = requests_of or _from_context

        @functools.wraps(function)
        async def timed_coroutine(*args: Any, **kwargs: Any) -> Any:
            if not switch[0]:
                return await function(*args, **kwargs)
            result = None
            start_ns = now_ns()
            try:
                result = await function(*args, **kwargs)
            finally:
                end_ns = now_ns()
                add(name_id, start_ns, end_ns, _requests(find, args, result))
            return result

        return timed_coroutine

    @staticmethod
    def _with_nvtx(function: Callable[..., Any], name: str, nvtx: NvtxRanges) -> Callable[..., Any]:
        @functools.wraps(function)
        def ranged_call(*args: Any, **kwargs: Any) -> Any:
            nvtx.push(name)
            try:
                return function(*args, **kwargs)
            finally:
                nvtx.pop()

        return ranged_call


def _from_context(_args: tuple[Any, ...], _result: Any) -> Requests:
    return current_request.get()


def _requests(find: RequestsOf, args: tuple[Any, ...], result: Any) -> Requests:
    # The engine's internals differ between versions: a span without its request is better than a dead request.
    try:
        return find(args, result)
    except Exception:  # noqa: BLE001
        return None


def replace(owner: Any, attribute: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put `make(original)` in the place of a function of a module or a class, once.

    Raises:
        AttributeError: the owner has no such function, of its own or inherited.
    """
    raw = inspect.getattr_static(owner, attribute)
    static = isinstance(raw, staticmethod)
    original = raw.__func__ if static else raw
    if hasattr(original, MARK):
        return
    timed = make(original)
    setattr(timed, MARK, original)
    setattr(owner, attribute, staticmethod(timed) if static else timed)
