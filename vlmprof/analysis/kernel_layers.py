"""Finds a transformer's layers in a sequence of kernels: what repeats, and holds a matrix product."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Pattern = tuple[int, ...]
"""The kernels of one layer."""

_SHORTEST_LAYER, _LONGEST_LAYER = 4, 256
_FEWEST_LAYERS = 3
_ENOUGH_OF_BEST = 0.95


def find_period(sequence: Ints, is_gemm: npt.NDArray[np.bool_]) -> int:
    """The shortest length of a layer that explains nearly as many kernels as any; 0 where nothing repeats.

    A layer holds a matrix product: a loop over elementwise kernels is none.
    """
    covered = {}
    for period in range(_SHORTEST_LAYER, min(_LONGEST_LAYER, len(sequence) // _FEWEST_LAYERS) + 1):
        starts = layer_starts(sequence, period)
        if len(starts) >= _FEWEST_LAYERS and is_gemm[starts[0] : starts[0] + period].any():
            covered[period] = len(starts) * period
    most = max(covered.values(), default=0)
    return next((period for period, count in covered.items() if count >= _ENOUGH_OF_BEST * most), 0)


def layer_starts(sequence: Ints, period: int) -> Ints:
    """Where the layers of the most frequent pattern of this length start.

    Layers stand in runs of at least three; in each, the kernel equals the one a period later. What precedes a run
    may look like the end of a layer, so that runs begin anywhere in one: all are counted from where most begin.
    """
    same = np.concatenate([[False], sequence[:-period] == sequence[period:], [False]])
    edges = np.flatnonzero(same[1:] != same[:-1])
    starts, ends = edges[::2], edges[1::2]
    long = ends - starts >= (_FEWEST_LAYERS - 1) * period
    runs = list(zip(starts[long].tolist(), (ends[long] + period).tolist(), strict=True))
    if not runs:
        return np.empty(0, np.int64)
    # Runs of another pattern of the same length, as of a second model, are left out.
    windows = [tuple(sequence[start : start + period].tolist()) for start, _ in runs]
    layers: Counter[Pattern] = Counter()
    for (start, end), window in zip(runs, windows, strict=True):
        layers[window] += (end - start) // period
    shifts = _shifts_to_most_frequent(layers)
    return np.concatenate(
        [
            np.arange(start + shifts[window], end - period + 1, period)
            for (start, end), window in zip(runs, windows, strict=True)
            if window in shifts
        ]
    )


def _shifts_to_most_frequent(layers: Mapping[Pattern, int]) -> dict[Pattern, int]:
    """The turns of the pattern with the most layers, and by how many kernels each is shifted to the commonest."""
    families: dict[Pattern, dict[Pattern, int]] = {}
    for window in layers:
        for of, turns in families.items():
            if (shift := _turned_by(window, of)) is not None:
                turns[window] = shift
                break
        else:
            families[window] = {window: 0}
    best = max(families.values(), key=lambda turns: sum(layers[window] for window in turns))
    reference = max(best, key=lambda window: layers[window])
    return {window: _turned_by(window, reference) or 0 for window in best}


def _turned_by(window: Pattern, other: Pattern) -> int | None:
    """After how many kernels of the first, repeated, the second begins; None where it never does."""
    if sorted(window) != sorted(other):
        return None
    turns = (shift for shift in range(len(window)) if window[shift] == other[0])
    return next((shift for shift in turns if window[shift:] + window[:shift] == other), None)
