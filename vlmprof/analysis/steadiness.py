"""Was the server still settling while it was measured?

A server's first requests go through memory that nothing has touched yet, caches that are empty and kernels that
are not compiled; on a fresh virtual machine that goes on for a hundred requests. What they say of TTFT and of its
stages is not what later ones would say. Images that differ do not look like that: they come in no order of cost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_LEAST_REQUESTS = 12
_MOST_REQUESTS = 1000
"""Every pair of requests is compared: of more, every second one, or every third."""
_LEAST_Z = 3.3
"""One run in a thousand would show such a trend by chance."""
_LEAST_CHANGE = 0.15


@dataclass(frozen=True, slots=True)
class Trend:
    """TTFT of the first and of the last third of the requests, ns, in the median."""

    first_ns: float
    last_ns: float


def trend_of(ttft_ns: Sequence[int]) -> Trend | None:
    """The trend in requests in the order in which they were sent; None where there is none to speak of.

    By Kendall's rank correlation of order and TTFT, which asks nothing of TTFT's distribution.
    """
    if len(ttft_ns) < _LEAST_REQUESTS:
        return None
    times = np.asarray(ttft_ns, np.float64)[:: -(-len(ttft_ns) // _MOST_REQUESTS)]
    count = len(times)
    concordant = float(np.triu(np.sign(times[None, :] - times[:, None])).sum())
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    third = count // 3
    first_ns, last_ns = float(np.median(times[:third])), float(np.median(times[-third:]))
    if abs(concordant) < _LEAST_Z * deviation or abs(last_ns - first_ns) < _LEAST_CHANGE * first_ns:
        return None
    return Trend(first_ns, last_ns)
