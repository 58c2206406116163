"""How well TTFT is attributed and the clocks are merged: real runs at concurrency 1 and 4, and with nsys.

python -m benchmarks.attribution CHECKPOINT [--requests 40] [--images DIR] [--nsys]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.record import write_results
from vlmprof.model.results import read_summary
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import RunInfo

ENGINE_ARGS = ["--", "--max-model-len", "8192", "--enforce-eager"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("checkpoint")
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--images", type=Path)
    parser.add_argument(
        "--nsys", action="store_true", help="A third run, under Nsight Systems without austin."
    )
    options = parser.parse_args()
    images = ["--images", str(options.images)] if options.images else []
    common = [options.checkpoint, "--requests", str(options.requests), *images]
    runs = {
        "concurrency 1": [*common, "--concurrency", "1"],
        "concurrency 4": [*common, "--concurrency", "4"],
    }
    if options.nsys:
        runs["nsys, concurrency 1"] = [*common, "--gpu-profiler", "nsys", "--cpu-profiler", "none"]
    figures = {name: measured(arguments) for name, arguments in runs.items()}
    write_results("attribution", {"runs": figures}, markdown(figures))


def measured(arguments: list[str]) -> dict[str, Any]:
    """One run through the command line, and its figures."""
    with tempfile.TemporaryDirectory() as parent:
        folder = RunFolder(Path(parent) / "run")
        command = [sys.executable, "-m", "vlmprof.cli.main", "run", *arguments, "--out", str(folder.path)]
        subprocess.run([*command, "--json", *ENGINE_ARGS], check=True, stdout=subprocess.DEVNULL)
        summary, info = read_summary(folder), folder.read_info()
        requests = json.loads((folder.results / "breakdown.json").read_bytes())["requests"]
    inexact = [
        request["id"]
        for request in requests
        if sum(request["stages"].values()) + request["unattributed_ns"] != request["ttft_ns"]
    ]
    return {
        "requests": len(requests),
        "inexact_sums": len(inexact),
        "ttft_p50_ms": summary.ttft.p50_ns / 1e6 if summary.ttft else None,
        "unattributed_median_share": summary.unattributed_median_share,
        "unattributed_worst_share": summary.unattributed_worst_share,
        "clocks": clocks(info),
    }


def clocks(info: RunInfo) -> list[dict[str, Any]]:
    """Each source's uncertainty and what its independent witness said."""
    pids = {str(agent.pid): agent.role for agent in info.agents}
    return [
        {
            "source": clock.source.replace(
                clock.source.partition(":")[2], pids.get(clock.source.partition(":")[2], "")
            )
            if ":" in clock.source
            else clock.source,
            "uncertainty_ms": clock.uncertainty_ns / 1e6,
            "witness_count": clock.witness_count,
            "witness_p95_ms": None if clock.witness_p95_ns is None else clock.witness_p95_ns / 1e6,
        }
        for clock in info.clocks
        if clock.source != "spans"
    ]


def markdown(figures: dict[str, Any]) -> str:
    lines = [
        "# Attribution and clocks",
        "",
        "| run | requests | inexact sums | unattributed, median request | worst request |",
        "|---|---|---|---|---|",
    ]
    for name, run in figures.items():
        shares = (
            f"{100 * run['unattributed_median_share']:.3f}% | {100 * run['unattributed_worst_share']:.3f}%"
        )
        lines.append(f"| {name} | {run['requests']} | {run['inexact_sums']} | {shares} |")
    lines += [
        "",
        "Clocks against the agents' spans, by a check that took no part in aligning them:",
        "",
        "| run | source | uncertainty, ms | witness p95, ms | edges checked |",
        "|---|---|---|---|---|",
    ]
    for name, run in figures.items():
        for clock in run["clocks"]:
            p95 = "none" if clock["witness_p95_ms"] is None else f"{clock['witness_p95_ms']:.3f}"
            lines.append(
                f"| {name} | {clock['source']} | {clock['uncertainty_ms']:.3f} | {p95} | {clock['witness_count']} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
