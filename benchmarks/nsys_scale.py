"""How long, and in how much memory, large exports of Nsight Systems become a run's tables.

    python -m benchmarks.nsys_scale [--millions 1 3 10]

Writes a synthetic export of as many kernels as CUDA calls, with the columns that nsys 2025 gives them (2 GPUs, 2
processes whose correlation ids collide, 400 kernel names, an NVTX range for every hundredth launch, kernels in no
order), then imports each in a fresh process: kernels, copies, calls and ranges read, and the tables
written as Parquet.
"""

import argparse
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

TARGET_S, TARGET_BYTES = 90, 4e9
KERNEL_NAMES = 400

_KERNEL_COLUMNS = """start, end, deviceId, contextId, greenContextId, streamId, correlationId, globalPid,
    demangledName, shortName, mangledName, launchType, cacheConfig, registersPerThread, gridX, gridY, gridZ,
    blockX, blockY, blockZ, staticSharedMemory, dynamicSharedMemory, localMemoryPerThread, localMemoryTotal,
    gridId, sharedMemoryExecuted, graphNodeId, sharedMemoryLimitConfig"""
_CALL_COLUMNS = "start, end, eventClass, globalTid, correlationId, nameId, returnValue, callchainId"

_SCHEMA = f"""
    PRAGMA synchronous = OFF;
    PRAGMA journal_mode = OFF;
    CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE META_DATA_EXPORT (name TEXT, value TEXT);
    INSERT INTO META_DATA_EXPORT VALUES ('EXPORT_PRODUCT_VERSION', 'synthetic');
    CREATE TABLE TARGET_INFO_SESSION_START_TIME (utcEpochNs INTEGER);
    INSERT INTO TARGET_INFO_SESSION_START_TIME VALUES (1700000000000000000);
    CREATE TABLE ANALYSIS_DETAILS (globalVid INTEGER, duration INTEGER);
    CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL ({" INTEGER, ".join(_KERNEL_COLUMNS.split(","))} INTEGER);
    CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME ({" INTEGER, ".join(_CALL_COLUMNS.split(","))} INTEGER);
    CREATE TABLE NVTX_EVENTS (start INTEGER, end INTEGER, eventType INTEGER, text TEXT, globalTid INTEGER,
        textId INTEGER, domainId INTEGER);
"""
# Launch n is of process n % 2, at 5 us intervals; its kernel starts 8 to 40 us later, so that rows are unordered.
_ROWS = """
    INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL
    WITH RECURSIVE launch(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM launch WHERE n + 1 < :count)
    SELECT n * 5000 + 8000 + n * 7919 % 32000, n * 5000 + 10000 + n * 7919 % 32000, n % 2, 1, NULL, 7 + n % 4,
        n / 2, (4000 + n % 2) << 24, 10 + n % :names, 10 + n % :names, NULL, 1, 0, 128, 1024, 1, 1, 256, 1, 1,
        0, 49152, 0, 0, n, 102400, NULL, 0
    FROM launch;
"""
_CALL_ROWS = """
    INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME
    WITH RECURSIVE launch(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM launch WHERE n + 1 < :count)
    SELECT n * 5000, n * 5000 + 3000, 0, ((4000 + n % 2) << 24) | (4000 + n % 2), n / 2, 1, 0, NULL FROM launch;
"""
_RANGE_ROWS = """
    INSERT INTO NVTX_EVENTS
    WITH RECURSIVE step(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM step WHERE n + 1 < :count / 100)
    SELECT n * 500000, n * 500000 + 400000, 59, NULL, ((4000 + n % 2) << 24) | (4000 + n % 2), 2, 0 FROM step;
"""


def write_export(path: Path, count: int) -> None:
    """An export of `count` kernels and `count` calls."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(_SCHEMA)
        names = [(1, "cudaLaunchKernel_v7000"), (2, "worker.forward")]
        names += [(10 + n, f"void cutlass::device_kernel<{n}>(Params)") for n in range(KERNEL_NAMES)]
        database.executemany("INSERT INTO StringIds VALUES (?, ?)", names)
        values = {"count": count, "names": KERNEL_NAMES}
        for statement in (_ROWS, _CALL_ROWS, _RANGE_ROWS):
            database.execute(statement, values)
        database.commit()


def measure(path: Path, out: Path) -> dict[str, Any]:
    """Import one export; runs in a process of its own."""
    begin = time.perf_counter()
    from vlmprof.model.run_folder import RunFolder
    from vlmprof.model.table_io import write_table
    from vlmprof.read.nsys_sqlite import read_gpu, read_nvtx

    loaded = time.perf_counter()
    gpu, ranges = read_gpu(path), read_nvtx(path)
    read = time.perf_counter()
    folder = RunFolder.create(out)
    for name, table in (("gpu_kernels", gpu.kernels), ("gpu_copies", gpu.copies), ("cuda_api", gpu.calls)):
        write_table(folder, name, table)
    written = time.perf_counter()
    return {
        "kernels": gpu.kernels.num_rows,
        "calls": gpu.calls.num_rows,
        "ranges": len(ranges),
        "load_s": loaded - begin,
        "read_s": read - loaded,
        "parquet_s": written - read,
        "total_s": written - begin,
        "processor_s": time.process_time(),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def measure_apart(millions: float) -> dict[str, Any]:
    """Write one export and import it in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "export.sqlite")
        write_export(path, round(millions * 1e6))
        command = [sys.executable, __file__, "--measure", str(path), str(Path(folder, "run"))]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        result: dict[str, Any] = json.loads(done.stdout)
        return {"file_bytes": path.stat().st_size, **result}


def markdown(runs: list[dict[str, Any]]) -> str:
    """One row per size."""
    lines = [
        "# Exports of Nsight Systems into tables",
        "",
        f"Targets: {TARGET_S} s and {TARGET_BYTES / 1e9:.0f} GB for 10 million kernels and as many calls.",
        "",
        "| kernels and calls | file | read | Parquet | total | per million | processor time | peak memory |",
        f"|{'---|' * 8}",
    ]
    for run in runs:
        millions = run["kernels"] / 1e6
        lines.append(
            f"| {millions:g} M each | {run['file_bytes'] / 1e9:.2f} GB | {run['read_s']:.1f} s "
            f"| {run['parquet_s']:.1f} s | {run['total_s']:.1f} s | {run['total_s'] / millions:.2f} s "
            f"| {run['processor_s']:.1f} s | {run['peak_rss_bytes'] / 1e9:.2f} GB |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 3, 10])
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    from benchmarks.record import write_results

    measure_apart(0.01)  # compiles, once, what is then on disk
    runs = [measure_apart(millions) for millions in arguments.millions]
    targets = {"total_s": TARGET_S, "peak_rss_bytes": TARGET_BYTES}
    write_results("nsys_scale", {"target": targets, "runs": runs}, markdown(runs))


if __name__ == "__main__":
    main()
