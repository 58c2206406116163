"""The slowest requests of a run, and the stages that made them slower than the median one.

    python examples/slowest_requests.py runs/demo [--count 3]

Needs nothing but the run folder: `results/breakdown.json` is plain JSON with a schema version.
"""

import argparse
import statistics
from pathlib import Path

from vlmprof.model.results import RequestBreakdown, read_breakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.stages import STAGE_BY_ID
from vlmprof.units import format_ns


def excess_by_stage(request: RequestBreakdown, typical_ns: dict[str, float]) -> list[tuple[str, float]]:
    """Stages of one request by how much longer than typical they took, longest first; ns."""
    excess = [(stage, time_ns - typical_ns.get(stage, 0.0)) for stage, time_ns in request.stages.items()]
    return sorted(excess, key=lambda pair: -pair[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=3)
    options = parser.parse_args()
    requests = read_breakdown(RunFolder.open(options.run)).requests
    typical_ns = {
        stage: statistics.median(request.stages.get(stage, 0) for request in requests)
        for stage in STAGE_BY_ID
    }
    for request in sorted(requests, key=lambda request: -request.ttft_ns)[: options.count]:
        print(f"{request.id}  TTFT {format_ns(request.ttft_ns)}  ({request.phase})")
        for stage, excess_ns in excess_by_stage(request, typical_ns)[:3]:
            print(f"    {STAGE_BY_ID[stage].label}: {format_ns(excess_ns)} more than the median request")


if __name__ == "__main__":
    main()
