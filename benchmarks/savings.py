"""What recipes save, each alone and all together, inside one server, beside what was predicted from a profile.

python -m benchmarks.savings CHECKPOINT... [--images DIR] [--rounds 12] [--per-block 3] [--keep DIR [--again]]

For each checkpoint one server: its baseline is profiled, from which savings are predicted; then every recipe, with
what it needs, and all of them together are measured against the baseline in randomized rounds. A round has two
blocks of the baseline, with the same pictures: what a recipe saves are the differences from both.
"""

import argparse
import itertools
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.record import write_results
from vlmprof.engines.vllm import find_vllm, resolve_model
from vlmprof.model.arms import BASELINE_ARM, REPEAT_ARM
from vlmprof.model.comparison import Change, Comparison, Verdict
from vlmprof.model.results import read_breakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.suggestions import Saving
from vlmprof.patching import Family, Recipe
from vlmprof.patching.registry import load_recipes, narrowed, with_needs
from vlmprof.patching.selection import ALL, select
from vlmprof.patching.source import InstalledSource
from vlmprof.session.compare import compare_arms
from vlmprof.session.options import RunOptions
from vlmprof.session.profile import profile
from vlmprof.session.recipe_plan import family_of_model
from vlmprof.session.suggest import predict
from vlmprof.units import NS_PER_MS

ENGINE_ARGS = ["--max-model-len", "8192", "--enforce-eager"]
WITHIN = 0.15
TOGETHER = "all"


@dataclass(frozen=True, slots=True)
class Saved:
    """What an arm was measured to save, in ms.

    Attributes:
        drawn: the median of each resample; arms of one run are drawn alike, so that they can be subtracted.
    """

    median: float
    drawn: npt.NDArray[np.float64]

    def interval(self) -> tuple[float, float]:
        """At 95%."""
        low, high = np.percentile(self.drawn, (2.5, 97.5)).tolist()
        return low, high

    def differs_from(self, other: "Saved") -> bool:
        """Whether one of the two saves more: the 95% interval of the difference is without 0."""
        low, high = np.percentile(self.drawn - other.drawn, (2.5, 97.5))
        return bool(low > 0 or high < 0)


