"""Ctrl-C and SIGTERM: both end a run in the same way, neither is lost, neither cuts the ending short."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_AGAIN_AFTER_S = 0.05


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: with everything stopped and kept."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    unraisable_before = sys.unraisablehook
    sys.unraisablehook = _interrupt_again
    try:
        yield
    finally:
        sys.unraisablehook = unraisable_before
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """A second Ctrl-C must not cut short what ends the server and completes the files."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _interrupt_again(unraisable: Any) -> None:
    """Python drops an interrupt that it raises inside a finalizer or a weak reference's callback: repeat it."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    threading.Timer(_AGAIN_AFTER_S, _interrupt_main_thread).start()


def _interrupt_main_thread() -> None:
    """By SIGTERM while that interrupts: a shell that starts us in the background has us ignore SIGINT."""
    main_thread = threading.main_thread().ident
    if main_thread is not None:
        terminates = signal.getsignal(signal.SIGTERM) is not _interrupt
        signal.pthread_kill(main_thread, signal.SIGINT if terminates else signal.SIGTERM)
