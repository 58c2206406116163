"""The old behaviour as a trial's baseline in the real vLLM: asked for by its requests alone, and seen to act."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ENGINE_ARGS
from tests.e2e.vlmprof_process import Outcome, assert_refused, ended_well
from vlmprof.errors import ExitCode
from vlmprof.model.ladder import read_ladder
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.suggestions import read_suggestions
from vlmprof.model.table_io import read_table
from vlmprof.session.journal import read_requests

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("pil_is_old")]

Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def ladder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunFolder, Outcome]]:
    """`vlmprof ladder CHECKPOINT --baseline pil`: two rounds of PIL, today's engine, and that with 1 and 10."""
    root = tmp_path_factory.mktemp("baseline")
    load = ["--requests", 4, "--rounds", 2, "--per-block", 2, "--recipes", "1,10", "--ablate"]
    arguments = ["ladder", checkpoint, "--out", root / "run", "--baseline", "pil", *load, *ENGINE_ARGS]
    with ended_well(arguments, root) as (_, outcome):
        yield RunFolder(root / "run"), outcome


def test_the_old_behaviour_acts_in_every_request_of_the_baseline_and_in_no_other(
    ladder: tuple[RunFolder, Outcome],
) -> None:
    """4 requests of the profile, 4 of A and 4 of A2; the rows are served as today by the same server."""
    folder, _ = ladder
    info = folder.read_info()
    assert info.status == "complete"
    assert info.baseline is not None
    assert (info.baseline.asked, info.baseline.acted, info.baseline.elsewhere) == (12, 12, 0)
    assert {block.server for block in info.blocks} == {0}
    assert info.engine is not None
    assert "--trust-request-mm-kwargs" in info.engine.command
    assert "--mm-processor-kwargs" not in info.engine.command
    behaviours = {block.arm: block.behaviour for block in info.blocks if block.round is not None}
    assert behaviours == {"A": "pil", "A2": "pil", "+2": "", "+1": "", "+10": ""}
    assert all(not request.error for request in read_requests(folder))


def test_the_samples_show_pil_at_work(ladder: tuple[RunFolder, Outcome]) -> None:
    """The profile is of the baseline: today's processor is on none of its stacks."""
    frames = read_table(ladder[0], "frames")["function"].to_pylist()
    assert "Idefics3ImageProcessorPil._preprocess" in frames
    assert "Idefics3ImageProcessor._preprocess" not in frames
    assert not any(name.startswith("TorchvisionBackend.") for name in frames)


def test_no_cache_answers_for_the_other_behaviour(ladder: tuple[RunFolder, Outcome]) -> None:
    """A and the row of today's engine send the same images under the same recipes."""
    policy = ladder[0].read_info().cache_policy
    assert policy is not None
    assert policy.counters["mm_cache_hits"] == 0


def test_the_ladder_starts_from_it_and_predicts_what_its_samples_show(
    ladder: tuple[RunFolder, Outcome],
) -> None:
    """Recipe 2 has a prediction; 1 and 10 change what the samples do not hold, and have none.

    Which of the suggestions comes first is a question of the machine: how fast its encoder is beside PIL.
    """
    folder, outcome = ladder
    result = read_ladder(folder)
    rows = {step.arm: step for step in result.steps if step.arm}
    assert {arm: step.recipes for arm, step in rows.items()} == {"+2": [2], "+1": [1, 2], "+10": [1, 2, 10]}
    assert rows["+2"].predicted is not None
    assert rows["+2"].predicted.saving_ns > 0
    assert [rows[arm].predicted for arm in ("+1", "+10")] == [None, None]
    assert result.notes
    assert "baseline pil" in outcome.stdout
    suggested = {each.number for each in read_suggestions(folder).suggestions}
    assert 2 in suggested
    assert not suggested & {1, 10}


def test_an_unknown_baseline_is_refused_before_anything_starts(
    run_cli: Run, checkpoint: Path, tmp_path: Path
) -> None:
    outcome = run_cli("run", checkpoint, "--out", tmp_path / "run", "--baseline", "pill")
    assert_refused(outcome, ExitCode.USAGE)
    assert "there is no baseline 'pill'" in outcome.stderr
    assert "pil" in outcome.stderr
    assert not (tmp_path / "run").exists()


def test_recipes_that_cannot_act_on_it_are_refused_before_anything_starts(
    run_cli: Run, checkpoint: Path, tmp_path: Path
) -> None:
    outcome = run_cli("run", checkpoint, "--out", tmp_path / "run", "--baseline", "pil", "--recipes", "1")
    assert_refused(outcome, ExitCode.RECIPE_MISFIT)
    assert "does not call" in outcome.stderr
    assert not (tmp_path / "run").exists()
