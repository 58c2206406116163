"""Puts austin's samples on the session clock: a coarse offset from when its output came, a fine one from beacons.

austin's axis starts at 0 when it attaches to a process; only the offset is missing, and where austin lost the
process for a while, a step. Two kinds of evidence, either of which can mislead alone:

arrivals  A row cannot arrive before it was sampled: every arrival is an upper bound of the offset, and the least
          of them is close to it, as some row always is the last one into a buffer that is then written out.
beacons   A thread of the process changes between two functions at recorded times; a change that the samples saw
          between two rows bounds the offset on both sides. Which recorded change it was, arrivals tell: alone,
          a pattern of changes fits again wherever the recorded one repeats itself.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlmprof.analysis.align import Ints, Vote, most_agreed
from vlmprof.errors import ClockError
from vlmprof.model.clock import ClockMap
from vlmprof.units import NS_PER_MS, NS_PER_S

BEACON_SPANS = ("beacon.a", "beacon.b")
BEACON_FUNCTIONS = ("vlmprof_beacon_a", "vlmprof_beacon_b")

_MATCH_NS = 40 * NS_PER_MS  # beacons of one name follow one another after 100 ms or more
_WIDEST_NS = 25 * NS_PER_MS  # two rows further apart may have a whole beacon between them
_LEAST_EDGES = 5
_GROUP_EDGES = 24
_MOST_GROUPS = 8
_SLICE_NS = NS_PER_S // 2
_LEAST_STEP_NS = NS_PER_MS // 2
_PATTERN_EDGES = 60
_LEAST_ROWS = 500


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """When austin's output came in: after read i, at time_ns[i], received_bytes[i] bytes had come."""

    time_ns: Ints
    received_bytes: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Beacons:
    """One process's beacons as the agent recorded them, by start; kind is 1 or 2, as in `BEACON_SPANS`."""

    start_ns: Ints
    end_ns: Ints
    kind: npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class AustinRows:
    """One process's rows in the order of the file.

    Attributes:
        source_ns: the instant of the row's sampling round on austin's axis.
        end_offset: bytes of austin's output up to the end of the row.
        beacon: which beacon was on the row's stack: 0 none, else its kind.
    """

    tid: Ints
    source_ns: Ints
    end_offset: Ints
    beacon: npt.NDArray[np.int8]

    def moved(self, shift_ns: Ints) -> "AustinRows":
        """The same rows at other times."""
        return AustinRows(self.tid, self.source_ns + shift_ns, self.end_offset, self.beacon)


@dataclass(frozen=True, slots=True)
class SteppedClockMap(ClockMap):
    """A clock that also lost or gained time at known moments.

    Attributes:
        steps: (source_ns, shift_ns): from this source time on, session times are this much later.
    """

    steps: tuple[tuple[int, int], ...] = ()

    def to_session(self, source_ns: Ints) -> Ints:
        """Map times of the source onto the session clock, each step included from its moment on."""
        return ClockMap.to_session(self, source_ns) + shift_at(source_ns, self.steps)


def shift_at(source_ns: Ints, steps: tuple[tuple[int, int], ...]) -> Ints:
    """Sum of the steps up to each source time."""
    if not steps:
        return np.zeros(len(source_ns), np.int64)
    moments_ns, shifts_ns = np.array(steps, np.int64).T
    total_ns: Ints = np.concatenate([[0], np.cumsum(shifts_ns)])
    return total_ns[np.searchsorted(moments_ns, source_ns, side="right")]


@dataclass(frozen=True, slots=True)
class BeaconFit:
    """An offset with its half-width at origin_ns, and how it was found."""

    offset_ns: int
    drift_ppm: float
    origin_ns: int
    uncertainty_ns: int
    detail: dict[str, Any]


