"""Recipes in a process that serves: what `all` takes, what the plugin installs and counts, what stays unloaded."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlmprof.errors import RecipeMisfit
from vlmprof.model.run_folder import RunFolder
from vlmprof.patching import Diagnosis, Exactness, Family, Fits, Patch, PatchCounts, Recipe, Switching
from vlmprof.patching.ledger import read_ledgers
from vlmprof.patching.selection import select
from vlmprof.patching.served import start
from vlmprof.patching.source import InstalledSource, source_fingerprint
from vlmprof.patching.switch import RecipeSwitch

_FAMILY = Family.QWEN3_VL
_DOUBLE = "def double(number):\n    return 2 * number\n"


def _nothing(_run: RunFolder) -> Diagnosis:
    return Diagnosis()


def _recipe(number: int, **fields: Any) -> Recipe:
    patch = Patch(
        "served_engine:double", "served_recipes:tenfold", ("number",), (source_fingerprint(_DOUBLE),)
    )
    known: dict[str, Any] = {
        "number": number,
        "slug": f"toy_{number}",
        "title": "toy",
        "paper": "",
        "here": "",
        "standing": {},
        "diagnose": _nothing,
        "fits": {_FAMILY: ()},
        "patches": {_FAMILY: (patch,)},
    }
    return Recipe(**known | fields)


@pytest.fixture
def installed(tmp_path: Path) -> InstalledSource:
    """An environment whose only module is the engine that the toy recipes change."""
    (tmp_path / "served_engine.py").write_text(_DOUBLE)
    return InstalledSource([str(tmp_path)])


def _by_number(*recipes: Recipe) -> dict[int, Recipe]:
    return {recipe.number: recipe for recipe in recipes}


def test_all_takes_what_fits_and_says_why_the_others_were_left_out(installed: InstalledSource) -> None:
    """2 is written for an absent engine, 3 conflicts with 1, 4 needs 2, 5 needs 4, 6 changes the start."""
    recipes = _by_number(
        _recipe(1),
        _recipe(2, fits={_FAMILY: (Fits(("no-such-engine",), "1", "2"),)}),
        _recipe(3, conflicts=(1,)),
        _recipe(4, needs=(2,)),
        _recipe(5, needs=(4,)),
        _recipe(6, switching=Switching.RESTART),
        _recipe(7, patches={}),
    )
    selection = select("all", recipes, _FAMILY, installed)
    assert selection.numbers == (1,)
    assert {number: reason.split(":")[0] for number, reason in selection.refused.items()} == {
        2: "recipe 2 changes no-such-engine, which is not installed",
        3: "conflicts with recipe 1",
        4: "needs recipe 2",
        5: "needs recipe 4",
        6: "takes part in how the server is started",
        7: "says nothing of this model",
    }


def test_an_exact_recipe_goes_before_one_that_changes_outputs(installed: InstalledSource) -> None:
    """1 and 2 conflict, and 1 changes outputs: `all` takes 2; `exact` refuses 1 for its tolerance."""
    loose = _recipe(1, conflicts=(2,), exactness=Exactness.TOLERANCE, tolerance="up to 3 levels")
    recipes = _by_number(loose, _recipe(2))
    assert select("all", recipes, _FAMILY, installed).numbers == (2,)
    exact = select("exact", recipes, _FAMILY, installed)
    assert exact.refused == {1: "changes outputs: up to 3 levels"}


def test_numbers_that_do_not_fit_are_refused(installed: InstalledSource) -> None:
    """A doctored fingerprint: the message names recipe, function and both fingerprints."""
    recipe = _recipe(1)
    patch = replace(recipe.patches_for(_FAMILY)[0], fingerprints=("0123456789abcdef",))
    with pytest.raises(
        RecipeMisfit, match=r"recipe 1 does not fit served_engine:double .* not 0123456789abcdef"
    ):
        select("1", _by_number(replace(recipe, patches={_FAMILY: (patch,)})), _FAMILY, installed)


_SERVED = textwrap.dedent("""
    import json, os, sys
    from vlmprof.plugin import load
    load()
    engine_before = "served_engine" in sys.modules
    import served_engine
    os.write(1, json.dumps([engine_before, served_engine.double(4)]).encode() + b"\\n")
    if sys.stdin.readline():
        pid = os.fork()
        if not pid:
            served_engine.double(1)
            os._exit(0)
        os.waitpid(pid, 0)
        os.write(1, json.dumps([pid, served_engine.double(4)]).encode())
