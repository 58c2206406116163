"""A large run folder made by hand: what the report is measured on.

Requests one after the other; of each, spans of three levels on four threads, kernels on two streams with their
launches, and stack samples of eight threads, half of which wait most of the time. Times have the jitter that real
clocks and real work have, so that nothing packs better than a capture would.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tests.unit.synthetic_run import synthetic_info
from vlmprof.analysis.summary import summarise
from vlmprof.model.request import Phase
from vlmprof.model.results import BreakdownResult, RequestBreakdown, SegmentResult
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.stages import STAGES
from vlmprof.model.table_io import read_table, write_table
from vlmprof.model.tables import SCHEMAS
from vlmprof.units import NS_PER_MS

Ints = npt.NDArray[np.int64]
INTERVAL_NS = 2 * NS_PER_MS
REQUEST_NS = 250 * NS_PER_MS
PIDS = (4101, 4188, 4243)
THREADS = (*((p, p) for p in PIDS), (4101, 4160), *((4243, 4250 + i) for i in range(4)))
WORKER = (4243, 4243)
KERNEL_NAMES, STACKS, FRAMES = 400, 4_000, 1_500
_SPAN_NAMES = (
    "worker.rpc",
    "worker.execute_model",
    "worker.prepare_inputs",
    "worker.forward",
    "core.schedule",
)
_PACKAGES = ("vllm/model_executor", "torch/nn", "transformers/models", "vllm/v1/worker", "PIL")


def write_large_run(path: Path, millions: float) -> RunFolder:
    """Write a run of so many million samples, spans, kernels and launches each."""
    count = round(millions * 1e6)
    dice = np.random.default_rng(7)
    folder = RunFolder.create(path)
    duration_ns = count // len(THREADS) * INTERVAL_NS
    for name, table in (
        ("samples", _samples(count, dice)),
        ("stacks", _stacks(dice)),
        ("frames", _frames()),
        ("spans", _spans(count, duration_ns, dice)),
        ("processes", _processes()),
        *_gpu(count, duration_ns, dice),
    ):
        write_table(folder, name, table)
    breakdown = _breakdown(duration_ns)
    write_table(folder, "requests", _requests(breakdown))
    info = msgspec.structs.replace(synthetic_info(), name="large")
    folder.write_info(info)
    folder.write_result("breakdown", breakdown)
    wanted = ("requests", "processes", "samples", "stacks", "frames")
    tables = {name: read_table(folder, name) for name in wanted}
    folder.write_result("summary", summarise(info, breakdown, **tables))
    return folder


def _table(name: str, /, **columns: Any) -> Any:
    schema = SCHEMAS[name]
    size = len(next(iter(columns.values())))
    arrays = [
        pa.array(columns[field.name], from_pandas=True)
        if field.name in columns
        else pa.nulls(size, field.type)
        for field in schema
    ]
    return pa.table(dict(zip(schema.names, arrays, strict=True))).cast(schema)


def _samples(count: int, dice: np.random.Generator) -> Any:
    """Of each thread every 2 ms, give or take 60 us; a busy one changes its stack every other time."""
    each = count // len(THREADS)
    parts = []
    for number, (pid, tid) in enumerate(THREADS):
        ends_ns = np.arange(1, each + 1) * INTERVAL_NS + dice.normal(0, 60_000, each).astype(np.int64)
        starts_ns = np.concatenate([[0], ends_ns[:-1]])
        changes = dice.random(each) < (0.55 if number < 4 else 0.02)
        drawn = np.minimum(dice.exponential(STACKS / 8, each).astype(np.int64), STACKS - 1)
        stack = drawn[np.maximum.accumulate(np.where(changes, np.arange(each), 0))]
        parts.append((np.full(each, pid), np.full(each, tid), stack, starts_ns, ends_ns - starts_ns))
    pid_of, tid_of, stack_id, start_ns, duration_ns = (np.concatenate(c) for c in zip(*parts, strict=True))
    return _table(
        "samples", pid=pid_of, tid=tid_of, stack_id=stack_id, start_ns=start_ns, duration_ns=duration_ns
    ).sort_by("start_ns")


def _stacks(dice: np.random.Generator) -> Any:
    """Each stack shares a random part of the one before it, 8 to 40 frames deep."""
    stacks = [list(range(8))]
    while len(stacks) < STACKS:
        shared = stacks[int(dice.integers(max(0, len(stacks) - 40), len(stacks)))]
        kept = shared[: int(dice.integers(4, len(shared) + 1))]
        new = dice.integers(8, FRAMES, int(dice.integers(1, 6))).tolist()
        stacks.append((kept + new)[:40])
    return _table("stacks", stack_id=np.arange(STACKS), frame_ids=stacks)


def _frames() -> Any:
    numbers = range(FRAMES)
    return _table(
        "frames",
        frame_id=list(numbers),
        function=[f"Module{n % 97}.function_{n}" for n in numbers],
        file=[f"/env/lib/python3.11/site-packages/{_PACKAGES[n % 5]}/file_{n % 211}.py" for n in numbers],
        line=[10 + n % 900 for n in numbers],
    )


def _spans(count: int, duration_ns: int, dice: np.random.Generator) -> Any:
    """Of ten spans seven are innermost, two lie around groups of these, one around it all."""
    parts = []
    for number, (pid, tid) in enumerate(THREADS[:4]):
        groups = count // 40
        inner = np.maximum(2_000, dice.lognormal(np.log(duration_ns / groups / 20), 0.8, groups * 7))
        gap = dice.exponential(duration_ns / groups / 30, groups * 7)
        start = np.cumsum(inner + gap) - inner
        start *= duration_ns / (start[-1] + inner[-1])
        begin, end = start.astype(np.int64), (start + inner).astype(np.int64)
        first, last = begin.reshape(-1, 7), np.minimum(end, np.append(begin[1:], end[-1])).reshape(-1, 7)
        levels = (
            (first[:, :1], last[:, 6:], 0),
            (first[:, (0, 3)], last[:, (2, 6)], 1),
            (first, last, 2),
        )
        for starts_ns, ends_ns, depth in levels:
            name = (np.arange(starts_ns.size) * (depth + 1) + number) % len(_SPAN_NAMES)
            whole = np.full(starts_ns.size, 1)
            parts.append((whole * pid, whole * tid, name, starts_ns.ravel(), ends_ns.ravel(), whole * depth))
    pid_of, tid_of, name, start_ns, end_ns, depth_of = (np.concatenate(c) for c in zip(*parts, strict=True))
    return _table(
        "spans",
        pid=pid_of,
        tid=tid_of,
        name=pa.DictionaryArray.from_arrays(pa.array(name, pa.int32()), pa.array(_SPAN_NAMES)),
        request_ids=[[f"req-{n:05d}"] for n in (start_ns // REQUEST_NS).tolist()],
        start_ns=start_ns,
        end_ns=end_ns,
        depth=depth_of,
    ).sort_by("start_ns")


def _gpu(count: int, duration_ns: int, dice: np.random.Generator) -> list[tuple[str, Any]]:
    """Kernels in layers of 10 names each, launched in bursts of 300 that queue up and drain."""
    base_ns = dice.lognormal(np.log(6_000), 0.9, KERNEL_NAMES)
    name = np.arange(count) % 10 + 10 * (np.arange(count) // 300 % (KERNEL_NAMES // 10))
    length = np.maximum(900, base_ns[name] * dice.normal(1, 0.06, count)).astype(np.int64)
    lasts = dice.lognormal(np.log(3_600), 0.25, count).astype(np.int64)
    between = lasts + dice.exponential(1_200, count).astype(np.int64)
    pause_ns = max(0, duration_ns - int(between.sum())) * 300 // count
    call = np.cumsum(np.where(np.arange(count) % 300 == 0, pause_ns, 0) + between) - between
    # Kernels run in order, each after its launch has arrived and the one before has ended.
    done = np.cumsum(length + dice.exponential(700, count).astype(np.int64))
    end = done + np.maximum.accumulate(call + 8_000 + length - done)
    start = end - length
    stream = np.where(np.arange(count) // 300 % 8 == 7, 23, 7)
    names = [
        f"void cutlass::Kernel2<cutlass_80_tensorop_bf16_{n}x128_32x5_nn_align8>(Params)" for n in range(400)
    ]
    one = np.full(count, 1)
    kernels = _table(
        "gpu_kernels",
        pid=one * WORKER[0],
        device=one * 0,
        stream=stream,
        start_ns=start,
        end_ns=start + length,
        name=pa.DictionaryArray.from_arrays(pa.array(name, pa.int32()), pa.array(names)),
        correlation_id=np.arange(1, count + 1),
    )
    calls = _table(
        "cuda_api",
        pid=one * WORKER[0],
        tid=one * WORKER[1],
        name=pa.DictionaryArray.from_arrays(pa.array(one * 0, pa.int32()), pa.array(["cudaLaunchKernel"])),
        start_ns=call,
        end_ns=call + lasts,
        correlation_id=np.arange(1, count + 1),
    )
    return [("gpu_kernels", kernels), ("cuda_api", calls)]


def _processes() -> Any:
    roles = ("api_server", "engine_core", "worker")
    threads = [[{"tid": tid, "name": f"thread-{tid}"} for p, tid in THREADS if p == pid] for pid in PIDS]
    return _table(
        "processes",
        pid=list(PIDS),
        parent_pid=[4000, *PIDS[:2]],
        role=roles,
        rank=pa.array([None, None, 0], pa.int32()),
        name=roles,
        threads=threads,
    )


def _breakdown(duration_ns: int) -> BreakdownResult:
    """Requests end to end, every stage of each with an equal part of it, on the worker's thread."""
    requests = []
    share_ns = REQUEST_NS // 2 // len(STAGES)
    for number in range(duration_ns // REQUEST_NS):
        sent_ns = number * REQUEST_NS
        segments = [
            SegmentResult(
                stage=stage.id,
                start_ns=sent_ns + i * share_ns,
                end_ns=sent_ns + (i + 1) * share_ns,
                pid=WORKER[0],
                tid=WORKER[1],
                cause=stage.id,
            )
            for i, stage in enumerate(STAGES)
        ]
        requests.append(
            RequestBreakdown(
                id=f"req-{number:05d}",
                phase=Phase.PROFILED if number % 2 else Phase.CONTROL,
                block=number % 2,
                sent_ns=sent_ns,
                ttft_ns=share_ns * len(STAGES),
                stages={stage.id: share_ns for stage in STAGES[:-1]},
                unattributed_ns=share_ns,
                segments=segments,
            )
        )
    return BreakdownResult(requests=requests)


def _requests(breakdown: BreakdownResult) -> Any:
    requests = breakdown.requests
    sent_ns = np.array([request.sent_ns for request in requests], dtype=np.int64)
    one = np.full(len(requests), 1)
    return _table(
        "requests",
        id=[request.id for request in requests],
        phase=[str(request.phase) for request in requests],
        block=[request.block for request in requests],
        sent_ns=sent_ns,
        first_token_ns=sent_ns + requests[0].ttft_ns,
        done_ns=sent_ns + REQUEST_NS - NS_PER_MS,
        prompt_tokens=one * 1142,
        image_tokens=one * 1088,
        output_tokens=one * 16,
        http_status=one * 200,
        error=[""] * len(requests),
    )
