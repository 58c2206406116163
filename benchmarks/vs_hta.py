"""vlmprof beside Holistic Trace Analysis: from a trace of PyTorch's profiler to its kernel breakdown.

    python benchmarks/vs_hta.py [TRACE...] [--synthetic-megabytes 200] [--repeat 5]

Without traces, those of ../shared/data/kineto. HTA gets an environment of its own in .cache/hta, made with this
interpreter. Both read the same file, in turn, each time in a fresh process; medians are shown, imports included.

HTA cuts each event to whole microseconds and takes for a kernel whatever has a `stream` among its arguments, be it
the operator on the CPU that launched it: its total is compared with vlmprof's as it is, with vlmprof's cut
likewise, and once more without HTA's rows that are no kernels.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.synthetic_traces import write_trace

ROOT = Path(__file__).parents[1]
HTA_ENVIRONMENT = ROOT / ".cache" / "hta"
HTA = "HolisticTraceAnalysis==0.5.0"
FASTER, LESS_MEMORY, AGREEMENT = 3.0, 2.0, 0.001


def measure(path: Path) -> dict[str, Any]:
    """vlmprof's kernel breakdown; runs in a process of its own."""
    begin = time.perf_counter()
    from vlmprof.analysis.kernels import breakdown_of_columns
    from vlmprof.read.kineto_kernels import read_kernels

    loaded = time.perf_counter()
    kernels = read_kernels(path)
    found = breakdown_of_columns(kernels)
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    first_us, last_us = -(-kernels.start_ns // 1000), kernels.end_ns // 1000
    return {
        "load_s": loaded - begin,
        "total_s": end - begin,
        "peak_rss_bytes": peak,
        "kernels": len(kernels),
        "kernel_ns": found.total_ns,
        "kernel_whole_us_ns": int((last_us - first_us).sum()) * 1000,
        "busy_ns": _busy_ns(path),
    }


def _busy_ns(path: Path) -> int:
    """Time in which a kernel or a copy ran, from whole microsecond to whole microsecond as HTA has it."""
    from vlmprof.analysis.gpu_tables import GpuTables
    from vlmprof.analysis.intervals import union
    from vlmprof.read.kineto import read_kineto

    gpu = read_kineto(path).gpu
    work = GpuTables(gpu.kernels, gpu.copies, gpu.calls, gpu.syncs).work("start_ns", "end_ns")
    start_us, end_us = -(-work["start_ns"].to_numpy() // 1000), work["end_ns"].to_numpy() // 1000
    return union(start_us, end_us).length_ns * 1000


_HTA = """
import json, os, resource, sys, time
begin = time.perf_counter()
from hta.trace_analysis import TraceAnalysis
loaded = time.perf_counter()
analysis = TraceAnalysis(trace_files={0: sys.argv[1]}, trace_dir=os.path.dirname(sys.argv[1]))
_, kernels = analysis.get_gpu_kernel_breakdown(visualize=False, num_kernels=1000000, duration_ratio=1.0,
                                               include_memory_kernels=False)
end = time.perf_counter()
peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024
rows, texts = analysis.t.get_trace(0), analysis.t.symbol_table.get_sym_table()
on_cpu = rows["stream"].ne(-1) & rows["cat"].map(lambda code: texts[code] == "cpu_op")
analysis.t.traces[0] = rows[~on_cpu]
try:
    times = analysis.get_temporal_breakdown(visualize=False).iloc[0]
    busy_ns = round(float(times["kernel_time(us)"] - times["idle_time(us)"]) * 1000)
except AssertionError:  # HTA's own `non_compute_time >= 0`, which a real trace breaks
    busy_ns = None
print(json.dumps({"load_s": loaded - begin, "total_s": end - begin, "peak_rss_bytes": peak,
                  "kernel_ns": round(float(kernels["sum (us)"].sum()) * 1000),
                  "cpu_rows": int(on_cpu.sum()), "cpu_rows_ns": int(rows.loc[on_cpu, "dur"].sum()) * 1000,
                  "busy_ns": busy_ns}))
"""


def hta_python() -> Path:
    """The interpreter of HTA's environment, which is made where it is not there."""
    python = HTA_ENVIRONMENT / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    if not python.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, HTA_ENVIRONMENT], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, HTA], check=True)
    return python


def run_apart(command: list[str], repeat: int) -> dict[str, Any]:
    """The last line of a program's output, as JSON, with the medians of its times and memory."""
    found = []
    for _ in range(repeat):
        done = subprocess.run(command, capture_output=True, check=False, text=True)
        if done.returncode:
            return {"error": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed"}
        found.append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        name: statistics.median(each[name] for each in found)
        for name in ("load_s", "total_s", "peak_rss_bytes")
    }
    return {**found[0], **medians}


