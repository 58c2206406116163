"""A program of its own that tries to read another process's memory; `permission` starts it.

It runs apart from vlmprof because the samplers do: Yama lets an ancestor read what it denies to a sibling.

    permission_probe.py consent PID   let PID and its descendants read this process; wait for end of input
    permission_probe.py read PID      read eight bytes of PID, try nothing else
    permission_probe.py seize PID     the same, then ptrace PID (never a process that matters)

`read` and `seize` print one line of JSON: `{"read": 0, "ptrace": 1}`, each 0 or the errno that it met, null
where it was not tried.
"""

import ctypes
import errno
import json
import sys

PR_SET_PTRACER = 0x59616D61
PTRACE_SEIZE = 0x4206

_libc = ctypes.CDLL(None, use_errno=True)


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def main(arguments: list[str]) -> None:
    action, pid = arguments[0], int(arguments[1])
    if action == "consent":
        # Fails harmlessly on a kernel without Yama, where no consent is needed.
        _libc.prctl(PR_SET_PTRACER, ctypes.c_ulong(pid), 0, 0, 0)
        _say("ready")
        sys.stdin.read()
        return
    result: dict[str, int | None] = {"read": _read_error(pid), "ptrace": None}
    if action == "seize":
        result["ptrace"] = _seize_error(pid)
    _say(json.dumps(result))


def _read_error(pid: int) -> int:
    """0 when eight bytes of the process could be read, else the errno."""
    try:
        address = _readable_address(pid)
    except OSError as error:
        return error.errno or errno.EPERM
    buffer = ctypes.create_string_buffer(8)
    local = _IoVec(ctypes.cast(buffer, ctypes.c_void_p), 8)
    remote = _IoVec(ctypes.c_void_p(address), 8)
    one, no_flags = ctypes.c_ulong(1), ctypes.c_ulong(0)
    count = _libc.process_vm_readv(pid, ctypes.byref(local), one, ctypes.byref(remote), one, no_flags)
    return 0 if count == 8 else ctypes.get_errno()


def _readable_address(pid: int) -> int:
    """Start of the first mapping of the process that its owner may read."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        for line in maps:
            bounds, rights = line.split()[:2]
            if rights.startswith("r"):
                return int(bounds.split("-")[0], 16)
    raise ProcessLookupError(errno.ESRCH, "no readable mapping")


def _seize_error(pid: int) -> int:
    """0 when ptrace accepts the process; the kernel detaches it when this program ends."""
    status = _libc.ptrace(ctypes.c_long(PTRACE_SEIZE), pid, ctypes.c_void_p(0), ctypes.c_void_p(0))
    return 0 if status == 0 else ctypes.get_errno()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