""")
_RECIPES = textwrap.dedent("""
    from tests.unit.test_patching_served import _recipe
    recipe = _recipe(5)
    def tenfold(call, number):
        return 10 * call.original(number)
""")


def served_process(tmp_path: Path, program: str = _SERVED, **variables: str) -> "subprocess.Popen[str]":
    """A process with the toy engine and a package that offers a recipe for it, as an installed one would."""
    (tmp_path / "served_engine.py").write_text(_DOUBLE)
    (tmp_path / "served_recipes.py").write_text(_RECIPES)
    metadata = tmp_path / "toy-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    # Recipe 5 of the toy package would be offered twice beside the project's own: a group of its own.
    program = "import vlmprof.patching.registry as r; r.ENTRY_POINT_GROUP = 'vlmprof.recipes.toy'\n" + program
    (metadata / "entry_points.txt").write_text("[vlmprof.recipes.toy]\ntoy = served_recipes:recipe\n")
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), root])} | variables
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_recipe_is_switched_and_counted_in_another_process_and_its_children(tmp_path: Path) -> None:
    """Off: 8. On: 80. The forked child's call is in a ledger of its own, and each has one call."""
    switch = RecipeSwitch.shared(tmp_path / "switch")
    process = served_process(
        tmp_path,
        VLMPROF_RECIPES="5",
        VLMPROF_RECIPE_SWITCH=str(tmp_path / "switch"),
        VLMPROF_RECIPE_LEDGER=str(tmp_path),
        VLMPROF_RECIPE_FAMILY=_FAMILY.name,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == [False, 8]
    switch.set([5])
    said, errors = process.communicate("on\n")
    child, value = json.loads(said or "[0, 0]")
    assert value == 80, errors
    assert read_ledgers(tmp_path) == {
        process.pid: {5: PatchCounts(1, 0)},
        child: {5: PatchCounts(1, 0)},
    }


def test_without_a_profiler_the_named_recipes_are_always_on(tmp_path: Path) -> None:
    """No switch file: 4 doubled and tenfold is 80."""
    variables = {"VLMPROF_RECIPES": "all", "VLMPROF_RECIPE_FAMILY": _FAMILY.name}
    said, errors = served_process(tmp_path, **variables).communicate()
    assert json.loads(said) == [False, 80], errors
    assert errors == "INFO vlmprof recipes applied: 5\n"


def test_a_number_that_nobody_offers_stops_the_engine(tmp_path: Path) -> None:
    """Loudly: a server that silently lacks a recipe would be measured as if it had it."""
    process = served_process(tmp_path, VLMPROF_RECIPES="5,6")
    _, errors = process.communicate()
    assert process.returncode != 0
    assert "there is no recipe '6'" in errors


def test_a_recipe_of_a_server_s_start_is_refused_where_one_has_started() -> None:
    """To say that it is applied would be untrue: PIL has been found by then."""
    with pytest.raises(RecipeMisfit, match=r"recipe 9 \(pillow_simd\) is in how a server is started"):
        start("9")


def test_unset_the_plugin_loads_nothing(tmp_path: Path) -> None:
    """vLLM imports the entry point in every process: beside the module itself nothing of vlmprof comes with it."""
    program = (
        "import sys; before = set(sys.modules)\n"
        "from vlmprof.plugin import load; load()\n"
        "print(sorted(name for name in set(sys.modules) - before if name.startswith('vlmprof')))"
    )
    asking = {"VLMPROF_RECIPES", "VLMPROF_SPANS"}
    environment = {name: value for name, value in os.environ.items() if name not in asking}
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=root, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "['vlmprof', 'vlmprof.plugin']"


def test_recipes_load_nothing_heavy() -> None:
    """They come into every process of the engine before it is ready, torch and pyarrow not yet loaded."""
    program = (
        "import sys\nfrom vlmprof.patching.registry import load_recipes\nimport vlmprof.patching.served\n"
        "load_recipes()\n"
        "heavy = {'torch', 'pyarrow', 'pandas', 'numba', 'plotly', 'transformers', 'vllm'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
