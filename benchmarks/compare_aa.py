"""How often a comparison is right: like against like, and known differences, simulated and on real blocks.

python -m benchmarks.compare_aa [--run RUN [--note TEXT]]

RUN: a run folder with arms A and A2, as `vlmprof run --ab` makes; TEXT: what else the machine did meanwhile
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write_results
from vlmprof.analysis.compare import ComparedRun
from vlmprof.analysis.compare_measure import Measured
from vlmprof.analysis.compare_requests import COLUMNS, ComparedRequest, Requests, Rounds, pair
from vlmprof.analysis.stats import Floats
from vlmprof.model.arms import BASELINE_ARMS
from vlmprof.model.comparison import Change, Verdict
from vlmprof.model.run_folder import RunFolder
from vlmprof.session.compare import read_compared_run

SEEDS = 20
SIZES = ((8, 4), (12, 4), (12, 8), (30, 4))
EFFECTS = (1.0, 0.95, 0.9, 0.8)
REQUEST_NOISE, BLOCK_NOISE, DRIFT, PAUSES = 0.10, 0.03, 0.05, 0.05
_ALARMS = (Verdict.FASTER, Verdict.SLOWER)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--note", default="")
    options = parser.parse_args()
    figures: dict[str, Any] = {"seeds": SEEDS, "simulated": simulated()}
    if options.run:
        figures["real"] = {"note": options.note, **real(read_compared_run(RunFolder.open(options.run)))}
    write_results("compare_aa", figures, markdown(figures))


def simulated() -> list[dict[str, Any]]:
    """Verdicts on the TTFT of 20 simulated trials of each size and effect."""
    return [
        {
            "rounds": rounds,
            "requests_per_block": block,
            "effect": effect,
            **_summary([_simulated(seed, rounds, block, effect) for seed in range(SEEDS)]),
        }
        for rounds, block in SIZES
        for effect in EFFECTS
    ]


def _simulated(seed: int, rounds: int, block: int, effect: float) -> Change:
    """5% drift over the run, 3% between blocks, 10% between requests, and a pause in every 20th request."""
    dice = np.random.default_rng(seed)

    def served(number: int, factor: float) -> Requests:
        level = 100e6 * factor * np.exp(DRIFT * number / rounds + dice.normal(0, BLOCK_NOISE))
        pauses = np.where(dice.random(block) < PAUSES, 1 + dice.pareto(1.5, block), 1)
        return _requests(level * np.exp(dice.normal(0, REQUEST_NOISE, block)) * pauses, number)

    sides = [(served(i, 1), served(i, 1), served(i, effect)) for i in range(rounds)]
    return _measured([(a, b) for a, _, b in sides], [(a, a2) for a, a2, _ in sides]).metrics()[0]


def _requests(times_ns: Floats, block: int) -> list[ComparedRequest]:
    """Requests of which only the TTFT is known, each with an image of its own and all of one size."""
    unknown = np.full(len(COLUMNS) - 1, np.nan)
    return [
        ComparedRequest(
            id=f"{block}-{number}",
            number=None,
            block=block,
            sent_ns=number,
            images=(f"{block}-{number}-{time_ns}",),
            sizes=((640, 480),),
            text="",
            values=np.concatenate([[time_ns], unknown]),
        )
        for number, time_ns in enumerate(times_ns.tolist())
    ]


def _measured(rounds: Rounds, noise: Rounds) -> Measured:
    return Measured.of(pair(rounds), [pair(noise)])


def real(run: ComparedRun) -> dict[str, Any]:
    """20 random ways to call the baseline's blocks of two neighbouring rounds A, A2 and B.

    All of them were served alike, so any difference is noise; the second row is the same with B's times cut to 0.9.
    """
    blocks = _baseline_blocks(run)
    labelled = [_relabelled(blocks, seed) for seed in range(SEEDS)]
    alike = [_measured([(a, b) for a, _, b in sides], [(a, a2) for a, a2, _ in sides]) for sides in labelled]
    cut = [
        _measured([(a, _scaled(b, 0.9)) for a, _, b in sides], [(a, a2) for a, a2, _ in sides])
        for sides in labelled
    ]
    parts = [part for each in alike for part in each.parts(gpu=False)]
    return {
        "run": run.info.name,
        "model": run.info.model.name,
        "engine": f"{run.info.engine.name} {run.info.engine.version}" if run.info.engine else "",
        "rounds": len(labelled[0]),
        "requests_a_side": sum(len(a) for a, _, _ in labelled[0]),
        "alike": _summary([each.metrics()[0] for each in alike]),
        "a_tenth_less": _summary([each.metrics()[0] for each in cut]),
        "stages_compared": len(parts),
        "stages_called_different": sum(part.verdict in _ALARMS for part in parts),
    }


_Sides = tuple[Requests, Requests, Requests]


def _baseline_blocks(run: ComparedRun) -> list[list[ComparedRequest]]:
    """The blocks of both baseline arms, in the order of sending."""
    found: dict[int, list[ComparedRequest]] = {}
    for arm in BASELINE_ARMS:
        for request in run.requests_of(arm):
            found.setdefault(request.block, []).append(request)
    return [found[block] for block in sorted(found)]


def _relabelled(blocks: Sequence[list[ComparedRequest]], seed: int) -> list[_Sides]:
    """Of every four neighbouring blocks three, in random order."""
    dice = np.random.default_rng(seed)
    sides = []
    for start in range(0, len(blocks) - 3, 4):
        a, a2, b = (blocks[start + place] for place in dice.permutation(4)[:3].tolist())
        sides.append((a, a2, b))
    return sides


def _scaled(requests: Requests, factor: float) -> list[ComparedRequest]:
    return [
        ComparedRequest(r.id, r.number, r.block, r.sent_ns, r.images, r.sizes, r.text, r.values * factor)
        for r in requests
    ]


def _summary(changes: Sequence[Change]) -> dict[str, Any]:
    widths = [
        (change.ratio_high - change.ratio_low) / 2
        for change in changes
        if change.ratio_low is not None and change.ratio_high is not None
    ]
    return {
        "verdicts": dict(Counter(change.verdict.value for change in changes)),
        "median_half_width": float(np.median(widths)),
    }


def markdown(figures: dict[str, Any]) -> str:
    lines = [
        "# How often `vlmprof compare` is right",
        "",
        f"Verdicts on the TTFT in {SEEDS} trials each. Simulated: requests vary by {REQUEST_NOISE:.0%}, blocks by "
        f"{BLOCK_NOISE:.0%}, the server drifts by {DRIFT:.0%}, and {PAUSES:.0%} of the requests "
        "meet a pause of infinite variance.",
        "",
        "| rounds x requests a block | true ratio | no difference | faster | slower | inconclusive | interval, ± |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in figures["simulated"]:
        lines.append(_row(f"{row['rounds']} x {row['requests_per_block']}", f"{row['effect']:.2f}", row))
    if real_run := figures.get("real"):
        requests = f"{real_run['rounds']} rounds, {real_run['requests_a_side']} requests a side"
        lines += [
            "",
            f"Blocks of one real server ({real_run['model']}, {real_run['engine']}), all served alike, "
            f"called A, A2 and B at random: {requests}. In the second row B's times are cut by a tenth. "
            + real_run["note"],
            "",
            "| | true ratio | no difference | faster | slower | inconclusive | interval, ± |",
            "|---|---|---|---|---|---|---|",
            _row("alike", "1.00", real_run["alike"]),
            _row("a tenth less", "0.90", real_run["a_tenth_less"]),
            "",
            f"Of {real_run['stages_compared']} groups and stages of the first row, "
            f"{real_run['stages_called_different']} were called faster or slower.",
        ]
    return "\n".join(lines)


def _row(name: str, ratio: str, row: dict[str, Any]) -> str:
    counts = [
        row["verdicts"].get(verdict, 0) for verdict in ("no difference", "faster", "slower", "inconclusive")
    ]
    cells = [name, ratio, *map(str, counts), f"{100 * row['median_half_width']:.1f}%"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
