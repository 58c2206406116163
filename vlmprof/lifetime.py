"""Programs that end with this process, however it ends."""

import errno
import os
import shutil
import signal
import sys
from collections.abc import Sequence

# prctl(PR_SET_PDEATHSIG), which is kept across exec. A parent that was killed before that sends no signal any more.
_ASK_AND_EXECUTE = (
    "import ctypes, os, sys; "
    "ctypes.CDLL(None).prctl(1, int(sys.argv[1]), 0, 0, 0); "
    "os.getppid() == int(sys.argv[2]) or sys.exit(1); "
    "os.execvp(sys.argv[3], sys.argv[3:])"
)


def ending_with_us(command: Sequence[str], number: signal.Signals) -> list[str]:
    """The command so that its process gets a signal when the thread that starts it ends, also by being killed.

    Raises:
        FileNotFoundError: there is no such program, which would show only after the start.
    """
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    return [sys.executable, "-I", "-c", _ASK_AND_EXECUTE, str(int(number)), str(os.getpid()), *command]
