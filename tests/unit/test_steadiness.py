"""Whether TTFT had a trend while it was measured."""

import numpy as np
import pytest

from vlmprof.analysis.steadiness import Trend, trend_of


def _shuffled(*ttft_ms: int) -> list[int]:
    return [int(each) for each in np.random.default_rng(0).permutation(np.array(ttft_ms) * 1_000_000)]


def test_a_server_that_settles_is_told_with_both_thirds() -> None:
    """Twelve requests from 420 to 200 ms, each 20 ms faster: 390 ms in the median of four, then 230."""
    trend = trend_of([[ms * 1_000_000 for ms in range(420, 180, -20)]])
    assert trend == Trend(390e6, 230e6)
    assert not trend.rises


def test_a_server_that_slows_down_is_told_too() -> None:
    trend = trend_of([[ms * 1_000_000 for ms in range(200, 440, 20)]])
    assert trend is not None
    assert trend.rises


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
    assert trend_of([ttft_ns]) is None


def _blocks(levels: list[float], deviation: float = 0.05) -> list[list[int]]:
    """Blocks of five requests around 200 ms times a level each; requests vary by 5%, and each in its own way."""
    rng = np.random.default_rng(len(levels))
    return [[int(200e6 * level * np.exp(rng.normal(0, deviation))) for _ in range(5)] for level in levels]


def test_blocks_that_differ_from_one_another_are_no_trend() -> None:
    """Four of 240, 220, 180 and 170 ms: as requests a trend beyond doubt; as blocks, one order of twelve is one.

    The profiled blocks between them went another way: what the machine was at, not what the server did.
    """
    control = _blocks([1.2, 1.1, 0.9, 0.85], 0.01)
    assert trend_of([[each for block in control for each in block]]) is not None
    assert trend_of(control, _blocks([0.9, 1.2, 0.85, 1.1], 0.01)) is None


def test_blocks_that_all_get_faster_are_a_trend() -> None:
    """40 requests from 440 ms down to 191, control and profiled in turn: both kinds tell it, and blocks within."""
    levels = [2 * np.exp(-request / 40) + 0.2 for request in range(40)]
    times = [int(200e6 * level) for level in levels]
    blocks = [times[start : start + 5] for start in range(0, 40, 5)]
    trend = trend_of(blocks[::2], blocks[1::2])
    assert trend is not None
    assert not trend.rises


def test_of_many_runs_without_a_trend_hardly_one_is_told() -> None:
    """Of two hundred, whose blocks differ by 20%, four times what requests do; one in a thousand may be."""
    rng = np.random.default_rng(0)

    def run() -> list[list[int]]:
        return _blocks([float(np.exp(rng.normal(0, 0.2))) for _ in range(4)])

    assert sum(trend_of(run(), run()) is not None for _ in range(200)) <= 1
