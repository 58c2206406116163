"""A run folder made by hand: one server of three processes, interleaved blocks, samples every 2 ms."""

import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from tests.unit.synthetic_stacks import API, BASES, CORE, IDLE, POOL, STEPS, WIRE, WORKER, Frame, Step
from vlmprof.analysis.summary import summarise
from vlmprof.model.breakdown import Segment, TtftBreakdown
from vlmprof.model.request import Phase
from vlmprof.model.results import BreakdownResult, request_breakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import (
    AgentInfo,
    CachePolicy,
    ClockEvidence,
    CollectorInfo,
    EngineInfo,
    HostInfo,
    ModelInfo,
    RatioInterval,
    RunInfo,
    SourceQuality,
    StepInfo,
    WorkloadInfo,
)
from vlmprof.model.stages import UNATTRIBUTED
from vlmprof.model.table_io import read_table, write_table
from vlmprof.model.tables import SCHEMAS

MS = 1_000_000
START_NS = 5_000_000_000_000
INTERVAL_NS = 2 * MS
PIDS = {API: 4101, POOL: 4101, CORE: 4188, WORKER: 4243, WIRE: 0}
TIDS = {API: 4101, POOL: 4160, CORE: 4188, WORKER: 4243, WIRE: 0}
TABLES = ("requests", "processes", "samples", "stacks", "frames")


@dataclass
class _Stacks:
    """Interns frames and stacks as the readers do."""

    hostile: str = ""
    frames: dict[Frame, int] = field(default_factory=dict)
    stacks: dict[tuple[int, ...], int] = field(default_factory=dict)

    def id(self, frames: list[Frame]) -> int:
        if self.hostile:
            frames = [*frames, (self.hostile, self.hostile, 7)]
        ids = tuple(self.frames.setdefault(frame, len(self.frames)) for frame in frames)
        return self.stacks.setdefault(ids, len(self.stacks))


