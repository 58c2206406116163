"""Suggestions of a whole run folder."""

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from tests.unit.synthetic_run import write_empty_run, write_synthetic_run
from vlmprof.cli.main import app
from vlmprof.model.results import read_breakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import BlockInfo
from vlmprof.model.suggestions import read_suggestions
from vlmprof.patching.registry import load_recipes
from vlmprof.session.suggest import active_recipes, of_baseline, predict, suggest_again


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of a SmolVLM with blocks of control and profiled requests."""
    return write_synthetic_run(tmp_path_factory.mktemp("suggested") / "run")


def _with_model(run: RunFolder, path: Path, **changes: str) -> RunFolder:
    """The run as if another model had been served."""
    folder = write_synthetic_run(path)
    info = folder.read_info()
    folder.write_info(msgspec.structs.replace(info, model=msgspec.structs.replace(info.model, **changes)))
    return folder


def test_a_run_of_smolvlm_is_told_to_drop_the_mask_first(run: RunFolder) -> None:
    """Every recipe is either suggested or not, with a reason; what is suggested is ranked and can be tried."""
    result = suggest_again(run)
    assert result.family == "SmolVLM, Idefics3"
    assert result.suggestions[0].number == 10
    savings = [each.saving.saving_ns for each in result.suggestions]
    assert savings == sorted(savings, reverse=True)
    suggested = [each.number for each in result.suggestions]
    others = [each.number for each in result.not_suggested]
    assert sorted(suggested + others) == sorted(load_recipes())
    assert all(each.reason for each in result.not_suggested)
    for each in result.suggestions:
        assert each.saving.low_ns <= each.saving.saving_ns <= each.saving.high_ns
        assert each.evidence
        assert each.command.endswith(f"--ab {','.join(map(str, each.tested))}")


def test_predictions_are_those_of_the_suggestions(run: RunFolder) -> None:
    """A ladder asks for whole sets, in which what a recipe needs counts too."""
    result = suggest_again(run)
    first = result.suggestions[0]
    together = {number for each in result.suggestions if each.added for number in each.tested}
    assert predict(run, [set(first.tested), together, set()])[:2] == [first.added, result.together]


def test_a_model_that_no_recipe_knows_gets_a_reason(run: RunFolder, tmp_path: Path) -> None:
    other = _with_model(
        run, tmp_path / "other", architecture="LlavaForConditionalGeneration", model_type="llava"
    )
    result = suggest_again(other)
    assert result.suggestions == []
    assert "LlavaForConditionalGeneration" in result.reason
    assert predict(other, [{1}]) == [None]


def test_a_run_without_a_token_gets_a_reason(tmp_path: Path) -> None:
    assert suggest_again(write_empty_run(tmp_path / "empty")).reason == "no request got a first token"


def test_requests_of_a_trial_s_other_arms_are_left_out(run: RunFolder) -> None:
    """Block 2 had recipes on: what it took says nothing of the server as it was."""
    info = msgspec.structs.replace(
        run.read_info(),
        blocks=[
            BlockInfo(index=0, phase="control"),
            BlockInfo(index=2, phase="control", recipe_set="10", round=0, arm="B"),
        ],
    )
    kept = of_baseline(read_breakdown(run), info)
    assert {request.block for request in kept.requests} == {0, 1, 3}


def test_recipes_of_blocks_outside_a_trial_were_on(run: RunFolder) -> None:
    """Those of a trial's arms were not on in what suggestions are made from."""
    blocks = [
        BlockInfo(index=0, phase="control", recipe_set="1,8"),
        BlockInfo(index=1, phase="control", recipe_set="1,8,10", round=0, arm="B"),
    ]
    info = msgspec.structs.replace(run.read_info(), blocks=blocks)
    assert active_recipes(info, load_recipes()) == {1, 8}


def test_suggest_shows_ranking_evidence_and_command(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns, the narrowest that is laid out for."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["suggest", str(run.path)]).stdout
    for part in (
        "What recipes would save",
        "remove the pixel",
        "What shows it",
        "--ab ",
        "Not suggested",
    ):
        assert part in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_suggest_prints_what_the_analysis_wrote_and_concludes_it_anew_when_told(tmp_path: Path) -> None:
    """An older file may stand for the recipes of its day."""
    folder = write_synthetic_run(tmp_path / "run")
    anew = suggest_again(folder)
    folder.write_result("suggestions", msgspec.structs.replace(anew, suggestions=[], reason="of its day"))
    arguments = ["suggest", str(folder.path), "--json"]
    written = CliRunner().invoke(app, arguments).stdout
    assert msgspec.json.decode(written)["reason"] == "of its day"
    rebuilt = CliRunner().invoke(app, [*arguments, "--rebuild"]).stdout
    assert msgspec.json.decode(rebuilt, type=type(anew)) == anew
    assert read_suggestions(folder).reason == "of its day"
