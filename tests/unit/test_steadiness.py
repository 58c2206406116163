"""Whether TTFT had a trend while it was measured."""

import numpy as np
import pytest

from vlmprof.analysis.steadiness import Trend, trend_of


def _shuffled(*ttft_ms: int) -> list[int]:
    return [int(each) for each in np.random.default_rng(0).permutation(np.array(ttft_ms) * 1_000_000)]


def test_a_server_that_settles_is_told_with_both_thirds() -> None:
    """Twelve requests from 420 to 200 ms, each 20 ms faster: 390 ms in the median of four, then 230."""
    assert trend_of([ms * 1_000_000 for ms in range(420, 180, -20)]) == Trend(390e6, 230e6)


def test_a_server_that_slows_down_is_told_too() -> None:
    trend = trend_of([ms * 1_000_000 for ms in range(200, 440, 20)])
    assert trend is not None
    assert trend.first_ns < trend.last_ns


@pytest.mark.parametrize(
    "ttft_ns",
    [
        [300_000_000] * 40,
        _shuffled(*[30] * 10, *[90] * 20, *[160] * 10),
        [ms * 1_000_000 for ms in range(420, 200, -20)],
        [ms * 1_000_000 for ms in range(420, 400, -1)],
    ],
    ids=["equal", "images of three sizes", "eleven requests", "a trend of a few percent"],
)
def test_what_is_no_trend(ttft_ns: list[int]) -> None:
    """Too few requests, no order in them, or a change that would not matter."""
    assert trend_of(ttft_ns) is None
