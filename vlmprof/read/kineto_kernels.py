"""The kernels of a Kineto trace alone, for their breakdown: a tenth of what a whole import loads and keeps."""

from pathlib import Path

import numpy as np

from vlmprof.analysis.kernels import KernelColumns, place_of
from vlmprof.read.kineto_events import KinetoEvents
from vlmprof.read.kineto_file import read_events, unlikely_number


def read_kernels(path: Path) -> KernelColumns:
    """The kernels of a trace, in the order in which they began; times in unix ns.

    Raises:
        FileUnreadable: it is absent, truncated, no JSON, or not a trace of PyTorch's profiler.
    """
    events = KinetoEvents(["kernels"])
    rest = read_events(path, events)
    try:
        columns = events.take("kernels", rest.base_time_nanoseconds)
    except OverflowError as error:
        raise unlikely_number(path, error) from error
    order = np.argsort(columns["start_ns"], kind="stable")
    place = place_of(columns["pid"], columns["device"], columns["stream"])
    return KernelColumns(
        list(events.names.codes),
        columns["name"][order].astype(np.int64),
        place[order],
        columns["start_ns"][order],
        columns["end_ns"][order],
    )
