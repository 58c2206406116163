"""What an agent recorded, as the reader of a run's raw folder sees it."""

from pathlib import Path
from typing import Any, NamedTuple

from vlmprof.agent.recorder import Recorder
from vlmprof.agent.wrap import Instrument
from vlmprof.read.spans import read_spans

SWITCHED_ON, SWITCHED_OFF = b"\x01", b"\x00"


class Recorded(NamedTuple):
    """One span as it was read back."""

    name: str
    requests: tuple[str, ...]
    pid: int
    tid: int
    start_ns: int
    end_ns: int


def instrument_in(folder: Path, switch: Any = SWITCHED_ON) -> Instrument:
    """An instrument whose recorder writes into a folder when it is told to."""
    return Instrument(Recorder(str(folder)), switch)


def read_back(folder: Path, recorder: Recorder | None = None) -> list[Recorded]:
    """The spans in a folder by their start, after flushing a recorder of this process."""
    if recorder is not None:
        recorder.flush()
    return [
        Recorded(
            row["name"], tuple(row["request_ids"]), row["pid"], row["tid"], row["start_ns"], row["end_ns"]
        )
        for row in read_spans(folder).table.to_pylist()
    ]


def names_and_requests(folder: Path, recorder: Recorder | None = None) -> list[tuple[str, tuple[str, ...]]]:
    """Name and requests of each span by its start."""
    return [(span.name, span.requests) for span in read_back(folder, recorder)]
