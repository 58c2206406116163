"""Beacons: two functions of known names, entered in turn at recorded times, that a stack sampler sees.

A sampler's own times are put on the session clock by matching the switches it saw with the recorded ones.
"""

import os
import random
import threading
from collections.abc import Callable

from .recorder import Recorder, now_ns

SPAN_A, SPAN_B = "beacon.a", "beacon.b"


def vlmprof_beacon_a(never: threading.Event, wait_s: float) -> None:
    """Wait under a name that the sampler can tell from the other."""
    never.wait(wait_s)


def vlmprof_beacon_b(never: threading.Event, wait_s: float) -> None:
    """Wait under a name that the sampler can tell from the other."""
    never.wait(wait_s)


def _beat(recorder: Recorder, goes_on: Callable[[], bool]) -> None:
    never = threading.Event()
    # Irregular lengths, so that a pattern of beats fits the sampler's record in one place only; a generator of
    # our own, so that the engine's random numbers stay what they would be without us.
    lengths = random.Random(os.getpid())
    beats = (
        (vlmprof_beacon_a, recorder.name_id(SPAN_A)),
        (vlmprof_beacon_b, recorder.name_id(SPAN_B)),
    )
    count = 0
    while goes_on():
        beacon, name_id = beats[count % 2]
        wait_s = lengths.uniform(0.05, 0.09)
        start_ns = now_ns()
        beacon(never, wait_s)
        recorder.add(name_id, start_ns, now_ns(), None)
        count += 1


def start_beacon(recorder: Recorder, goes_on: Callable[[], bool] = lambda: True) -> None:
    """Start beating in a thread of this process; it wakes about 14 times a second for as long as told to go on."""
    threading.Thread(target=_beat, args=(recorder, goes_on), name="vlmprof-beacon", daemon=True).start()