class Printed:
    """Progress on one line a step."""

    def step(self, title: str) -> None:
        print(title, file=sys.stderr)

    def detail(self, text: str) -> None: ...

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--per-block", type=int, default=3)
    parser.add_argument("--profiled", type=int, default=112, help="Requests that profile the baseline.")
    parser.add_argument("--warm-up", type=int, default=100, help="Requests that are sent first and left out.")
    parser.add_argument("--keep", type=Path, help="Keep the run folders here.")
    parser.add_argument(
        "--again", action="store_true", help="Predict and compare what --keep holds, measure nothing."
    )
    parser.add_argument("--name", default="savings", help="Name of the results.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as parent:
        folder = options.keep or Path(parent)
        models = [measured(checkpoint, folder, options) for checkpoint in options.checkpoints]
    write_results(
        options.name, {"models": models}, "\n\n".join(["# What recipes save", *map(markdown, models)])
    )


def measured(checkpoint: str, parent: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one checkpoint."""
    family, numbers, recipes = _choice(checkpoint)
    sets = {f"r{number}": tuple(sorted(with_needs([number], recipes))) for number in numbers} | {
        TOGETHER: numbers
    }
    run = RunOptions(
        model=checkpoint,
        out=parent / Path(checkpoint).name,
        command=sys.argv,
        images=options.images,
        requests=options.profiled,
        warm_up=options.warm_up,
        trial={arm: ",".join(map(str, on)) for arm, on in sets.items()},
        rounds=options.rounds,
        per_block=options.per_block,
        overwrite=True,
        engine_args=["--trust-remote-code", *ENGINE_ARGS],
    )
    folder = RunFolder.open(run.out) if options.again else profile(run, Printed())
    predicted = dict(zip(sets, predict(folder, list(sets.values())), strict=True))
    saved = savings(folder, sets)
    rows = [_row(folder, arm, sets[arm], saved[arm], predicted[arm]) for arm in sets]
    single = [row for row in rows if row["arm"] != TOGETHER]
    return {
        "model": Path(checkpoint).name,
        "family": str(family),
        "warm_up": options.warm_up,
        "profiled": options.profiled,
        "rounds": options.rounds,
        "requests_per_block": options.per_block,
        "images": str(options.images.name) if options.images else "generated 640x480",
        "rows": rows,
        "prediction": prediction_quality(single, saved),
    }


def _choice(checkpoint: str) -> tuple[Family, tuple[int, ...], dict[int, Recipe]]:
    engine = find_vllm()
    family = family_of_model(resolve_model(checkpoint))
    recipes = narrowed(load_recipes(), family)
    selection = select(ALL, recipes, family, InstalledSource(engine.search_path))
    return family, selection.numbers, recipes


def _row(
    folder: RunFolder, arm: str, on: Sequence[int], saved: Saved, predicted: Saving | None
) -> dict[str, Any]:
    comparison = compare_arms(folder, trial=arm)
    ttft = _change(comparison, "ttft_p50")
    transform = comparison.change("stage.image_transform")
    return {
        "arm": arm,
        "recipes": list(on),
        "ttft_ms": [ttft.baseline / 1e6, ttft.trial / 1e6],
        "ratio": [ttft.ratio, ttft.ratio_low, ttft.ratio_high],
        "saving_ms": [saved.median, *saved.interval()],
        "noise_ms": [(ttft.noise_low or 0) / 1e6, (ttft.noise_high or 0) / 1e6],
        "verdict": str(comparison.verdict),
        "above_noise": comparison.verdict in (Verdict.FASTER, Verdict.SLOWER),
        "transform_ratio": transform.trial / transform.baseline if transform and transform.baseline else None,
        "predicted_ms": [predicted.saving_ns / 1e6, predicted.low_ns / 1e6, predicted.high_ns / 1e6]
        if predicted
        else None,
        "outputs": [comparison.outputs.equal, comparison.outputs.compared],
    }


def savings(folder: RunFolder, arms: Iterable[str]) -> dict[str, Saved]:
    """By how much TTFT of each arm is below each of a round's two baseline blocks.

    Not below their mean, whose median lies above that of a single one where a few requests are slow: a recipe
    that does nothing would save some milliseconds.
    """
    arm_of = {block.index: (block.round, block.arm) for block in folder.read_info().blocks}
    ttft: dict[tuple[int | None, str], list[int]] = defaultdict(list)
    for request in sorted(read_breakdown(folder).requests, key=lambda each: each.sent_ns):
        ttft[arm_of.get(request.block, (None, ""))].append(request.ttft_ns)
    return {arm: _saved(ttft, arm) for arm in arms}


def _saved(ttft: Mapping[tuple[int | None, str], list[int]], arm: str, draws: int = 2000) -> Saved:
    """From TTFT in ns by round and arm; rounds are drawn, then requests within each."""
    numbers = sorted({number for number, name in ttft if number is not None and name == arm})
    blocks = [
        [ttft.get((number, name), []) for name in (BASELINE_ARM, REPEAT_ARM, arm)] for number in numbers
    ]
    whole = [block for block in blocks if len({len(times) for times in block}) == 1]
    baseline, repeat, trial = np.moveaxis(np.array(whole, np.float64), 1, 0) / NS_PER_MS
    saved_ms = np.stack([baseline - trial, repeat - trial], axis=-1)
    rng = np.random.default_rng(0)
    rounds, requests = trial.shape
    drawn = rng.integers(0, rounds, (draws, rounds, 1)), rng.integers(0, requests, (draws, rounds, requests))
    return Saved(float(np.median(saved_ms)), np.median(saved_ms[drawn].reshape(draws, -1), axis=1))


def _change(comparison: Comparison, metric: str) -> Change:
    change = comparison.change(metric)
    assert change is not None, f"{metric} was not measured"
    return change


def prediction_quality(rows: list[dict[str, Any]], saved: Mapping[str, Saved]) -> dict[str, Any]:
    """Of recipes with a measured saving above the noise: predicted well or not, and the order's agreement."""
    told = [row for row in rows if row["above_noise"] and row["predicted_ms"]]
    pairs = list(itertools.combinations(told, 2))
    apart = [(a, b) for a, b in pairs if saved[a["arm"]].differs_from(saved[b["arm"]])]
    return {
        "recipes": len(told),
        "good": [row["arm"] for row in told if predicted_well(row)],
        "strictly": [row["arm"] for row in told if predicted_strictly(row)],
        "kendall_tau": kendall_tau(pairs),
        "pairs_apart": len(apart),
        "kendall_tau_apart": kendall_tau(apart),
    }


def predicted_well(row: dict[str, Any]) -> bool:
    """The predicted saving within 15% of the measured one, or inside the measured one's interval."""
    predicted = row["predicted_ms"][0]
    saving, low, high = row["saving_ms"]
    return bool(low <= predicted <= high or abs(predicted - saving) <= WITHIN * abs(saving))


def predicted_strictly(row: dict[str, Any]) -> bool:
    """The predicted saving within 15% of the measured one, or the measured one inside the prediction's interval.

    However uncertain the measurement is, it does not help a prediction here.
    """
    predicted, low, high = row["predicted_ms"]
    saving = row["saving_ms"][0]
    return bool(low <= saving <= high or abs(predicted - saving) <= WITHIN * abs(saving))


def kendall_tau(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> float | None:
    """Agreement of the orders of predicted and measured savings, from -1 to 1."""
    if not pairs:
        return None
    agree = sum(
        1
        if (a["saving_ms"][0] - b["saving_ms"][0]) * (a["predicted_ms"][0] - b["predicted_ms"][0]) > 0
        else -1
        for a, b in pairs
    )
    return agree / len(pairs)


def markdown(model: dict[str, Any]) -> str:
    lines = [
        f"## {model['model']} ({model['family']})",
        "",
        f"One server: {model['warm_up']} requests that are left out, {model['profiled']} to profile the baseline, "
        f"{model['rounds']} randomized rounds of {model['requests_per_block']} requests an arm; images: "
        f"{model['images']}. Medians of pairs with 95% intervals: ratios to the first of a round's two "
        "baseline blocks, savings from both.",
        "",
        "| recipes on | TTFT, ms | ratio | saving, ms | predicted, ms | transform stage | texts equal | verdict |",
        "|---|---|---|---|---|---|---|---|",
        *map(_markdown_row, model["rows"]),
        "",
        _quality_line(model["prediction"]),
    ]
    return "\n".join(lines)


def _markdown_row(row: dict[str, Any]) -> str:
    before, after = row["ttft_ms"]
    ratio, low, high = row["ratio"]
    cells = [
        ", ".join(map(str, row["recipes"])),
        f"{before:.1f} to {after:.1f}",
        f"{ratio:.3f} [{low:.3f}, {high:.3f}]",
        "{:.1f} [{:.1f}, {:.1f}]".format(*row["saving_ms"]),
        "{:.1f} [{:.1f}, {:.1f}]".format(*row["predicted_ms"]) if row["predicted_ms"] else "",
        f"{row['transform_ratio']:.3f}" if row["transform_ratio"] is not None else "",
        f"{row['outputs'][0]} of {row['outputs'][1]}",
        row["verdict"],
    ]
    return "| " + " | ".join(cells) + " |"


def _quality_line(quality: dict[str, Any]) -> str:
    return (
        f"Of {quality['recipes']} recipes with a saving above the noise, {len(quality['good'])} were predicted "
        f"within 15% of it or inside its interval, {len(quality['strictly'])} within 15% or with it inside the "
        f"prediction's own. Kendall tau of the orders: {_tau(quality['kendall_tau'])}, and "
        f"{_tau(quality['kendall_tau_apart'])} of the {quality['pairs_apart']} pairs whose savings differ by more "
        "than the noise."
    )


def _tau(tau: float | None) -> str:
    return "-" if tau is None else f"{tau:.2f}"


if __name__ == "__main__":
    main()
