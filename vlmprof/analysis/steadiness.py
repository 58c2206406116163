"""Did TTFT have a trend while it was measured?

A server's first requests go through memory that nothing has touched yet, caches that are empty and kernels that
are not compiled; on a fresh virtual machine that goes on for a hundred requests. What they say of TTFT and of its
stages is not what later ones would say. Another server gets slower: more comes in than it can serve. Images that
differ do not look like either: they come in no order of cost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlmprof.analysis.stats import Floats

_LEAST_REQUESTS = 12
_MOST_REQUESTS = 1000
"""Every pair of requests is compared: of more, every second one, or every third."""
_MOST_CHANCE = 0.001
_LEAST_CHANGE = 0.15
_DRAWS = 20_000
_VALUES_AT_ONCE = 2_000_000

_Orders = npt.NDArray[np.int64]

Blocks = Sequence[Sequence[int]]
"""TTFT of requests, ns, block by block, both in the order of sending."""


@dataclass(frozen=True, slots=True)
class Trend:
    """TTFT of the first and of the last third of the control requests, ns, in the median."""

    first_ns: float
    last_ns: float

    @property
    def rises(self) -> bool:
        """Whether the server got slower."""
        return self.last_ns > self.first_ns


def trend_of(control: Blocks, profiled: Blocks = ()) -> Trend | None:
    """The trend of a run's requests; None where there is none to speak of.

    By Kendall's rank correlation of order and TTFT, which asks nothing of TTFT's distribution, summed over the two
    kinds of blocks (the seasonal Kendall test). What such a sum is by chance is found by drawing the order of
    blocks and the order of requests within each anew: requests of one block share what the machine was at, and
    five of them in a row are no five witnesses. One run in a thousand that has no trend is called one.

    Args:
        profiled: they took longer, and are ranked among themselves.
    """
    times_ns = [time for block in control for time in block]
    if len(times_ns) < _LEAST_REQUESTS:
        return None
    third = len(times_ns) // 3
    trend = Trend(float(np.median(times_ns[:third])), float(np.median(times_ns[-third:])))
    if abs(trend.last_ns - trend.first_ns) < _LEAST_CHANGE * trend.first_ns:
        return None
    kinds = [_Ranked(_thinned(blocks)) for blocks in (control, profiled)]
    total = sum(kind.concordance for kind in kinds)
    if (total > 0) != trend.rises:
        return None
    rng = np.random.default_rng(0)
    drawn = sum((kind.drawn(rng) for kind in kinds), np.zeros(_DRAWS))
    return trend if float(np.mean(np.abs(drawn) >= abs(total))) <= _MOST_CHANCE else None


def _thinned(blocks: Blocks) -> list[Floats]:
    step = -(-sum(map(len, blocks)) // _MOST_REQUESTS) or 1
    return [np.asarray(block[::step], np.float64) for block in blocks if len(block)]


class _Ranked:
    """Blocks of one kind.

    Attributes:
        concordance: pairs of requests of which the later took longer, less those of which it was quicker.
    """

    def __init__(self, blocks: list[Floats]) -> None:
        self._between = np.array([[_later_longer(one, other) for other in blocks] for one in blocks])
        within = sum(float(np.triu(np.sign(block[None, :] - block[:, None])).sum()) for block in blocks)
        sizes = np.array([len(block) for block in blocks], np.float64)
        # Of Kendall's sum over a block whose order is chance; of several blocks together it is close to normal.
        self._deviation = float(np.sqrt((sizes * (sizes - 1) * (2 * sizes + 5) / 18).sum()))
        self.concordance = within + float(np.triu(self._between, 1).sum())

    def drawn(self, rng: np.random.Generator) -> Floats:
        """Concordance of so many other orders."""
        count = len(self._between)
        within: Floats = rng.normal(0.0, self._deviation, _DRAWS)
        if count < 2:
            return within
        orders = rng.permuted(np.tile(np.arange(count), (_DRAWS, 1)), axis=1)
        between: Floats = np.concatenate([self._of_orders(part) for part in _parts(orders, count**2)])
        return within + between

    def _of_orders(self, orders: _Orders) -> Floats:
        ordered: Floats = self._between[orders[:, :, None], orders[:, None, :]]
        summed: Floats = np.triu(ordered, 1).sum(axis=(1, 2))
        return summed


def _later_longer(earlier: Floats, later: Floats) -> float:
    return float(np.sign(later[None, :] - earlier[:, None]).sum())


def _parts(orders: _Orders, values_each: int) -> Iterator[_Orders]:
    step = max(1, _VALUES_AT_ONCE // values_each)
    return (orders[start : start + step] for start in range(0, len(orders), step))