def align_austin(
    pid: int, rows: AustinRows, arrivals: Arrivals | None = None, beacons: Beacons | None = None
) -> ClockMap:
    """Find the session time of one process's samples.

    Args:
        rows: the process's rows, `MojoCapture.rows_of(pid)`.
        arrivals, beacons: the evidence; one of them is enough, at a larger uncertainty, which the result states.

    Returns:
        A map with `evidence["method"]` "beacons and arrivals", "beacons" or "arrivals".

    Raises:
        ClockError: no rows, or neither evidence fits them.
    """
    if not len(rows.source_ns):
        raise ClockError(
            f"austin took no sample of process {pid}", hint="see austin's messages in the run folder"
        )
    coarse = _first_arrival(rows, arrivals)
    steps = coarse.steps if coarse else ()
    fine = None
    if beacons is not None:
        moved = rows.moved(shift_at(rows.source_ns, steps))
        fine = fit_beacons(moved, beacons, coarse.offset_ns if coarse else None)
    if fine is None and coarse is None:
        raise ClockError(
            f"austin's samples of process {pid} cannot be aligned: {_missing_evidence(arrivals, beacons)}",
            hint="profile with spans on, which bring the beacons, or without austin: --cpu-profiler none",
        )
    if fine is None:
        assert coarse is not None
        fine = BeaconFit(coarse.offset_ns, 0.0, 0, coarse.uncertainty_ns, {})
        method = "arrivals"
    else:
        method = "beacons and arrivals" if coarse else "beacons"
    evidence: dict[str, Any] = {"method": method, **fine.detail}
    if coarse:
        evidence |= {
            "arrival_minus_offset_ns": coarse.offset_ns - fine.offset_ns,
            "threads_apart_ns": coarse.threads_apart_ns,
            "steps": len(steps),
        }
    return SteppedClockMap(
        source=f"austin:{pid}",
        offset_ns=fine.offset_ns,
        drift_ppm=fine.drift_ppm,
        uncertainty_ns=fine.uncertainty_ns + (coarse.threads_apart_ns if coarse else 0),
        evidence=evidence,
        origin_ns=fine.origin_ns,
        steps=steps,
    )


def _missing_evidence(arrivals: Arrivals | None, beacons: Beacons | None) -> str:
    arrived = "no record of its output's arrival" if arrivals is None else "no row whose arrival was recorded"
    seen = "no beacons were recorded" if beacons is None else "its samples do not show the recorded beacons"
    return f"{arrived}, and {seen}"


@dataclass(frozen=True, slots=True)
class _Coarse:
    """What arrivals tell: threads_apart_ns is how much later than the first thread of a round the last is read."""

    offset_ns: int
    uncertainty_ns: int
    threads_apart_ns: int
    steps: tuple[tuple[int, int], ...]


