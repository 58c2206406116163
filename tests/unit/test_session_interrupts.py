"""Interrupts of a session: SIGTERM is one, none is lost, none cuts the ending short."""

import os
import signal
import sys
import time
from typing import Any

import pytest

from vlmprof.session.interrupts import ignoring_interrupts, terminate_as_interrupt


class _Interrupting:
    """Is interrupted while it is finalized, where Python can only report the exception."""

    def __del__(self) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "ctrl_c", [signal.default_int_handler, signal.SIG_IGN], ids=["terminal", "background"]
)
def test_an_interrupt_that_a_finalizer_swallowed_comes_again(ctrl_c: Any) -> None:
    """It is raised in the sleep, long before its two minutes are over; also where SIGINT is ignored."""

    def finalize_and_wait() -> None:
        _Interrupting()
        time.sleep(120)

    before = signal.signal(signal.SIGINT, ctrl_c)
    try:
        with pytest.raises(KeyboardInterrupt), terminate_as_interrupt():
            finalize_and_wait()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_exceptions_of_finalizers_are_reported_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    """Only an interrupt is repeated."""

    class Failing:
        def __del__(self) -> None:
            raise ValueError("in a finalizer")

    with terminate_as_interrupt():
        Failing()
    assert "in a finalizer" in capsys.readouterr().err


def test_being_terminated_interrupts_and_only_within_the_session() -> None:
    """SIGTERM raises KeyboardInterrupt inside; handler and hook are what they were outside."""
    handler, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), terminate_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert sys.unraisablehook is hook


def test_nothing_interrupts_the_ending() -> None:
    """Both signals pass by; afterwards the handlers are back."""
    handler = signal.getsignal(signal.SIGINT)
    with ignoring_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is handler
