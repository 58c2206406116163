"""What every alignment shares: the vote, the witness's summary, the evidence in run.json."""

import numpy as np

from vlmprof.analysis.align import clock_evidence, most_agreed, witness_of
from vlmprof.model.clock import ClockMap


def test_the_vote_is_where_most_intervals_overlap() -> None:
    """[0, 10], [4, 12] and [6, 20] share [6, 10]; [90, 95] is outvoted."""
    vote = most_agreed(np.array([0, 90, 4, 6]), np.array([10, 95, 12, 20]))
    assert (vote.low_ns, vote.high_ns, vote.votes) == (6, 10, 3)
    assert (vote.middle_ns, vote.half_width_ns) == (8, 2)
    assert [vote.distance_ns(at) for at in (5, 6, 9, 10, 13)] == [1, 0, 0, 0, 3]


def test_one_wrong_interval_moves_nothing() -> None:
    """Ninety-nine agree on [0, 4]; the hundredth, far off, would move a mean by a tenth."""
    low, high = np.zeros(100, np.int64), np.full(100, 4)
    low[50], high[50] = 1000, 1004
    assert (most_agreed(low, high).low_ns, most_agreed(low, high).high_ns) == (0, 4)


def test_intervals_that_touch_overlap_there() -> None:
    """[0, 5] and [5, 9] agree on 5."""
    vote = most_agreed(np.array([0, 5]), np.array([5, 9]))
    assert (vote.low_ns, vote.high_ns, vote.votes) == (5, 5, 2)


def test_a_witness_without_differences_has_no_quantiles() -> None:
    witness = witness_of("none to be had", np.zeros(0, np.int64))
    assert (witness.count, witness.p50_ns, witness.p95_ns) == (0, None, None)


def test_a_witness_looks_at_sizes_not_signs() -> None:
    """Sizes 1 to 5: the median is 3, the 95th percentile lies four fifths of the way from 4 to 5."""
    witness = witness_of("x", np.array([-5, 1, 2, -3, 4]) * 1000)
    assert (witness.count, witness.p50_ns, witness.p95_ns) == (5, 3000, 4800)


def test_the_evidence_in_run_json_names_method_and_witness() -> None:
    clock = ClockMap("austin:7", 5, 0.5, 900, {"method": "beacons", "edges": 40})
    evidence = clock_evidence(clock, witness_of("spans", np.array([10, 10]), {"unseen": 1}))
    assert (evidence.source, evidence.method, evidence.offset_ns) == ("austin:7", "beacons", 5)
    assert (evidence.witness, evidence.witness_count, evidence.witness_p95_ns) == ("spans", 2, 10)
    assert evidence.detail == {"edges": 40, "witness": {"unseen": 1}}
    assert clock_evidence(clock).witness_p95_ns is None
