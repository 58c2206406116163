"""How long, and in how much memory, large traces of PyTorch's profiler become a run's tables.

    python -m benchmarks.kineto_scale [--megabytes 100 300 1000] [--hta PYTHON TRACE...]

Writes a synthetic trace, gzipped, with the mixture of events of a served model (operators with shapes, Python
functions, launches, kernels, flows), then imports it in a fresh process. With --hta, the interpreter of an
environment in which HolisticTraceAnalysis is installed makes its kernel breakdown of the given traces, and vlmprof
reads the same: time, memory, and the GPU's busy time of both.
"""

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TARGET_S, TARGET_BYTES = 60, 3e9
BASE_NS = 1_700_000_000_000_000_000

_STEP = """
  {{"ph": "X", "cat": "cpu_op", "name": "aten::linear", "pid": 41, "tid": 42, "ts": {a:.3f}, "dur": 40.125,
    "args": {{"External id": {n}, "Record function id": 0, "Concrete Inputs": ["", "", ""],
    "Input type": ["c10::BFloat16", "c10::BFloat16", ""], "Input Strides": [[896, 1], [896, 1], []],
    "Input Dims": [[2048, 896], [4864, 896], []], "Ev Idx": {n}}}}},
  {{"ph": "X", "cat": "python_function", "name": "nn.Module: Linear_{m}", "pid": 41, "tid": 42, "ts": {a:.3f},
    "dur": 41.5, "args": {{"Python parent id": {n}, "Python module id": {m}, "Python id": {n}, "Ev Idx": {n}}}}},
  {{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 41, "tid": 42, "ts": {b:.3f}, "dur": 5.25,
    "args": {{"External id": {n}, "cbid": 211, "correlation": {n}}}}},
  {{"ph": "s", "id": {n}, "pid": 41, "tid": 42, "ts": {b:.3f}, "cat": "ac2g", "name": "ac2g"}},
  {{"ph": "X", "cat": "kernel", "name": "void cutlass::device_kernel<gemm_{m}>(Params)", "pid": 0, "tid": 7,
    "ts": {c:.3f}, "dur": 30.5, "args": {{"External id": {n}, "queued": 0, "device": 0, "context": 1, "stream": 7,
    "correlation": {n}, "registers per thread": 168, "shared memory": 102400, "blocks per SM": 1.2,
    "warps per SM": 9.6, "grid": [8, 20, 1], "block": [128, 1, 1], "est. achieved occupancy %": 12}}}},
  {{"ph": "f", "id": {n}, "pid": 0, "tid": 7, "ts": {c:.3f}, "cat": "ac2g", "name": "ac2g", "bp": "e"}}"""


def write_trace(path: Path, size_bytes: float) -> int:
    """A gzipped trace of about this size uncompressed; how many kernels it has."""
    written = number = 0
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write(f'{{"schemaVersion": 1, "baseTimeNanoseconds": {BASE_NS}, "traceEvents": [')
        while written < size_bytes:
            steps = [_step(number + offset) for offset in range(1000)]
            text = ("," if number else "") + ",".join(steps)
            file.write(text)
            number, written = number + 1000, written + len(text)
        file.write('], "traceName": "synthetic.json"}')
    return number


def _step(number: int) -> str:
    start_us = 50.0 * number
    return _STEP.format(n=number, m=number % 200, a=start_us, b=start_us + 20, c=start_us + 30)


