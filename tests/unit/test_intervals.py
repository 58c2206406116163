"""Sets of instants: each operation against the same on a set of integers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vlmprof.analysis.intervals import Intervals, intersect, join, subtract, union

_PAIRS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), max_size=8)


def _set(pairs: list[tuple[int, int]]) -> Intervals:
    columns = np.array(pairs, np.int64).reshape(-1, 2)
    return union(columns[:, 0], columns[:, 0] + columns[:, 1])


def _instants(found: Intervals) -> set[int]:
    instants = [
        at for start, end in zip(found.start_ns, found.end_ns, strict=True) for at in range(start, end)
    ]
    assert len(set(instants)) == len(instants) == found.length_ns
    assert (found.start_ns < found.end_ns).all()
    assert (found.end_ns[:-1] <= found.start_ns[1:]).all()
    return set(instants)


@given(_PAIRS, _PAIRS)
def test_operations_are_those_of_sets(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    """An interval [s, s + n) stands for its n integers."""
    first, second = ({at for start, n in pairs for at in range(start, start + n)} for pairs in (one, other))
    assert _instants(_set(one)) == first
    assert _instants(intersect(_set(one), _set(other))) == first & second
    assert _instants(subtract(_set(one), _set(other))) == first - second
    assert _instants(join(_set(one), _set(other))) == first | second


@given(_PAIRS, st.integers(0, 40), st.integers(0, 40))
def test_a_window_cuts_and_covers_says_what_lies_inside(
    pairs: list[tuple[int, int]], start: int, n: int
) -> None:
    """Instants 0 to 99 are asked one by one."""
    whole = {at for begin, length in pairs for at in range(begin, begin + length)}
    assert _instants(_set(pairs).inside(start, start + n)) == whole & set(range(start, start + n))
    assert set(np.flatnonzero(_set(pairs).covers(np.arange(100))).tolist()) == whole
