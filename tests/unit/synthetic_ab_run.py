"""Run folders for comparisons: one server whose rounds hold every arm, with drift, block effects and pauses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from tests.unit.synthetic_run import MS, START_NS, synthetic_info
from tests.unit.synthetic_stacks import STEPS
from vlmprof.analysis.summary import summarise
from vlmprof.model.breakdown import Segment, TtftBreakdown
from vlmprof.model.request import Phase
from vlmprof.model.results import BreakdownResult, request_breakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import BlockInfo
from vlmprof.model.stages import UNATTRIBUTED
from vlmprof.model.table_io import read_table, write_table
from vlmprof.model.tables import SCHEMAS

_TABLES = ("requests", "processes", "samples", "stacks", "frames")
_DECODE_NS = 120 * MS
AB_ARMS: Mapping[str, Mapping[str, float]] = {"A": {}, "A2": {}, "B": {"image_transform": 0.2}}
"""Arm -> stage -> by how much it is multiplied in that arm; `*` stands for every stage."""


@dataclass(frozen=True)
class Noise:
    """What a shared machine adds: standard deviations of logarithms, drift over the run, chance of a pause."""

    request: float = 0.05
    block: float = 0.02
    drift: float = 0.05
    pause: float = 0.05


@dataclass(frozen=True)
class AbRun:
    """What a synthetic run with arms is made of.

    Attributes:
        arms: `AB_ARMS`; an arm's recipe set is its name's digits, or `1,10` for `B`.
        number: first number of the workload; two runs with the same one sent the same requests.
        level: by how much this server is slower than another.
    """

    arms: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: AB_ARMS)
    rounds: int = 8
    block: int = 5
    seed: int = 0
    noise: Noise = field(default_factory=Noise)
    number: int = 0
    level: float = 1.0
    hostile: str = ""
    name: str = "demo"


def write_ab_run(path: Path, run: AbRun | None = None) -> RunFolder:
    """Write a complete run whose control blocks are rounds of arms in random order."""
    run = run or AbRun()
    folder = RunFolder.create(path)
    dice = np.random.default_rng(run.seed)
    blocks = _blocks(run, dice)
    rows, breakdowns = _requests(run, blocks, dice)
    write_table(folder, "requests", pa.Table.from_pylist(rows, schema=SCHEMAS["requests"]))
    for name in _TABLES[1:]:
        write_table(folder, name, SCHEMAS[name].empty_table())
    info = msgspec.structs.replace(
        synthetic_info(hostile=run.hostile, requests=len(rows)),
        name=run.name + run.hostile,
        blocks=blocks,
        collectors=[],
        overhead=None,
        clocks=[],
        quality=[],
        warnings=[],
    )
    folder.write_info(info)
    folder.write_result("breakdown", breakdowns)
    tables = {name: read_table(folder, name) for name in _TABLES}
    folder.write_result("summary", summarise(info, breakdowns, **tables))
    return folder


def write_plain_run(path: Path, run: AbRun | None = None) -> RunFolder:
    """The same without arms: the control blocks of an ordinary run."""
    folder = write_ab_run(path, run or AbRun(arms={"A": {}}))
    info = folder.read_info()
    plain = [msgspec.structs.replace(block, round=None, arm="") for block in info.blocks]
    folder.write_info(msgspec.structs.replace(info, blocks=plain))
    return folder


def recipe_set(arm: str, hostile: str = "") -> str:
    digits = arm.lstrip("+")
    return {"A": "", "A2": "", "B": "1,10"}.get(arm, digits) + (hostile if arm == "B" else "")


def _blocks(run: AbRun, dice: np.random.Generator) -> list[BlockInfo]:
    names = list(run.arms)
    orders = [[names[place] for place in dice.permutation(len(names))] for _ in range(run.rounds)]
    return [
        BlockInfo(
            index=number * len(names) + place,
            phase=Phase.CONTROL.value,
            recipe_set=recipe_set(arm, run.hostile),
            round=number,
            arm=arm + (run.hostile if arm == "B" else ""),
        )
        for number, order in enumerate(orders)
        for place, arm in enumerate(order)
    ]


def _requests(
    run: AbRun, blocks: Sequence[BlockInfo], dice: np.random.Generator
) -> tuple[list[dict[str, Any]], BreakdownResult]:
    rows: list[dict[str, Any]] = []
    breakdowns, at_ns = [], START_NS
    for block in blocks:
        assert block.round is not None
        level = run.level * np.exp(
            run.noise.drift * block.round / max(1, run.rounds - 1) + dice.normal(0, run.noise.block)
        )
        scale = run.arms[block.arm.removesuffix(run.hostile) if run.hostile else block.arm]
        for place in range(run.block):
            content = run.number + block.round * run.block + place
            slow = level * np.exp(dice.normal(0, run.noise.request))
            pause_ns = int(dice.pareto(1.5) * 40 * MS) if dice.random() < run.noise.pause else 0
            breakdown = _breakdown(f"vp-{run.seed}-{block.index}-{content}", at_ns, scale, slow, pause_ns)
            breakdowns.append(request_breakdown(breakdown, Phase.CONTROL, block.index))
            rows.append(_row(breakdown, block, content, slow, run.hostile))
            at_ns += breakdown.ttft_ns + 300 * MS
    return rows, BreakdownResult(requests=breakdowns)


def _breakdown(
    request_id: str, sent_ns: int, scale: Mapping[str, float], slow: float, pause_ns: int
) -> TtftBreakdown:
    at_ns, segments = sent_ns, []
    for step in STEPS:
        factor = scale.get(step.stage, scale.get("*", 1.0)) * slow
        length_ns = max(1, int(step.mean_ms * factor * MS)) + (
            pause_ns if step.stage == "vision_encoder" else 0
        )
        segments.append(Segment(step.stage, at_ns, at_ns + length_ns, 4101, 4101, step.cause))
        at_ns += length_ns
    stages: dict[str, int] = {}
    for segment in segments:
        stages[segment.stage] = stages.get(segment.stage, 0) + segment.end_ns - segment.start_ns
    unattributed_ns = stages.pop(UNATTRIBUTED)
    breakdown = TtftBreakdown(request_id, sent_ns, at_ns - sent_ns, stages, unattributed_ns, tuple(segments))
    breakdown.check()
    return breakdown


def _row(
    breakdown: TtftBreakdown, block: BlockInfo, content: int, slow: float, hostile: str
) -> dict[str, Any]:
    first_ns = breakdown.sent_ns + breakdown.ttft_ns
    return {
        "id": breakdown.request_id,
        "phase": Phase.CONTROL.value,
        "block": block.index,
        "sent_ns": breakdown.sent_ns,
        "first_token_ns": first_ns,
        "done_ns": first_ns + int(_DECODE_NS * slow),
        "prompt_tokens": 1142,
        "image_tokens": 1088,
        "output_tokens": 16,
        "image_names": [f"generated-{1000 * (block.arm == 'A2')}-{content:05d}{hostile}.jpg"],
        "image_widths": [640],
        "image_heights": [480],
        "image_bytes": [151_204],
        "recipe_set": block.recipe_set,
        "http_status": 200,
        "error": "",
        "text": f"a photo of {content} cats{hostile}",
    }