def write_synthetic_run(
    path: Path, *, requests: int = 12, block: int = 3, hostile: str = "", cores: int = 2
) -> RunFolder:
    """Write a complete run; blocks of control and profiled requests alternate, samples cover the latter.

    Args:
        hostile: a string that takes the place of, or is added to, every name that a capture controls.
    """
    folder = RunFolder.create(path)
    dice = random.Random(7)
    breakdowns = list(_breakdowns(requests, dice, hostile))
    phases = [Phase.PROFILED if number // block % 2 else Phase.CONTROL for number in range(requests)]
    result = BreakdownResult(
        requests=[
            request_breakdown(breakdown, phase, number // block)
            for number, (breakdown, phase) in enumerate(zip(breakdowns, phases, strict=True))
        ]
    )
    stacks = _Stacks(hostile)
    sampled = [b for b, phase in zip(breakdowns, phases, strict=True) if phase is Phase.PROFILED]
    rows = {
        "requests": _request_rows(breakdowns, phases, block, hostile),
        "processes": _process_rows(hostile),
        "samples": [row for breakdown in sampled for row in _sample_rows(breakdown, stacks, dice)],
    }
    rows["stacks"] = [{"stack_id": i, "frame_ids": list(ids)} for ids, i in stacks.stacks.items()]
    rows["frames"] = [
        {"frame_id": i, "function": name, "file": file, "line": line}
        for (name, file, line), i in stacks.frames.items()
    ]
    for name in TABLES:
        write_table(folder, name, pa.Table.from_pylist(rows[name], schema=SCHEMAS[name]))
    info = synthetic_info(hostile=hostile, requests=requests, cores=cores)
    folder.write_info(info)
    folder.write_result("breakdown", result)
    tables = {name: read_table(folder, name) for name in TABLES}
    folder.write_result("summary", summarise(info, result, **tables))
    return folder


def write_empty_run(path: Path) -> RunFolder:
    """Write a run in which the engine died before the first request."""
    folder = RunFolder.create(path)
    info = msgspec.structs.replace(
        synthetic_info(), status="failed", error="the engine died", overhead=None, clocks=[], quality=[]
    )
    folder.write_info(info)
    folder.write_result("breakdown", BreakdownResult(requests=[]))
    tables = {name: read_table(folder, name) for name in TABLES}
    folder.write_result("summary", summarise(info, BreakdownResult(requests=[]), **tables))
    return folder


def _breakdowns(count: int, dice: random.Random, hostile: str) -> Iterator[TtftBreakdown]:
    at_ns = START_NS
    for number in range(count):
        slow = 1.35 if number == count - 2 else 1.0
        sent_ns, segments = at_ns, []
        for step in STEPS:
            length_ns = int(step.mean_ms * slow * dice.uniform(0.9, 1.12) * MS)
            segments.append(_segment(step, at_ns, length_ns, hostile))
            at_ns += length_ns
        stages: dict[str, int] = {}
        for segment in segments:
            stages[segment.stage] = stages.get(segment.stage, 0) + segment.end_ns - segment.start_ns
        unattributed_ns = stages.pop(UNATTRIBUTED)
        request_id = f"req-{number:03d}{hostile}"
        ttft_ns = at_ns - sent_ns
        breakdown = TtftBreakdown(request_id, sent_ns, ttft_ns, stages, unattributed_ns, tuple(segments))
        breakdown.check()
        yield breakdown
        at_ns += 180 * MS


def _segment(step: Step, at_ns: int, length_ns: int, hostile: str) -> Segment:
    pid, tid = PIDS[step.thread], TIDS[step.thread]
    return Segment(step.stage, at_ns, at_ns + length_ns, pid, tid, step.cause + hostile)


def _request_rows(
    breakdowns: list[TtftBreakdown], phases: list[Phase], block: int, hostile: str
) -> list[dict[str, Any]]:
    rows = [
        {
            "id": breakdown.request_id,
            "phase": phase.value,
            "block": number // block,
            "sent_ns": breakdown.sent_ns,
            "first_token_ns": breakdown.sent_ns + breakdown.ttft_ns,
            "done_ns": breakdown.sent_ns + breakdown.ttft_ns + 120 * MS,
            "prompt_tokens": 1142,
            "image_tokens": 1088,
            "output_tokens": 16,
            "image_names": [f"synthetic-{number:05d}{hostile}.jpg"],
            "image_widths": [640],
            "image_heights": [480],
            "image_bytes": [151_204],
            "recipe_set": hostile,
            "http_status": 200,
            "error": "",
            "text": hostile,
        }
        for number, (breakdown, phase) in enumerate(zip(breakdowns, phases, strict=True))
    ]
    refused = {"id": f"req-refused{hostile}", "first_token_ns": None, "done_ns": None, "http_status": 400}
    return [*rows, {**rows[0], **refused, "error": f"image too large {hostile}"}]


def _process_rows(hostile: str) -> list[dict[str, Any]]:
    server = (
        4101,
        4000,
        "api_server",
        None,
        "vllm",
        [(4101, "MainThread"), (4160, "ThreadPoolExecutor-0_0")],
    )
    core = (4188, 4101, "engine_core", None, "VLLM::EngineCore", [(4188, "MainThread")])
    worker = (4243, 4188, "worker", 0, "VLLM::Worker", [(4243, "MainThread")])
    return [
        {
            "pid": pid,
            "parent_pid": parent_pid,
            "role": role,
            "rank": rank,
            "name": name + hostile,
            "threads": [{"tid": tid, "name": thread + hostile} for tid, thread in threads],
        }
        for pid, parent_pid, role, rank, name, threads in (server, core, worker)
    ]


def _sample_rows(breakdown: TtftBreakdown, stacks: _Stacks, dice: random.Random) -> Iterator[dict[str, Any]]:
    """One sample of every thread each 2 ms, from before the request until after its first token."""
    starts = [segment.start_ns for segment in breakdown.segments]
    last_ns = breakdown.sent_ns + breakdown.ttft_ns
    for thread in (API, POOL, CORE, WORKER):
        for start_ns in range(breakdown.sent_ns - 10 * MS, last_ns + 10 * MS, INTERVAL_NS):
            middle_ns = start_ns + INTERVAL_NS // 2
            within = starts[0] <= middle_ns < last_ns
            owner = STEPS[bisect_right(starts, middle_ns) - 1] if within else None
            step = owner if owner and TIDS[owner.thread] == TIDS[thread] else None
            yield {
                "pid": PIDS[thread],
                "tid": TIDS[thread],
                "stack_id": stacks.id(_stack(step, thread, dice)),
                "start_ns": start_ns,
                "duration_ns": INTERVAL_NS,
                "on_cpu": step is not None,
                "holds_gil": None,
            }


def _stack(step: Step | None, thread: str, dice: random.Random) -> list[Frame]:
    if step is None:
        return IDLE[thread]
    weights = [weight for weight, _ in step.leaves]
    leaf = dice.choices([frames for _, frames in step.leaves], weights)[0]
    name, file, line = leaf[-1]
    return [*BASES[thread], *leaf[:-1], (name, file, line + dice.choice((0, 0, 0, 2, 5)))]


def synthetic_info(*, hostile: str = "", requests: int = 12, cores: int = 2) -> RunInfo:
    """run.json of the synthetic run."""
    return RunInfo(
        schema_version=1,
        vlmprof_version="0.1.0",
        name=f"demo{hostile}",
        status="complete",
        created_unix_ns=1_763_650_000_000_000_000,
        command=["vlmprof", "run", "checkpoints/smolvlm-256m-small", f"--name=demo{hostile}"],
        model=ModelInfo(
            name=f"SmolVLM-256M (small){hostile}",
            path="checkpoints/smolvlm-256m-small",
            model_type="smolvlm",
            architecture="SmolVLMForConditionalGeneration",
            dtype="bfloat16",
        ),
        host=HostInfo(
            cpu=f"Intel(R) Xeon(R) Platinum 8481C{hostile}",
            cores=cores,
            memory_bytes=23_000_000_000,
            kernel="6.1.0",
            os="Debian GNU/Linux 12",
        ),
        engine=EngineInfo(
            name="vllm",
            version="0.32.0",
            command=["vllm", "serve", "checkpoints/smolvlm-256m-small", hostile],
            python="3.11.2",
            packages={"torch": "2.13.0", "transformers": "5.19.0", f"pillow{hostile}": "12.1.0"},
        ),
        workload=WorkloadInfo(
            image_source=f"generated{hostile}",
            prompt=f"Describe the image.{hostile}",
            requests=requests,
            warm_up=4,
            concurrency=1,
            rate_per_s=None,
            max_tokens=16,
            seed=0,
        ),
        cache_policy=CachePolicy(
            distinct_images=True, distinct_prompts=False, note=f"every image is new{hostile}"
        ),
        collectors=[
            CollectorInfo(name="spans", kind="spans", version="1"),
            CollectorInfo(
                name="austin", kind="cpu", version="3.7.0", reason=f"auto: best that works{hostile}"
            ),
            CollectorInfo(name="nsys", kind="gpu", state="off", reason="no NVIDIA GPU"),
        ],
        clocks=[
            ClockEvidence(
                source=f"austin:4101{hostile}",
                method="beacons and pipe",
                offset_ns=812_345,
                drift_ppm=3.2,
                uncertainty_ns=160_000,
                witness="span starts",
                witness_count=420,
                witness_p50_ns=310_000,
                witness_p95_ns=640_000,
            )
        ],
        overhead=RatioInterval(
            ratio=1.071, low=1.042, high=1.103, pairs=6, noise_low=0.981, noise_high=1.022
        ),
        quality=[SourceQuality(source="austin", samples=14_210, samples_missed=63, note=hostile)],
        agents=[
            AgentInfo(
                pid=4101,
                role="api_server",
                patched=31,
                missing=[f"vllm.old.boundary{hostile}"],
                span_cost_ns=410,
            )
        ],
        steps=[StepInfo(name="start_server", start_ns=START_NS - 60_000 * MS, end_ns=START_NS - 5_000 * MS)],
        warnings=["austin missed 63 of 14273 samples" + hostile],
    )
