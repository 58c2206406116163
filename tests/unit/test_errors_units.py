"""The error family's exit codes, and units as people read them."""

import pytest

from vlmprof import errors
from vlmprof.errors import ExitCode, VlmprofError
from vlmprof.units import format_bytes, format_ns, format_share, ms


def _family(base: type[VlmprofError] = VlmprofError) -> list[type[VlmprofError]]:
    return [base, *(heir for child in base.__subclasses__() for heir in _family(child))]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RegressionFound, 1),
        (errors.UsageError, 2),
        (errors.ToolMissing, 3),
        (errors.RecipeMisfit, 4),
        (errors.FileUnreadable, 5),
        (errors.ClockError, 6),
        (errors.EngineFailed, 7),
        (errors.Interrupted, 130),
    ],
)
def test_each_error_has_the_exit_code_that_scripts_rely_on(error: type[VlmprofError], code: int) -> None:
    """The numbers are documented: they never change."""
    assert error.exit_code == code


def test_each_exit_code_belongs_to_an_error_but_those_of_success_and_of_a_defect() -> None:
    """A defect is what is no error of the family, and none of the family ends with 0."""
    own = [error for error in _family() if error.__module__ == errors.__name__]
    assert {error.exit_code for error in own} == set(ExitCode) - {ExitCode.OK, ExitCode.DEFECT}


def test_an_error_says_what_failed_and_what_to_do() -> None:
    """The hint may be left out; the text of the exception is the message alone."""
    error = errors.ToolMissing("nsys is not on PATH", hint="install it")
    assert (str(error), error.message, error.hint) == ("nsys is not on PATH",) * 2 + ("install it",)
    assert errors.ToolMissing("nsys is not on PATH").hint == ""


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.00 us"),
        (850_000, "850 us"),
        (61_340_000, "61.3 ms"),
        (999_400_000, "999 ms"),
        (2_050_000_000, "2.05 s"),
        (-1_500_000, "-1.50 ms"),
        (123_456_000_000, "123 s"),
    ],
)
def test_a_time_has_three_digits_and_its_unit(time_ns: int, text: str) -> None:
    """Times before the session are negative and stay so."""
    assert format_ns(time_ns) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.00 kB"), (47_700_000, "47.7 MB"), (2_000_000_000, "2.00 GB")],
)
def test_a_size_is_in_powers_of_a_thousand(size_bytes: int, text: str) -> None:
    """As PCIe and disks are quoted: 47.7 MB are 47 700 000 bytes."""
    assert format_bytes(size_bytes) == text


def test_shares_and_milliseconds() -> None:
    """0.6123 is 61.2%; 1 500 000 ns are 1.5 ms."""
    assert format_share(0.6123) == "61.2%"
    assert ms(1_500_000) == 1.5