def _first_arrival(rows: AustinRows, arrivals: Arrivals | None) -> _Coarse | None:
    """The least difference between a row's arrival and its time, and where that least makes steps."""
    if arrivals is None or not len(arrivals.time_ns):
        return None
    read = np.searchsorted(arrivals.received_bytes, rows.end_offset, side="left")
    known = read < len(arrivals.time_ns)
    if not known.any():
        return None
    source_ns = rows.source_ns[known]
    delay_ns = arrivals.time_ns[read[known]] - source_ns
    interval_ns = _round_length_ns(rows.source_ns)
    steps = _find_steps(source_ns, delay_ns, max(_LEAST_STEP_NS, interval_ns // 2))
    delay_ns = delay_ns - shift_at(source_ns, steps)
    least_ns = _slice_minima(source_ns, delay_ns)[1]
    spread_ns = int(np.quantile(least_ns - least_ns.min(), 0.9))
    apart_ns = _threads_apart_ns(rows.tid[known], delay_ns)
    return _Coarse(int(delay_ns.min()), spread_ns + max(interval_ns, NS_PER_MS), apart_ns, steps)


def _threads_apart_ns(tid: Ints, delay_ns: Ints) -> int:
    """Difference between the least delays of the thread that is read first in each round and of the last one.

    austin reads threads one after another, some microseconds each, under the one time of the round; the offset
    suits the beacons' thread, and is off by so much at most for another.
    """
    tids, which, counts = np.unique(tid, return_inverse=True, return_counts=True)
    least_ns = np.full(len(tids), np.iinfo(np.int64).max)
    np.minimum.at(least_ns, which, delay_ns)
    least_ns = least_ns[counts >= _LEAST_ROWS]
    return int(least_ns.max() - least_ns.min()) if len(least_ns) else 0


def _round_length_ns(source_ns: Ints) -> int:
    """The usual time from one sampling round to the next."""
    lengths_ns = np.diff(np.unique(source_ns))
    return int(np.median(lengths_ns)) if len(lengths_ns) else 0


def _slice_minima(source_ns: Ints, delay_ns: Ints) -> tuple[Ints, Ints]:
    """First rows of half-second slices, those without rows left out, and the least delay in each."""
    slice_number = (source_ns - source_ns[0]) // _SLICE_NS
    first: Ints = np.flatnonzero(np.diff(slice_number, prepend=-1) > 0)
    return first, np.minimum.reduceat(delay_ns, first)


def _find_steps(source_ns: Ints, delay_ns: Ints, least_ns: int) -> tuple[tuple[int, int], ...]:
    """Where the least delay changes for good: austin's axis lost or gained time there.

    austin loses time where it attaches to a process anew. A change counts if two slices on end show it: one
    alone may just have been served late.
    """
    first, slice_least_ns = _slice_minima(source_ns, delay_ns)
    bounds = np.append(first, len(source_ns))
    level_ns = int(slice_least_ns[0])
    steps: list[tuple[int, int]] = []
    for number in range(1, len(first) - 1):
        change_ns = slice_least_ns[number : number + 2] - level_ns
        if not (np.all(change_ns > least_ns) or np.all(change_ns < -least_ns)):
            continue
        step_ns = int(change_ns.min() if change_ns[0] > 0 else change_ns.max())
        begin, end = bounds[number - 1], bounds[number + 1]
        if step_ns > 0:
            # A row that arrived earlier than the new level allows, and with it its round, belongs to the old one.
            last = begin + np.flatnonzero(delay_ns[begin:end] < level_ns + step_ns)[-1]
            moment_ns = source_ns[last] + 1
        else:
            moment_ns = source_ns[begin + np.flatnonzero(delay_ns[begin:end] < level_ns + step_ns / 2)[0]]
        steps.append((int(moment_ns), step_ns))
        level_ns += step_ns
    return tuple(steps)


def fit_beacons(rows: AustinRows, beacons: Beacons, near_ns: int | None) -> BeaconFit | None:
    """The offset at which the changes that the samples saw meet the recorded ones; None where too few do."""
    edges = _seen_edges(rows)
    if len(edges.kind) < _LEAST_EDGES or not len(beacons.start_ns):
        return None
    if near_ns is None:
        near_ns = _offset_of_pattern(edges, beacons)
        if near_ns is None:
            return None
    edges, recorded_ns = _match(edges, beacons, near_ns)
    if len(recorded_ns) < _LEAST_EDGES:
        return None
    low_ns, high_ns = recorded_ns - edges.after_ns, recorded_ns - edges.before_ns
    drift_ppm, origin_ns = _drift(edges.after_ns, low_ns, high_ns)
    drifted_ns = np.rint(drift_ppm * 1e-6 * (edges.after_ns - origin_ns)).astype(np.int64)
    low_ns, high_ns = low_ns - drifted_ns, high_ns - drifted_ns
    vote = most_agreed(low_ns, high_ns)
    if vote.votes < len(recorded_ns) / 2:
        return None
    wander_ns = max(
        group.distance_ns(vote.middle_ns) for _, group in _groups(edges.after_ns, low_ns, high_ns)
    )
    detail = {"edges": len(recorded_ns), "edges_agreeing": vote.votes, "wander_ns": round(wander_ns)}
    return BeaconFit(vote.middle_ns, drift_ppm, origin_ns, vote.half_width_ns + round(wander_ns), detail)


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """Changes from one beacon to the other: after the row at before_ns, up to the row at after_ns, to `kind`."""

    before_ns: Ints
    after_ns: Ints
    kind: npt.NDArray[np.int8]

    def where(self, chosen: npt.NDArray[Any]) -> "_Edges":
        return _Edges(self.before_ns[chosen], self.after_ns[chosen], self.kind[chosen])


def _seen_edges(rows: AustinRows) -> _Edges:
    shown = np.flatnonzero(rows.beacon > 0)
    if not len(shown):
        return _Edges(rows.source_ns[:0], rows.source_ns[:0], rows.beacon[:0])
    tids, counts = np.unique(rows.tid[shown], return_counts=True)
    shown = shown[rows.tid[shown] == tids[np.argmax(counts)]]
    time_ns, kind = rows.source_ns[shown], rows.beacon[shown]
    edges = _Edges(time_ns[:-1], time_ns[1:], kind[1:])
    return edges.where((kind[1:] != kind[:-1]) & (np.diff(time_ns) < _WIDEST_NS))


def _match(edges: _Edges, beacons: Beacons, near_ns: int) -> tuple[_Edges, Ints]:
    """The edges for which a change to the same beacon was recorded near their time, and its time."""
    recorded_ns = np.empty(len(edges.kind), np.int64)
    distance_ns = np.full(len(edges.kind), _MATCH_NS, np.int64)
    for kind in (1, 2):
        starts_ns, mine = beacons.start_ns[beacons.kind == kind], edges.kind == kind
        if len(starts_ns) and mine.any():
            nearest_ns = nearest(starts_ns, edges.after_ns[mine] + near_ns)
            recorded_ns[mine] = nearest_ns
            distance_ns[mine] = np.abs(nearest_ns - edges.after_ns[mine] - near_ns)
    matched = distance_ns < _MATCH_NS
    return edges.where(matched), recorded_ns[matched]


def nearest(ascending: Ints, values: Ints) -> Ints:
    """For each value the nearest of the ascending, non-empty ones."""
    right = np.clip(np.searchsorted(ascending, values), 1, max(1, len(ascending) - 1))
    right = np.minimum(right, len(ascending) - 1)
    left = np.maximum(right - 1, 0)
    found: Ints = np.where(
        values - ascending[left] <= ascending[right] - values, ascending[left], ascending[right]
    )
    return found


def _offset_of_pattern(edges: _Edges, beacons: Beacons) -> int | None:
    """An offset from the pattern of changes alone; None where two offsets fit about equally well."""
    if len(edges.kind) < 2 * _LEAST_EDGES:
        return None
    middle = len(edges.kind) // 2
    chosen = edges.where(np.arange(len(edges.kind))[max(0, middle - _PATTERN_EDGES // 2) :][:_PATTERN_EDGES])
    anchor = len(chosen.kind) // 2
    tolerance_ns = max(NS_PER_MS, 2 * int(np.median(chosen.after_ns - chosen.before_ns)))
    starts_ns = [beacons.start_ns[beacons.kind == kind] for kind in (1, 2)]
    candidates_ns = starts_ns[chosen.kind[anchor] - 1] - chosen.after_ns[anchor]
    score = np.zeros(len(candidates_ns), np.int64)
    for after_ns, kind in zip(chosen.after_ns.tolist(), chosen.kind.tolist(), strict=True):
        if len(starts_ns[kind - 1]):
            expected_ns = candidates_ns + after_ns
            score += np.abs(nearest(starts_ns[kind - 1], expected_ns) - expected_ns) < tolerance_ns
    best = int(np.argmax(score))
    elsewhere = np.abs(candidates_ns - candidates_ns[best]) > _MATCH_NS
    runner_up = int(score[elsewhere].max()) if elsewhere.any() else 0
    if score[best] < 0.8 * len(chosen.kind) or runner_up > 0.7 * score[best]:
        return None
    return int(candidates_ns[best])


def _groups(time_ns: Ints, low_ns: Ints, high_ns: Ints) -> list[tuple[float, Vote]]:
    """Votes of consecutive groups of edges, each with its mean time."""
    count = int(np.clip(len(time_ns) // _GROUP_EDGES, 1, _MOST_GROUPS))
    parts = np.array_split(np.arange(len(time_ns)), count)
    return [(float(time_ns[part].mean()), most_agreed(low_ns[part], high_ns[part])) for part in parts]


def _drift(time_ns: Ints, low_ns: Ints, high_ns: Ints) -> tuple[float, int]:
    """Drift in ppm and the source time that it counts from; 0 where no drift is needed to explain the groups."""
    groups = _groups(time_ns, low_ns, high_ns)
    centre_ns = np.array([time for time, _ in groups])
    middle_ns = np.array([vote.middle_ns for _, vote in groups])
    origin_ns = int(time_ns[0])
    if len(groups) < 4:
        return 0.0, origin_ns
    # Offsets are too large for a line's fit in floating point; their differences are not.
    slope, intercept = np.polyfit((centre_ns - origin_ns) / 1e9, middle_ns - middle_ns[0], 1)
    line_ns = middle_ns[0] + intercept + slope * (centre_ns - origin_ns) / 1e9
    flat_misses_ns = [vote.distance_ns(float(np.median(middle_ns))) for _, vote in groups]
    line_misses_ns = [vote.distance_ns(at) for (_, vote), at in zip(groups, line_ns.tolist(), strict=True)]
    change_ns = abs(slope) * (centre_ns[-1] - centre_ns[0]) / 1e9
    noise_ns = 2 * max(vote.half_width_ns for _, vote in groups)
    if change_ns < noise_ns or max(line_misses_ns) >= max(flat_misses_ns):
        return 0.0, origin_ns
    return float(slope) / 1e3, origin_ns
