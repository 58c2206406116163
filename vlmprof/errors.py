"""The one error family: each class is one documented exit code of the command line."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every vlmprof command; DEFECT is for what is no `VlmprofError`, and ours to mend."""

    OK = 0
    REGRESSION = 1
    USAGE = 2
    TOOL_MISSING = 3
    RECIPE_MISFIT = 4
    FILE_UNREADABLE = 5
    CLOCKS_UNALIGNED = 6
    ENGINE_FAILED = 7
    DEFECT = 70
    INTERRUPTED = 130


class VlmprofError(Exception):
    """A failure that a person can act on.

    Args:
        message: what failed, with the value that it failed on.
        hint: what to do next.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(VlmprofError):
    """The command was asked for something that makes no sense."""


class RegressionFound(VlmprofError):
    """A gate's condition does not hold."""

    exit_code = ExitCode.REGRESSION


class ToolMissing(VlmprofError):
    """Something that the command needs is not installed or not permitted."""

    exit_code = ExitCode.TOOL_MISSING


class RecipeMisfit(VlmprofError):
    """A recipe cannot be applied exactly as meant to this engine or model."""

    exit_code = ExitCode.RECIPE_MISFIT


class FileUnreadable(VlmprofError):
    """A file is absent, damaged, foreign or newer than this version reads."""

    exit_code = ExitCode.FILE_UNREADABLE


class ClockError(VlmprofError):
    """Two sources cannot be put on one clock with the precision that is needed."""

    exit_code = ExitCode.CLOCKS_UNALIGNED


class EngineFailed(VlmprofError):
    """The serving engine did not start, or died, or refused every request."""

    exit_code = ExitCode.ENGINE_FAILED


class Interrupted(VlmprofError):
    """The user pressed Ctrl-C or the process was told to terminate."""

    exit_code = ExitCode.INTERRUPTED
