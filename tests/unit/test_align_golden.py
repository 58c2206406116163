"""A real run from files to samples on the session clock, judged by spans that had no part in it."""

from pathlib import Path

from vlmprof.analysis.align import clock_evidence
from vlmprof.analysis.align_austin import align_austin
from vlmprof.analysis.witness import austin_witness
from vlmprof.read.mojo import read_arrivals, read_mojo
from vlmprof.read.mojo_tables import mojo_quality, mojo_tables
from vlmprof.read.spans import read_spans
from vlmprof.units import NS_PER_MS

RUN = Path(__file__).parent.parent / "golden" / "mojo" / "aligned"


def test_a_real_run_is_aligned_within_a_millisecond_of_its_spans() -> None:
    """37 beacons in 2.6 s at 5 ms; 45 spans of w.encode of 20 to 40 ms in another thread make 90 edges.

    Had the clock been 1 ms later, the same edges would have shown it.
    """
    capture, spans = read_mojo(RUN / "austin.mojo"), read_spans(RUN)
    (pid,) = capture.pids
    clock = align_austin(
        pid, capture.rows_of(pid), read_arrivals(RUN / "austin.arrivals.bin"), spans.beacons[pid]
    )
    samples, stacks, frames = mojo_tables(capture, {pid: clock})
    witness = austin_witness(
        samples,
        stacks,
        frames,
        spans.table,
        functions={"w.encode": ["encode"]},
        interval_ns=capture.interval_ns,
    )
    evidence = clock_evidence(clock, witness)
    assert evidence.method == "beacons and arrivals"
    assert evidence.uncertainty_ns < NS_PER_MS
    assert evidence.witness_count == 90
    assert evidence.witness_p95_ns is not None
    assert evidence.witness_p95_ns < NS_PER_MS
    assert witness.detail["p95_if_1_ms_later_ns"] > NS_PER_MS // 2
    assert mojo_quality(capture, {pid: clock}).dropped == 0
