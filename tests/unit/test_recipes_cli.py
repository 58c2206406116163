"""`vlmprof recipes list` and `show` as a user types them."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vlmprof.cli.recipes import app
from vlmprof.errors import RecipeMisfit, UsageError
from vlmprof.patching import Family, Recipe
from vlmprof.patching import registry as registry_module
from vlmprof.patching.availability import availability
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.source import InstalledSource

_PAPER = range(1, 13)


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The narrowest terminal that tables are laid out for."""
    monkeypatch.setenv("COLUMNS", "80")


def _rows(output: str) -> dict[int, str]:
    """Lines that begin with a number."""
    return {
        int(line.split()[0]): line
        for line in output.splitlines()
        if line.split()[:1] and line.split()[0].isdigit()
    }


def test_list_has_a_row_for_each_recipe_and_a_column_for_each_family() -> None:
    """Nothing is cut off at 80 columns."""
    result = CliRunner().invoke(app, ["list"])
    rows = _rows(result.stdout)
    assert set(_PAPER) <= set(rows)
    assert all("…" not in rows[number] for number in _PAPER)
    for family in ("smolvlm", "internvl-chat", "internvl", "qwen3-vl"):
        assert family in result.stdout
    assert rows[10].split()[:6] == ["10", "remove", "the", "pixel", "mask", "needed"]
    assert rows[10].count("n/a") == 3


def test_list_of_a_family_says_where_its_rows_are_known_from() -> None:
    result = CliRunner().invoke(app, ["list", "--family", "qwen3-vl"])
    where = load_recipes()[8].standing[Family.QWEN3_VL].where
    assert "".join(where.split()) in "".join(result.stdout.split())
    assert "smolvlm" not in result.stdout


def test_list_of_a_checkpoint_is_that_of_its_family(tmp_path: Path) -> None:
    """The config's architecture decides."""
    (tmp_path / "config.json").write_text('{"architectures": ["SmolVLMForConditionalGeneration"]}')
    named = CliRunner().invoke(app, ["list", "--family", "smolvlm"])
    assert CliRunner().invoke(app, ["list", "--model", str(tmp_path)]).stdout == named.stdout


def test_list_as_json_holds_what_the_table_shows() -> None:
    recipes = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)["recipes"]
    by_number = {each["number"]: each for each in recipes}
    assert set(_PAPER) <= set(by_number)
    mask = by_number[10]["families"]
    assert mask["smolvlm"]["need"] == "needed"
    assert mask["qwen3-vl"] | {"where": ""} == {
        "need": "not applicable",
        "where": "",
        "available": False,
        "misfit": "",
        "patches": [],
        "baseline": "",
    }


def test_show_tells_everything_about_one_recipe() -> None:
    """Recipe 8 needs recipe 1, and is tried with it."""
    shown = CliRunner().invoke(app, ["show", "8"]).stdout
    for part in (
        "uint8 pixels",
        "paper",
        "here",
        "needs 1",
        "SmolVLM, Idefics3: needed",
        f"Qwen3-VL: {load_recipes()[8].standing[Family.QWEN3_VL].need}",
    ):
        assert part in shown
    assert "vlmprof run MODEL --ab 1,8" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "99"],
        ["show", "x"],
        ["list", "--family", "gpt"],
        ["list", "--family", "smolvlm", "--model", "."],
    ],
    ids=str,
)
def test_what_makes_no_sense_is_a_usage_error(arguments: list[str]) -> None:
    """Each hint lists what there is."""
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, UsageError)
    assert result.exception.hint


def test_a_checkpoint_that_no_recipe_knows_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    result = CliRunner().invoke(app, ["list", "--model", str(tmp_path)])
    assert isinstance(result.exception, UsageError | RecipeMisfit)
    assert "LlamaForCausalLM" in result.exception.message


def _doctored(installed: InstalledSource) -> dict[int, Recipe]:
    """Recipe 10 as if it had been written for another source of its functions."""
    recipes = load_recipes(installed)
    family = Family.IDEFICS3
    patches = tuple(replace(patch, fingerprints=("0" * 16,)) for patch in recipes[10].patches_for(family))
    return recipes | {10: replace(recipes[10], patches={family: patches})}


def test_a_recipe_written_for_another_source_is_marked_and_the_function_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fingerprint of the installed function is not the one that the recipe knows."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    monkeypatch.setattr(registry_module, "load_recipes", _doctored)
    result = CliRunner().invoke(app, ["list"])
    assert "needed ✗" in _rows(result.stdout)[10]
    assert "recipe 10 does not fit" in " ".join(result.stdout.split())
    assert "fingerprint" in result.stdout


def test_a_recipe_for_an_engine_that_is_not_installed_is_no_misfit_of_families_without_it() -> None:
    """Nothing is on an empty import path: 10 has no change to make for Qwen3-VL, and one that misfits SmolVLM."""
    nothing, mask = InstalledSource([]), load_recipes()[10]
    assert not availability(mask, Family.QWEN3_VL, nothing).changes
    found = availability(mask, Family.IDEFICS3, nothing)
    assert found.changes
    assert "not installed" in found.misfit
    assert not found.is_available


def test_listing_imports_no_engine() -> None:
    """torch alone takes seconds."""
    program = (
        "import sys\n"
        "from vlmprof.cli.main import app\n"
        "app(['recipes', 'list', '--json'], standalone_mode=False)\n"
        "heavy = {'torch', 'vllm', 'transformers', 'numpy', 'pyarrow'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stderr.splitlines()[-1] == "[]"
