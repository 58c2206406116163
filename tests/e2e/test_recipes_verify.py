"""`vlmprof recipes verify` on the real engine: one server, and odd images under every combination of recipes."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import chain, combinations
from pathlib import Path

import pytest

from tests.e2e.conftest import ENGINE_ARGS
from tests.e2e.vlmprof_process import Outcome
from vlmprof.errors import RecipeMisfit
from vlmprof.patching import Family
from vlmprof.patching.registry import check_together, load_recipes
from vlmprof.patching.selection import EXACT, select
from vlmprof.patching.source import InstalledSource
from vlmprof.session.verify import read_results
from vlmprof.session.verify_verdict import processor_faults

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("real_engine")]

_IMAGES = Path(__file__).parents[3] / "shared" / "data" / "images"
_PHOTOS = "airockchip"
_LAST_OF_PAPER = 12


def test_every_exact_recipe_is_exact_in_processor_and_server(
    run_cli: Callable[..., Outcome], checkpoint: Path
) -> None:
    """Float32, 16 tokens: texts equal, each repeated image answered by the cache, none across sets of recipes."""
    outcome = run_cli(
        "recipes", "verify", checkpoint, "--recipes", "exact", "--dtypes", "float32", "--json", *ENGINE_ARGS
    )
    assert outcome.exit_code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert {tuple(each["recipes"]) for each in result["verdicts"]} >= {(1,), (1, 8), (1, 10), (1, 11)}
    assert [each["faults"] for each in result["verdicts"] if each["faults"]] == []
    assert {"truncated.jpg", "no-image.jpg"} <= _refused(result["processor"])
    answered = [each for each in result["server"] if not each["refused"]]
    assert answered
    assert all(each["text_equal"] and each["hits"] == len(each["images"]) for each in answered)
    # Every prompt that is taken has pixels to compare, those of recipe 3 too, whose tiles the worker makes.
    taken = [each for each in result["processor"] if not each["refused"]]
    assert {(each["pixels"]["type"], each["pixels"]["max_difference"]) for each in taken} == {
        ("compared", 0.0)
    }
    assert {each["foreign_hits"] for each in result["server"]} == {0}
    assert _refused(result["server"]) == {"truncated.jpg"}


def _refused(checks: list[dict[str, object]]) -> set[str]:
    return {name for each in checks if each["refused"] for name in each["images"]}  # type: ignore[attr-defined]


def _combinations() -> list[list[int]]:
    """Every set of the paper's exact recipes for SmolVLM that may be on together."""
    recipes, family = load_recipes(), Family.IDEFICS3
    fitting = select(EXACT, recipes, family, InstalledSource()).numbers
    exact = [number for number in fitting if number <= _LAST_OF_PAPER]
    assert {1, 8, 10, 11} <= set(exact)
    every = chain.from_iterable(combinations(exact, size) for size in range(1, len(exact) + 1))
    allowed = []
    for numbers in every:
        try:
            check_together(numbers, recipes, family)
        except RecipeMisfit:
            continue
        allowed.append(list(numbers))
    return allowed


def test_odd_images_are_treated_alike_under_every_combination(checkpoint: Path, tmp_path: Path) -> None:
    """CMYK, palette, EXIF-rotated, progressive, gray, WebP: same decision, ids, ranges and pixels."""
    odd = sorted(path for path in _IMAGES.glob("*") if not path.name.startswith(_PHOTOS))
    if not odd:
        pytest.skip("no odd images (../shared/data/images)")
    job, results = tmp_path / "job.json", tmp_path / "results.jsonl"
    prompts = [*([str(path)] for path in odd), [str(path) for path in odd[:2]]]
    sets = _combinations()
    model = {"model": str(checkpoint), "family": "IDEFICS3", "trust_remote_code": False}
    job.write_text(json.dumps({**model, "sets": sets, "prompts": prompts}))
    ended = subprocess.run(
        [sys.executable, "-m", "vlmprof.patching.verify_processor", str(job), str(results)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    checks = read_results(results)
    assert len(checks) == len(sets) * len(prompts)
    assert any(check.taken for check in checks)
    assert list(processor_faults(checks, exact=True)) == []
