"""Interrupts of a session: SIGTERM is one, none is lost, none cuts the ending short."""

import os
import signal
import sys
import time

import pytest

from vlmprof.session.interrupts import ignoring_interrupts, terminate_as_interrupt


class _Interrupting:
    """Is interrupted while it is finalized, where Python can only report the exception."""

    def __del__(self) -> None:
        raise KeyboardInterrupt


def test_an_interrupt_that_a_finalizer_swallowed_comes_again() -> None:
    """It is raised in the sleep, long before its ten seconds are over."""

    def finalize_and_wait() -> None:
        _Interrupting()
        time.sleep(10)

    with pytest.raises(KeyboardInterrupt), terminate_as_interrupt():
        finalize_and_wait()


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
