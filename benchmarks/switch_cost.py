"""What recipes cost that are switched off: reading the switch, a call through it, and the engine's own processor.

    python -m benchmarks.switch_cost CHECKPOINT [--rounds 40]

The processor prepares one prompt with one image, on one thread, in random order of: no patch installed, and all
patches of the family installed with every recipe off. Both come twice, so that like against like is beside it.
"""

import argparse
import json
import random
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.recipe_stages import decoded, processor_of, seconds
from benchmarks.record import write_results
from vlmprof.analysis.stats import paired_ratio
from vlmprof.patching import Family, PatchSet, Recipe, RecipeSwitch, family_of
from vlmprof.patching.registry import load_recipes

REPEATS, CALLS = 9, 100_000
ABSENT, OFF = "no patches", "all off"
CONDITIONS = (ABSENT, f"{ABSENT}, again", OFF)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    family = family_of(json.loads((options.checkpoint / "config.json").read_text()))
    if family is None:
        parser.error(f"no recipe speaks about the model in {options.checkpoint}")
    figures = {**switch_ns(), **in_processor(options.checkpoint, family, options.rounds)}
    write_results("switch_cost", figures, markdown(figures))


def switch_ns() -> dict[str, float]:
    """Time of one reading of a mapped switch file, and of what a replaced function adds to a call."""
    from vlmprof.patching import Patch
    from vlmprof.patching.patch_set import _Counter, _replaced

    def served(image: int) -> int:
        return image

    with tempfile.TemporaryDirectory() as folder:
        switch = RecipeSwitch.shared(Path(folder) / "switch")
        patch = Patch("-:-", "builtins:print", parameters=(), fingerprints=())
        through = _replaced(patch, served, switch, 2, counter=_Counter(), ledger=None)
        read = best_ns(lambda: switch.mask)
        return {
            "read_ns": read - best_ns(lambda: None),
            "call_off_ns": best_ns(lambda: through(1)) - best_ns(lambda: served(1)),
        }


def best_ns(call: Callable[[], Any]) -> float:
    """The least of several means: what else runs on the machine only ever adds."""
    return min(timeit.repeat(call, repeat=REPEATS, number=CALLS)) / CALLS * 1e9


def in_processor(checkpoint: Path, family: Family, rounds: int) -> dict[str, Any]:
    """Median times of each condition in the engine's processor, and the ratio of off to absent."""
    recipes = [recipe for recipe in load_recipes().values() if recipe.patches_for(family)]
    prepare, image, dice = processor_of(checkpoint), decoded(0), random.Random(0)
    times: dict[str, list[list[float]]] = {condition: [] for condition in CONDITIONS}
    for number in range(rounds + 1):
        for condition in dice.sample(CONDITIONS, len(CONDITIONS)):
            taken = with_condition(condition, recipes, family, lambda: seconds(prepare, image))
            if number:  # The first round warms up.
                times[condition].append([taken])
    absent, again, off = (times[condition] for condition in CONDITIONS)
    ratio, floor = paired_ratio(absent, off), paired_ratio(absent, again)
    assert ratio is not None, "two rounds at least"
    assert floor is not None, "two rounds at least"
    return {
        "family": str(family),
        "patches": len({patch for recipe in recipes for patch in recipe.patches_for(family)}),
        "rounds": rounds,
        "absent_ms": sorted(each[0] for each in absent)[rounds // 2] * 1e3,
        "off_to_absent": [ratio.ratio, ratio.low, ratio.high],
        "like_to_like": [floor.ratio, floor.low, floor.high],
    }


def with_condition(
    condition: str, recipes: list[Recipe], family: Family, measure: Callable[[], float]
) -> float:
    """Measure with the patches of a family installed and off, or without them.

    The second of two calls: patches are installed in some tenths of a second, in which a host may take back the
    memory that the call before has freed. Whoever comes next would pay for that, whatever is installed.
    """
    if condition != OFF:
        measure()
        return measure()
    patches = PatchSet(recipes, RecipeSwitch.private(), family)
    patches.apply()
    try:
        measure()
        return measure()
    finally:
        patches.undo()


def markdown(figures: dict[str, Any]) -> str:
    ratio, floor = (
        "{:.3f}, 95% interval {:.3f} to {:.3f}".format(*figures[name])
        for name in ("off_to_absent", "like_to_like")
    )
    return "\n".join(
        [
            "# What a recipe costs that is switched off",
            "",
            "| | |",
            "|---|---|",
            f"| reading the switch | {figures['read_ns']:.0f} ns |",
            f"| what a replaced function adds to a call | {figures['call_off_ns']:.0f} ns |",
            f"| engine's processor of {figures['family']}, one image, no patches | {figures['absent_ms']:.1f} ms |",
            f"| the same with {figures['patches']} patches installed, all recipes off / without, "
            f"{figures['rounds']} pairs | {ratio} |",
            f"| like against like | {floor} |",
        ]
    )


if __name__ == "__main__":
    main()
