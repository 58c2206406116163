"""Large traces made by rule: exports of Nsight Systems, and traces of PyTorch's profiler.

An export has as many kernels as CUDA calls, with the columns that nsys 2025 gives them: 2 GPUs, 2 processes
whose correlation ids collide, 400 kernel names, an NVTX range for every hundredth launch, kernels in no order. A
trace has the mixture of events of a served model: operators with shapes, Python functions, launches, kernels and
flows.
"""

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

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
        n / 2 + 1, (4000 + n % 2) << 24, 10 + n % :names, 10 + n % :names, NULL, 1, 0, 128, 1024, 1, 1, 256, 1, 1,
        0, 49152, 0, 0, n, 102400, NULL, 0
    FROM launch;
"""
_CALL_ROWS = """
    INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME
    WITH RECURSIVE launch(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM launch WHERE n + 1 < :count)
    SELECT n * 5000, n * 5000 + 3000, 0, ((4000 + n % 2) << 24) | (4000 + n % 2), n / 2 + 1, 1, 0, NULL FROM launch;
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
    return _STEP.format(n=number + 1, m=number % 200, a=start_us, b=start_us + 20, c=start_us + 30)
