"""Divides each GPU's time into busy and idle, and idle by what was waited for; exact in integers."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.analysis.gpu_tables import GpuTables
from vlmprof.analysis.intervals import NOTHING, Intervals, intersect, join, subtract, union
from vlmprof.analysis.stack_table import Ints, as_ints
from vlmprof.model.gpu_result import DeviceTime
from vlmprof.model.request import Phase


def device_times(gpu: GpuTables, attribution: Any, requests: Any) -> list[DeviceTime]:
    """The time of every device that did something.

    Args:
        attribution, requests: the tables of the run; without requests, all time counts as in flight.
    """
    work = gpu.work("device", "start_ns", "end_ns")
    device, start_ns, end_ns = (as_ints(work[name]) for name in work.column_names)
    launched_ns, is_h2d = gpu.launched_ns(attribution), gpu.is_h2d()
    measured, in_flight = _request_times(requests)
    times = []
    for each in np.unique(device).tolist():
        own = device == each
        window = measured if len(measured) else _whole(start_ns[own], end_ns[own])
        claims = (
            union(start_ns[own & ~is_h2d], end_ns[own & ~is_h2d]),
            union(start_ns[own & is_h2d], end_ns[own & is_h2d]),
            union(launched_ns[own], start_ns[own]),
            in_flight if len(measured) else window,
        )
        times.append(_divided(each, window, claims))
    return times


def _divided(device: int, window: Intervals, claims: tuple[Intervals, ...]) -> DeviceTime:
    """Each instant of the window to the first that claims it: busy, H2D, queue, a request in flight; else none."""
    lengths_ns, left = [], window
    for claim in claims:
        lengths_ns.append(intersect(left, claim).length_ns)
        left = subtract(left, claim)
    busy_ns, h2d_ns, queue_ns, launch_ns = lengths_ns
    total_ns = sum(lengths_ns) + left.length_ns
    if total_ns != window.length_ns:
        raise AssertionError(f"device {device}: parts are {total_ns} ns of {window.length_ns} ns")
    return DeviceTime(
        device=device,
        window_ns=window.length_ns,
        busy_ns=busy_ns,
        idle_h2d_ns=h2d_ns,
        idle_queue_ns=queue_ns,
        idle_launch_ns=launch_ns,
        idle_no_work_ns=left.length_ns,
    )


def _whole(start_ns: Ints, end_ns: Ints) -> Intervals:
    return union(start_ns.min(keepdims=True), end_ns.max(keepdims=True))


def _request_times(requests: Any) -> tuple[Intervals, Intervals]:
    """Windows of the blocks in which GPUs were recorded, and the times with a request in flight."""
    profiled = requests.filter(pc.equal(requests["phase"].cast(pa.string()), Phase.PROFILED.value))
    sent_ns = as_ints(profiled["sent_ns"])
    ended_ns = as_ints(pc.coalesce(profiled["done_ns"], profiled["first_token_ns"], profiled["sent_ns"]))
    block, windows = as_ints(profiled["block"]), NOTHING
    for number in np.unique(block).tolist():
        own = block == number
        windows = join(windows, union(sent_ns[own].min(keepdims=True), ended_ns[own].max(keepdims=True)))
    return windows, union(sent_ns, ended_ns)