def measure_beside(python: Path, trace: Path, repeat: int) -> dict[str, Any]:
    """Both on one trace; the first run of each is not counted."""
    ours = [sys.executable, __file__, "--measure", str(trace)]
    theirs = [str(python), "-c", _HTA, str(trace)]
    for command in (ours, theirs):
        run_apart(command, 1)
    return {"trace": trace.name, "vlmprof": run_apart(ours, repeat), "hta": run_apart(theirs, repeat)}


def markdown(rows: list[dict[str, Any]]) -> str:
    """A row per trace for time and memory, and one for the totals."""
    return "\n".join(
        [
            f"# From a trace to its kernel breakdown, beside {HTA.replace('==', ' ')}",
            "",
            f"Targets: {FASTER:g} times faster, 1/{LESS_MEMORY:g} of the memory, totals within {AGREEMENT:.1%}. "
            "Medians of fresh processes, imports included; in parentheses without them.",
            "",
            "| trace | vlmprof | HTA | faster | memory of vlmprof | of HTA | less |",
            f"|{'---|' * 7}",
            *(_cost(row) for row in rows),
            "",
            "The totals of all kernels, and the time in which the GPU was busy. HTA cuts each event to whole "
            "microseconds, which shortens short kernels most: `as it is` is the difference that makes. HTA also "
            "takes operators on the CPU for kernels where these name a stream, as Triton's launches do: how many, "
            "and what differs without them.",
            "",
            "| trace | kernels | as it is | cut alike | CPU operators | without them | busy, without them |",
            f"|{'---|' * 7}",
            *(_totals(row) for row in rows),
        ]
    )


def _failed(row: dict[str, Any]) -> str:
    return str(row["vlmprof"].get("error") or row["hta"].get("error") or "")


def _cost(row: dict[str, Any]) -> str:
    ours, theirs = row["vlmprof"], row["hta"]
    if failed := _failed(row):
        return f"| {row['trace']} | {failed} | | | | | |"
    return (
        f"| {row['trace']} | {_seconds(ours)} | {_seconds(theirs)} "
        f"| {theirs['total_s'] / ours['total_s']:.1f}x | {ours['peak_rss_bytes'] / 1e6:.0f} MB "
        f"| {theirs['peak_rss_bytes'] / 1e6:.0f} MB | {theirs['peak_rss_bytes'] / ours['peak_rss_bytes']:.1f}x |"
    )


def _seconds(found: dict[str, Any]) -> str:
    return f"{found['total_s']:.2f} s ({found['total_s'] - found['load_s']:.2f} s)"


def _totals(row: dict[str, Any]) -> str:
    ours, theirs = row["vlmprof"], row["hta"]
    if _failed(row):
        return f"| {row['trace']} | | | | | | |"
    cut_ns = ours["kernel_whole_us_ns"]
    differences = [
        _difference(theirs["kernel_ns"], ours["kernel_ns"]),
        _difference(theirs["kernel_ns"], cut_ns),
        f"{theirs['cpu_rows']}",
        _difference(theirs["kernel_ns"] - theirs["cpu_rows_ns"], cut_ns),
        "HTA fails" if theirs["busy_ns"] is None else _difference(theirs["busy_ns"], ours["busy_ns"]),
    ]
    return f"| {row['trace']} | {ours['kernels']:,} | {' | '.join(differences)} |"


def _difference(theirs_ns: int, ours_ns: int) -> str:
    return f"{abs(theirs_ns - ours_ns) / max(1, ours_ns):.3%}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("traces", type=Path, nargs="*", metavar="TRACE")
    parser.add_argument("--synthetic-megabytes", type=float, default=200)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    from benchmarks.record import write_results

    python = hta_python()
    traces = arguments.traces or sorted(ROOT.parent.glob("shared/data/kineto/*.json.gz"))
    rows = [measure_beside(python, trace, arguments.repeat) for trace in traces]
    if arguments.synthetic_megabytes:
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder, f"synthetic_{arguments.synthetic_megabytes:g}mb.json.gz")
            write_trace(trace, arguments.synthetic_megabytes * 1e6)
            rows.append(measure_beside(python, trace, 1))
    targets = {"times_faster": FASTER, "times_less_memory": LESS_MEMORY, "agreement": AGREEMENT}
    write_results("vs_hta", {"hta": HTA, "target": targets, "rows": rows}, markdown(rows))


if __name__ == "__main__":
    main()
