"""Finds a transformer's layers in a sequence of kernels: what repeats, and holds a matrix product."""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

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

    Layers stand in runs of at least three; in each, the kernel equals the one a period later.
    """
    same = np.concatenate([[False], sequence[:-period] == sequence[period:], [False]])
    edges = np.flatnonzero(same[1:] != same[:-1])
    starts, ends = edges[::2], edges[1::2]
    long = ends - starts >= (_FEWEST_LAYERS - 1) * period
    found = [
        np.arange(start, end + 1, period)[: (end - start) // period + 1]
        for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True)
    ]
    if not found:
        return np.empty(0, np.int64)
    # Runs of another pattern of the same length, as of a second model, are left out.
    shapes = [tuple(sorted(sequence[run[0] : run[0] + period].tolist())) for run in found]
    layers = {
        shape: sum(len(run) for run, own in zip(found, shapes, strict=True) if own == shape)
        for shape in shapes
    }
    best = max(layers, key=lambda shape: layers[shape])
    return np.concatenate([run for run, shape in zip(found, shapes, strict=True) if shape == best])
