"""How long, and in how much memory, large GPU traces become a run: imported, merged, attributed, written.

    python benchmarks/import_scale.py [--millions 1 3 10] [--megabytes 100 300 1000]

Each is made by rule (`benchmarks/synthetic_traces.py`) and imported in a fresh process, as `vlmprof import` does:
every kernel is joined to its call, span and thread, idle time is divided, and all tables are written as Parquet.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.synthetic_traces import write_export, write_trace

NSYS_S, NSYS_BYTES = 90, 4e9
KINETO_S, KINETO_BYTES = 60, 3e9


def measure(path: Path, out: Path) -> dict[str, Any]:
    """Import one file; runs in a process of its own."""
    begin = time.perf_counter()
    from vlmprof.model.gpu_result import read_gpu_result
    from vlmprof.session.import_files import count_rows, import_files

    loaded = time.perf_counter()
    folder = import_files([path], out)
    end = time.perf_counter()
    rows, result = count_rows(folder), read_gpu_result(folder)
    return {
        "kernels": rows["gpu_kernels"],
        "calls": rows["cuda_api"],
        "spans": rows["spans"],
        "with_call": result.attributed.with_call,
        "with_span": result.attributed.with_span,
        "load_s": loaded - begin,
        "import_s": end - loaded,
        "total_s": end - begin,
        "processor_s": time.process_time(),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def measure_apart(write: Callable[[Path], object], name: str) -> dict[str, Any]:
    """Make one file and import it in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        write(path)
        command = [sys.executable, __file__, "--measure", str(path), str(Path(folder, "run"))]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        result: dict[str, Any] = json.loads(done.stdout)
    assert result["with_call"] == result["kernels"], result
    return result


def measure_nsys(millions: float) -> dict[str, Any]:
    """An export of this many million kernels, and as many calls."""
    count = round(millions * 1e6)
    result = measure_apart(lambda path: write_export(path, count), "export.sqlite")
    assert result["kernels"] == result["calls"] == count, result
    return {"millions": millions, **result}


def measure_kineto(megabytes: float) -> dict[str, Any]:
    """A gzipped trace of this many megabytes uncompressed."""
    result = measure_apart(lambda path: write_trace(path, megabytes * 1e6), "synthetic.pt.trace.json.gz")
    return {"megabytes": megabytes, **result}


def markdown(nsys: list[dict[str, Any]], kineto: list[dict[str, Any]]) -> str:
    """A row per size."""
    columns = ("total", "processor time", "peak memory", "kernels with their call", "in a span")
    return "\n".join(
        [
            "# Large GPU traces into a run: imported, merged, attributed, written",
            "",
            f"Exports of Nsight Systems; targets: {NSYS_S} s and {NSYS_BYTES / 1e9:.0f} GB for 10 million kernels "
            "and as many calls.",
            "",
            f"| {' | '.join(('kernels and calls', 'per million', *columns))} |",
            f"|{'---|' * 7}",
            *(
                f"| {run['millions']:g} M each | {run['total_s'] / run['millions']:.2f} s {_common(run)}"
                for run in nsys
            ),
            "",
            f"Traces of PyTorch's profiler, gzipped; targets: {KINETO_S} s and {KINETO_BYTES / 1e9:.0f} GB for "
            "1 GB uncompressed.",
            "",
            f"| {' | '.join(('uncompressed', 'kernels', *columns))} |",
            f"|{'---|' * 7}",
            *(f"| {run['megabytes']:g} MB | {run['kernels']:,} {_common(run)}" for run in kineto),
        ]
    )


def _common(run: dict[str, Any]) -> str:
    return (
        f"| {run['total_s']:.1f} s | {run['processor_s']:.1f} s | {run['peak_rss_bytes'] / 1e9:.2f} GB "
        f"| {run['with_call'] / run['kernels']:.0%} | {run['with_span'] / run['kernels']:.0%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--millions", type=float, nargs="*", default=[1, 3, 10])
    parser.add_argument("--megabytes", type=float, nargs="*", default=[100, 300, 1000])
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    from benchmarks.record import write_results

    # These compile, once, what is then on disk.
    measure_nsys(0.01)
    measure_kineto(1)
    nsys = [measure_nsys(millions) for millions in arguments.millions]
    kineto = [measure_kineto(megabytes) for megabytes in arguments.megabytes]
    targets = {
        "nsys": {"total_s": NSYS_S, "peak_rss_bytes": NSYS_BYTES},
        "kineto": {"total_s": KINETO_S, "peak_rss_bytes": KINETO_BYTES},
    }
    figures = {"target": targets, "nsys": nsys, "kineto": kineto}
    write_results("import_scale", figures, markdown(nsys, kineto))


if __name__ == "__main__":
    main()
