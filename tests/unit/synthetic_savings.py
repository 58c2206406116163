"""A run of equal requests whose every nanosecond is known, for tests of what recipes would save of it.

A request takes 420 ns: `preprocess` 100 in the API server (40 at line 10, 20 at line 20, 40 at line 30, which
calls `pad`), 100 on the way to the worker, 200 in the worker's `encode` (50 of it in `scan`), 10 on the way
back, 10 after.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from vlmprof.analysis.stack_table import StackTable, read_stacks
from vlmprof.analysis.suggest_model import SampledRun, SavingModel
from vlmprof.model.request import Phase
from vlmprof.model.results import RequestBreakdown, SegmentResult
from vlmprof.model.tables import FRAMES, SAMPLES, STACKS
from vlmprof.patching import Diagnosis, Effect, Exactness, Family, Patch, Recipe

API, WORKER = 10, 20
REQUEST_NS = 1000
SOURCE = {("p.py", 10): "padded = zeros(n)", ("p.py", 20): "mask = zeros(n)", ("p.py", 30): "padded = pad(i)"}

_FRAMES = [
    (0, "main", "m.py", 1),
    (1, "preprocess", "p.py", 10),
    (2, "preprocess", "p.py", 20),
    (3, "preprocess", "p.py", 30),
    (4, "pad", "p.py", 50),
    (5, "Model.encode", "e.py", 5),
    (6, "scan", "e.py", 7),
]
_STACKS = [[0, 1], [0, 2], [0, 3, 4], [0, 5], [0, 5, 6]]
_SEGMENTS = (
    ("image_transform", 100, API),
    ("ipc_transfer", 100, 0),
    ("vision_encoder", 200, WORKER),
    ("ipc_transfer", 10, 0),
    ("response", 10, 0),
)
_SAMPLES = ((API, 0, 0, 40), (API, 1, 40, 20), (API, 2, 60, 40), (WORKER, 3, 200, 150), (WORKER, 4, 350, 50))


def request(number: int, *, slower: float = 1.0, phase: Phase = Phase.PROFILED) -> RequestBreakdown:
    """Request `number`, sent at `1000 * number`; every stage takes `slower` times as long."""
    at_ns = number * REQUEST_NS
    segments = []
    stages: dict[str, int] = {}
    for stage, length, tid in _SEGMENTS:
        length_ns = round(length * slower)
        segments.append(
            SegmentResult(stage=stage, start_ns=at_ns, end_ns=at_ns + length_ns, pid=tid, tid=tid, cause="")
        )
        stages[stage] = stages.get(stage, 0) + length_ns
        at_ns += length_ns
    return RequestBreakdown(
        id=f"r{number}",
        phase=phase,
        block=0,
        sent_ns=number * REQUEST_NS,
        ttft_ns=at_ns - number * REQUEST_NS,
        stages=stages,
        unattributed_ns=0,
        segments=segments,
    )


def unequal_run(small: int, large: int) -> SampledRun:
    """Large requests take twice as long as small ones and alone call `pad`: in small ones line 10 goes on."""
    requests = [request(number, slower=1 if number < small else 2) for number in range(small + large)]
    columns = ("pid", "tid", "stack_id", "start_ns", "duration_ns")
    rows = []
    for number in range(small + large):
        slower, stack_ids = (1, {2: 0}) if number < small else (2, {})
        for pid, stack, start, length in _SAMPLES:
            at_ns = number * REQUEST_NS + slower * start
            rows.append((pid, pid, stack_ids.get(stack, stack), at_ns, slower * length))
    table = pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows], schema=SAMPLES)
    return SampledRun(requests, requests, table, stacks(), source_line)


def sampled_run(requests: int = 4, plain: Sequence[RequestBreakdown] | None = None) -> SampledRun:
    """Sampled requests, and the plain ones whose times count: the same ones where none are given."""
    sampled = [request(number) for number in range(requests)]
    return SampledRun(plain or sampled, sampled, samples(requests), stacks(), source_line)


def samples(requests: int) -> Any:
    columns = ("pid", "tid", "stack_id", "start_ns", "duration_ns")
    rows = [
        (pid, pid, stack, number * REQUEST_NS + start, length)
        for number in range(requests)
        for pid, stack, start, length in _SAMPLES
    ]
    return pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows], schema=SAMPLES)


def stacks() -> StackTable:
    return read_stacks(*stack_tables())


def stack_tables() -> tuple[Any, Any]:
    """The tables `stacks` and `frames`."""
    frame_rows = [dict(zip(FRAMES.names, frame, strict=True)) for frame in _FRAMES]
    stack_rows = [{"stack_id": number, "frame_ids": ids} for number, ids in enumerate(_STACKS)]
    return (
        pa.Table.from_pylist(stack_rows, schema=STACKS),
        pa.Table.from_pylist(frame_rows, schema=FRAMES),
    )


def source_line(file: str, line: int) -> str:
    return SOURCE.get((file, line), "")


def model(
    effects: Mapping[int, Sequence[Effect]], run: SampledRun | None = None, **changes: Any
) -> SavingModel:
    """The model of a run, by default the four equal requests."""
    return SavingModel(replace(run or sampled_run(), **changes), effects)


def recipe(
    number: int,
    needs: tuple[int, ...] = (),
    conflicts: tuple[int, ...] = (),
    exactness: Exactness = Exactness.EXACT,
) -> Recipe:
    """A recipe with a patch for SmolVLM."""
    patch = Patch("engine:f", "recipe:g", parameters=(), fingerprints=())
    return Recipe(
        number=number,
        slug=f"toy_{number}",
        title=f"toy {number}",
        paper="-",
        here="-",
        standing={},
        diagnose=lambda run: Diagnosis(),
        needs=needs,
        conflicts=conflicts,
        exactness=exactness,
        patches={Family.IDEFICS3: (patch,)},
    )
