"""A sampler of known clock: what austin would write of a process, and when it would arrive."""

from dataclasses import dataclass

import numpy as np

from vlmprof.analysis.align import Ints
from vlmprof.analysis.align_austin import Arrivals, AustinRows, Beacons

MS = 1_000_000
ATTACHED_NS = 7_000_000_000_000
BEACON_TID, OTHER_TID = 12, 10
BLOCK_BYTES, ROW_BYTES = 4096, 70


@dataclass(frozen=True)
class Simulation:
    """`instant_ns` is the true session time of each row."""

    rows: AustinRows
    arrivals: Arrivals
    beacons: Beacons
    instant_ns: Ints


def simulate(
    *,
    seconds: float = 10,
    interval_ns: int = 2 * MS,
    pauses_ns: tuple[tuple[int, int], ...] = (),
    lost_ns: tuple[tuple[int, int], ...] = (),
    drift_ppm: float = 0.0,
    late_share: float = 0.0,
    pattern_ns: tuple[int, ...] = (),
    seed: int = 3,
) -> Simulation:
    """Two threads, one of them the beacons', sampled every interval and a little more.

    Args:
        pauses_ns: (since attaching, length): the sampler is stopped.
        lost_ns: (since attaching, length): the sampler attaches anew, which takes so long and is lacking on its
            axis; a negative length is counted twice instead.
        drift_ppm: how much faster the session clock runs than the sampler's.
        late_share: of the rows, taken up to 5 ms after their round.
        pattern_ns: lengths of the beacons, over and over; random ones of 50 to 90 ms if empty.
    """
    random = np.random.default_rng(seed)
    end_ns = round(seconds * 1000) * MS
    absences_ns = (*pauses_ns, *((since, max(0, length)) for since, length in lost_ns))
    rounds_ns = _rounds(random, end_ns, interval_ns, absences_ns)
    beacons = _beacons(random, end_ns, pattern_ns)
    instant_ns = np.repeat(rounds_ns, 2)
    seen_ns = rounds_ns + (random.random(len(rounds_ns)) < late_share) * random.integers(
        0, 5 * MS, len(rounds_ns)
    )
    kind = beacons.kind[np.searchsorted(beacons.start_ns, ATTACHED_NS + seen_ns, side="right") - 1]
    lost = sum(
        ((instant_ns >= since) * length for since, length in lost_ns), np.zeros(len(instant_ns), np.int64)
    )
    source_ns = np.rint((instant_ns - lost) / (1 + drift_ppm * 1e-6)).astype(np.int64)
    beacon = np.zeros(len(instant_ns), np.int8)
    beacon[1::2] = kind
    end_offset = 60 + ROW_BYTES * np.arange(1, len(instant_ns) + 1)
    rows = AustinRows(np.tile([OTHER_TID, BEACON_TID], len(rounds_ns)), source_ns, end_offset, beacon)
    return Simulation(rows, _arrivals(random, end_offset, instant_ns), beacons, ATTACHED_NS + instant_ns)


def _rounds(
    random: np.random.Generator, end_ns: int, interval_ns: int, absences_ns: tuple[tuple[int, int], ...]
) -> Ints:
    count = end_ns // interval_ns
    rounds_ns = np.cumsum(interval_ns + random.exponential(0.06 * MS, count).astype(np.int64))
    for since, length in absences_ns:
        rounds_ns = np.where(rounds_ns >= since, rounds_ns + length, rounds_ns)
    shown: Ints = rounds_ns[rounds_ns < end_ns]
    return shown


def _beacons(random: np.random.Generator, end_ns: int, pattern_ns: tuple[int, ...]) -> Beacons:
    count = end_ns // (50 * MS) + 40
    lengths = np.resize(pattern_ns, count) if pattern_ns else random.integers(50 * MS, 90 * MS, count)
    start_ns = ATTACHED_NS - 500 * MS + np.cumsum(lengths + random.integers(20_000, 90_000, count))
    kind = (1 + np.arange(count) % 2).astype(np.int8)
    return Beacons(start_ns[:-1], start_ns[1:] - 5000, kind[:-1])


def _arrivals(random: np.random.Generator, end_offset: Ints, instant_ns: Ints) -> Arrivals:
    """The sampler writes whole blocks, each with the row that fills it, and the rest at its end."""
    blocks = np.arange(BLOCK_BYTES, end_offset[-1], BLOCK_BYTES)
    filled = np.searchsorted(end_offset, blocks)
    late_ns = random.integers(20_000, 300_000, len(blocks) + 1)
    time_ns = ATTACHED_NS + np.append(instant_ns[filled], instant_ns[-1]) + late_ns
    return Arrivals(time_ns, np.append(blocks, end_offset[-1]))