def measure(path: Path, out: Path) -> dict[str, Any]:
    """Import one trace; runs in a process of its own."""
    begin = time.perf_counter()
    from vlmprof.model.run_folder import RunFolder
    from vlmprof.model.table_io import write_table
    from vlmprof.read.kineto import read_kineto

    loaded = time.perf_counter()
    gpu = read_kineto(path).gpu
    read = time.perf_counter()
    folder = RunFolder.create(out)
    for name, table in (("gpu_kernels", gpu.kernels), ("gpu_copies", gpu.copies), ("cuda_api", gpu.calls)):
        write_table(folder, name, table)
    return {
        "kernels": gpu.kernels.num_rows,
        "kernel_ns": _kernel_ns(gpu.kernels),
        "kernel_whole_us_ns": _kernel_whole_us_ns(gpu.kernels),
        "load_s": loaded - begin,
        "read_s": read - loaded,
        "total_s": time.perf_counter() - begin,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _kernel_ns(kernels: Any) -> int:
    import pyarrow.compute as pc

    return int(pc.sum(pc.subtract(kernels["end_ns"], kernels["start_ns"])).as_py() or 0)


def _kernel_whole_us_ns(kernels: Any) -> int:
    """The same as HTA counts it: from the first whole microsecond of each kernel to its last."""
    start_ns, end_ns = kernels["start_ns"].to_numpy(), kernels["end_ns"].to_numpy()
    return int((end_ns // 1000 - -(-start_ns // 1000)).sum()) * 1000


_HTA = """
import json, os, resource, sys, tempfile, time
begin = time.perf_counter()
from hta.trace_analysis import TraceAnalysis
loaded = time.perf_counter()
analysis = TraceAnalysis(trace_files={0: sys.argv[1]}, trace_dir=os.path.dirname(sys.argv[1]))
_, kernels = analysis.get_gpu_kernel_breakdown(visualize=False, num_kernels=1000000, duration_ratio=1.0,
                                               include_memory_kernels=False)
end = time.perf_counter()
sizes = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({"load_s": loaded - begin, "read_s": end - loaded, "total_s": end - begin,
                  "peak_rss_bytes": max(sizes) * 1024, "kernel_ns": float(kernels["sum (us)"].sum()) * 1000}))
"""


def run_apart(command: list[str]) -> dict[str, Any]:
    """The last line of a program's output, as JSON; its failure as a reason."""
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure_apart(path: Path) -> dict[str, Any]:
    """Import one trace in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--measure", str(path), str(Path(folder, "run"))]
        return run_apart(command)


def measure_synthetic(megabytes: float) -> dict[str, Any]:
    """Write a trace and import it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "synthetic.pt.trace.json.gz")
        kernels = write_trace(path, megabytes * 1e6)
        result = measure_apart(path)
        compressed = path.stat().st_size
    assert result["kernels"] == kernels, result
    return {"megabytes": megabytes, "compressed_bytes": compressed, **result}


def measure_beside(python: Path, traces: list[Path]) -> list[dict[str, Any]]:
    """vlmprof and HTA on the same traces, one after the other."""
    return [
        {
            "trace": path.name,
            "vlmprof": measure_apart(path),
            "hta": run_apart([str(python), "-c", _HTA, str(path)]),
        }
        for path in traces
    ]


def markdown(runs: list[dict[str, Any]], beside: list[dict[str, Any]]) -> str:
    """A row per size, and one per trace that both read."""
    lines = [
        "# Traces of PyTorch's profiler into tables",
        "",
        f"Targets: {TARGET_S} s and {TARGET_BYTES / 1e9:.0f} GB for 1 GB uncompressed.",
        "",
        "| uncompressed | gzipped | kernels | read | total | peak memory |",
        f"|{'---|' * 6}",
    ]
    lines += [
        f"| {run['megabytes']:g} MB | {run['compressed_bytes'] / 1e6:.0f} MB | {run['kernels']:,} "
        f"| {run['read_s']:.1f} s | {run['total_s']:.1f} s | {run['peak_rss_bytes'] / 1e9:.2f} GB |"
        for run in runs
    ]
    if beside:
        lines += [
            "",
            "Beside Holistic Trace Analysis: seconds to the kernel breakdown without imports, and with them.",
            "HTA cuts each kernel to whole microseconds: the last column compares vlmprof's, cut likewise.",
            "",
            "| trace | vlmprof | HTA | memory of vlmprof | of HTA | difference | cut alike |",
            f"|{'---|' * 7}",
            *(_beside_row(row) for row in beside),
        ]
    return "\n".join(lines)


def _beside_row(row: dict[str, Any]) -> str:
    ours, theirs = row["vlmprof"], row["hta"]
    if failed := ours.get("error") or theirs.get("error"):
        return f"| {row['trace']} | {failed} | | | | | |"
    total_ns = max(1, ours["kernel_ns"])
    exact, cut = (
        abs(ours[name] - theirs["kernel_ns"]) / total_ns for name in ("kernel_ns", "kernel_whole_us_ns")
    )
    return (
        f"| {row['trace']} | {ours['read_s']:.2f} s ({ours['total_s']:.2f} s) "
        f"| {theirs['read_s']:.2f} s ({theirs['total_s']:.2f} s) | {ours['peak_rss_bytes'] / 1e6:.0f} MB "
        f"| {theirs['peak_rss_bytes'] / 1e6:.0f} MB | {100 * exact:.2f}% "
        f"| {100 * cut:.3f}% |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, nargs="*", default=[100, 300, 1000])
    parser.add_argument("--hta", nargs="+", type=Path, default=[], metavar="PYTHON TRACE")
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    from benchmarks.record import write_results

    measure_synthetic(1)  # compiles, once, what is then on disk
    runs = [measure_synthetic(megabytes) for megabytes in arguments.megabytes]
    beside = measure_beside(arguments.hta[0], arguments.hta[1:]) if arguments.hta else []
    targets = {"total_s": TARGET_S, "peak_rss_bytes": TARGET_BYTES}
    figures = {"target": targets, "runs": runs, "beside": beside}
    write_results("kineto_scale", figures, markdown(runs, beside))


if __name__ == "__main__":
    main()
