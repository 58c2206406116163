"""What recipes save, each alone and all together, inside one server, beside what was predicted from a profile.

python -m benchmarks.savings CHECKPOINT... [--images DIR] [--rounds 12] [--per-block 3] [--keep DIR [--again]]

For each checkpoint one server: its baseline is profiled, from which savings are predicted; then every recipe, with
what it needs, and all of them together are measured against the baseline in randomized rounds.
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import write_results
from vlmprof.engines.vllm import find_vllm, resolve_model
from vlmprof.model.comparison import Change, Comparison, Verdict
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.suggestions import Saving
from vlmprof.patching import Family, Recipe
from vlmprof.patching.registry import load_recipes, narrowed
from vlmprof.patching.selection import ALL, select
from vlmprof.patching.source import InstalledSource
from vlmprof.session.compare import compare_arms
from vlmprof.session.options import RunOptions
from vlmprof.session.profile import profile
from vlmprof.session.recipe_plan import family_of_model
from vlmprof.session.suggest import predict

ENGINE_ARGS = ["--max-model-len", "8192", "--enforce-eager"]
WITHIN = 0.15
TOGETHER = "all"


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
    parser.add_argument("--profiled", type=int, default=40, help="Requests that profile the baseline.")
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
    sets = {f"r{number}": with_needs(number, recipes) for number in numbers} | {TOGETHER: numbers}
    run = RunOptions(
        model=checkpoint,
        out=parent / Path(checkpoint).name,
        command=sys.argv,
        images=options.images,
        requests=options.profiled,
        trial={arm: ",".join(map(str, on)) for arm, on in sets.items()},
        rounds=options.rounds,
        per_block=options.per_block,
        overwrite=True,
        engine_args=["--trust-remote-code", *ENGINE_ARGS],
    )
    folder = RunFolder.open(run.out) if options.again else profile(run, Printed())
    predicted = dict(zip(sets, predict(folder, list(sets.values())), strict=True))
    rows = [_row(folder, arm, sets[arm], predicted[arm]) for arm in sets]
    single = [row for row in rows if row["arm"] != TOGETHER]
    return {
        "model": Path(checkpoint).name,
        "family": str(family),
        "rounds": options.rounds,
        "requests_per_block": options.per_block,
        "images": str(options.images.name) if options.images else "generated 640x480",
        "rows": rows,
        "prediction": prediction_quality(single),
    }


def _choice(checkpoint: str) -> tuple[Family, tuple[int, ...], dict[int, Recipe]]:
    engine = find_vllm()
    family = family_of_model(resolve_model(checkpoint))
    recipes = narrowed(load_recipes(), family)
    selection = select(ALL, recipes, [family], InstalledSource(engine.search_path))
    return family, selection.numbers, recipes


def with_needs(number: int, recipes: dict[int, Recipe]) -> tuple[int, ...]:
    """A recipe and all that it needs."""
    on = {number}
    while more := {need for each in on for need in recipes[each].needs} - on:
        on |= more
    return tuple(sorted(on))


def _row(folder: RunFolder, arm: str, on: Sequence[int], predicted: Saving | None) -> dict[str, Any]:
    comparison = compare_arms(folder, trial=arm)
    ttft = _change(comparison, "ttft_p50")
    transform = comparison.change("stage.image_transform")
    return {
        "arm": arm,
        "recipes": list(on),
        "ttft_ms": [ttft.baseline / 1e6, ttft.trial / 1e6],
        "ratio": [ttft.ratio, ttft.ratio_low, ttft.ratio_high],
        "saving_ms": [-ttft.difference / 1e6, -ttft.high / 1e6, -ttft.low / 1e6],
        "noise_ms": [(ttft.noise_low or 0) / 1e6, (ttft.noise_high or 0) / 1e6],
        "verdict": str(comparison.verdict),
        "above_noise": comparison.verdict in (Verdict.FASTER, Verdict.SLOWER),
        "transform_ratio": transform.trial / transform.baseline if transform and transform.baseline else None,
        "predicted_ms": [predicted.saving_ns / 1e6, predicted.low_ns / 1e6, predicted.high_ns / 1e6]
        if predicted
        else None,
        "outputs": [comparison.outputs.equal, comparison.outputs.compared],
    }


def _change(comparison: Comparison, metric: str) -> Change:
    change = comparison.change(metric)
    assert change is not None, f"{metric} was not measured"
    return change


def prediction_quality(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of recipes with a measured saving above the noise: predicted well or not, and the order's agreement."""
    told = [row for row in rows if row["above_noise"] and row["predicted_ms"]]
    return {
        "recipes": len(told),
        "good": [row["arm"] for row in told if predicted_well(row)],
        "strictly": [row["arm"] for row in told if predicted_strictly(row)],
        "kendall_tau": kendall_tau(told),
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


def kendall_tau(rows: list[dict[str, Any]]) -> float | None:
    """Agreement of the orders of predicted and measured savings, from -1 to 1."""
    pairs = list(itertools.combinations(rows, 2))
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
        f"One server, {model['rounds']} randomized rounds of {model['requests_per_block']} requests an arm; "
        f"images: {model['images']}. Ratios and savings are medians of pairs with 95% intervals.",
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
    tau = quality["kendall_tau"]
    return (
        f"Of {quality['recipes']} recipes with a saving above the noise, {len(quality['good'])} were predicted "
        f"within 15% of it or inside its interval, {len(quality['strictly'])} within 15% or with it inside the "
        f"prediction's own; Kendall tau of the orders: {'-' if tau is None else f'{tau:.2f}'}."
    )


if __name__ == "__main__":
    main()
