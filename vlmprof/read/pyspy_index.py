"""`raw/pyspy.index.json`: which py-spy file is which process and block, and when it was recorded."""

from pathlib import Path

import msgspec

from vlmprof.errors import FileUnreadable


class PySpyFile(msgspec.Struct, frozen=True, kw_only=True):
    """One process in one profiled block.

    Attributes:
        started_ns: session clock just before py-spy was started; its own clock starts up to 0.1 s later.
        ended_ns: session clock when it was told to stop.
    """

    file: str
    pid: int
    block: int
    started_ns: int
    ended_ns: int


def read_index(path: Path) -> list[PySpyFile]:
    """What the py-spy collector recorded, in order.

    Raises:
        FileUnreadable: the index is absent or damaged.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[PySpyFile])
    except (OSError, msgspec.DecodeError) as error:
        raise FileUnreadable(f"{path} cannot be read: {error}", hint="run again with py-spy") from error
