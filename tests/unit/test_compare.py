"""Comparing arms and runs: which requests are compared, what is measured of them, what is said of it."""

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from tests.unit.synthetic_ab_run import AbRun, Noise, write_ab_run, write_plain_run
from tests.unit.synthetic_run import synthetic_info
from vlmprof.analysis.compare_environment import environment_differences
from vlmprof.analysis.compare_outputs import output_equality
from vlmprof.analysis.compare_requests import COLUMNS, ComparedRequest, pair, rounds_of_runs
from vlmprof.errors import FileUnreadable, UsageError
from vlmprof.model.comparison import ComparisonResult, Scope, Verdict, read_comparison
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import BaselineUse, RecipeUse
from vlmprof.model.table_io import read_table, write_table
from vlmprof.model.tables import SCHEMAS
from vlmprof.session.compare import compare_arms, compare_folders

QUIET = Noise(request=0.01, block=0.0, drift=0.3, pause=0.0)


@pytest.fixture(scope="module")
def ab_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Eight rounds of A, A2 and B, in which B's image transform takes a fifth; not to be changed."""
    return write_ab_run(tmp_path_factory.mktemp("compare") / "ab")


def _request(number: int, *, image: str = "", size: int = 640, text: str = "") -> ComparedRequest:
    values = np.full(len(COLUMNS), 100.0 + number)
    return ComparedRequest(
        f"vp-x-{number}", number, 0, number, (image or f"{number}.jpg",), ((size, 480),), text, values
    )


def test_the_arm_with_the_faster_transform_is_faster(ab_run: RunFolder) -> None:
    """The transform falls to a fifth: 39 ms less 80% is 31 ms of the TTFT, and nothing else changes."""
    comparison = compare_arms(ab_run)
    assert comparison.verdict == Verdict.FASTER
    assert comparison.scope == Scope.ONE_SERVER
    assert (comparison.rounds, comparison.baseline.requests, comparison.trial.requests) == (8, 40, 40)
    assert (comparison.outputs.compared, comparison.outputs.equal) == (40, 40)
    transform = comparison.change("stage.image_transform")
    assert transform is not None
    assert transform.low < -31e6 < transform.high
    changed = {part.metric for part in comparison.parts if part.verdict != Verdict.NO_DIFFERENCE}
    assert changed == {"group.image", "stage.image_transform"}


def test_the_baseline_again_is_no_difference(ab_run: RunFolder) -> None:
    comparison = compare_arms(ab_run, "A", "A2")
    assert comparison.verdict == Verdict.NO_DIFFERENCE
    assert comparison.sentence.startswith("A2 is no different: TTFT ")


def test_a_drift_of_the_server_cancels(tmp_path: Path) -> None:
    """The server slows by 35% over the run, B takes a tenth less in every stage: -10% within a percent."""
    arms = {"A": {}, "A2": {}, "B": {"*": 0.9}}
    comparison = compare_arms(write_ab_run(tmp_path / "run", AbRun(arms=arms, noise=QUIET)))
    ratio = comparison.metrics[0].ratio
    assert ratio == pytest.approx(0.9, abs=0.01)
    assert comparison.verdict == Verdict.FASTER


def test_decoding_is_told_apart_from_the_first_token(ab_run: RunFolder) -> None:
    """B saves its time before the first token: end to end it saves as much, and TPOT stays."""
    comparison = compare_arms(ab_run)
    end_to_end, tpot, rate = (comparison.change(m) for m in ("e2e_p50", "tpot_p50", "tokens_per_s_p50"))
    assert end_to_end is not None
    assert tpot is not None
    assert rate is not None
    assert end_to_end.verdict == Verdict.FASTER
    assert tpot.verdict == rate.verdict == Verdict.NO_DIFFERENCE
    assert rate.baseline == pytest.approx(1e9 / tpot.baseline, rel=1e-3)


def test_an_arm_that_is_not_there_is_named(ab_run: RunFolder) -> None:
    with pytest.raises(UsageError, match="no arm '\\+1': it has A, A2, B"):
        compare_arms(ab_run, "A", "+1")


def test_one_run_without_arms_has_nothing_to_compare(tmp_path: Path) -> None:
    run = write_plain_run(tmp_path / "run")
    with pytest.raises(UsageError, match="has no arms"):
        compare_folders([run])


def test_every_step_of_a_ladder_is_held_against_the_baseline(tmp_path: Path) -> None:
    arms = {"A": {}, "A2": {}, "+1,10": {"*": 0.5}, "+1": {"image_transform": 0.5}}
    result = compare_folders([write_ab_run(tmp_path / "run", AbRun(arms=arms))])
    assert [each.trial.label for each in result.comparisons] == ["+1", "+1,10"]
    assert {each.baseline.label for each in result.comparisons} == {"A"}
    assert {each.verdict for each in result.comparisons} == {Verdict.FASTER}


def test_a_run_against_itself_is_the_same_times(tmp_path: Path) -> None:
    run = write_plain_run(tmp_path / "run")
    comparison = compare_folders([run, run]).comparisons[0]
    assert comparison.verdict == Verdict.NO_DIFFERENCE
    assert comparison.warnings == []
    assert comparison.environment == []
    assert comparison.outputs.equal == comparison.outputs.compared == 40


def test_two_runs_of_the_same_workload_are_paired_request_by_request(tmp_path: Path) -> None:
    """The second server is a quarter slower; a warning says that two servers are no A/B."""
    runs = [
        write_plain_run(tmp_path / name, AbRun(arms={"A": {}}, seed=seed, name=name, level=level))
        for name, seed, level in (("first", 1, 1.0), ("second", 2, 1.25))
    ]
    comparison = compare_folders(runs).comparisons[0]
    assert comparison.paired_by == "image and prompt"
    assert comparison.verdict == Verdict.SLOWER
    assert comparison.scope == Scope.TWO_SERVERS
    assert any("two servers started alike have differed by up to 23%" in w for w in comparison.warnings)


def _asked(run: RunFolder, **workload: object) -> RunFolder:
    """The same run with other options of its workload."""
    info = run.read_info()
    assert info.workload is not None
    changed = msgspec.structs.replace(info.workload, **workload)
    run.write_info(msgspec.structs.replace(info, workload=changed))
    return run


def test_another_prompt_is_another_request(tmp_path: Path) -> None:
    """The pictures are the same, and so is what is paired; texts are answers to other questions."""
    runs = [write_plain_run(tmp_path / str(seed), AbRun(arms={"A": {}}, seed=seed)) for seed in (1, 2)]
    comparison = compare_folders([runs[0], _asked(runs[1], prompt="Count the cats")]).comparisons[0]
    assert comparison.paired_by == "image"
    assert comparison.outputs.compared == 0
    assert "same image and prompt" in comparison.outputs.note


def test_a_picture_of_another_size_is_another_picture(tmp_path: Path) -> None:
    """Generated pictures of other sizes have the same names."""
    runs = [write_plain_run(tmp_path / str(seed), AbRun(arms={"A": {}}, seed=seed)) for seed in (1, 2)]
    rows = read_table(runs[1], "requests").to_pylist()
    larger = [row | {"image_widths": [1920], "image_heights": [1080]} for row in rows]
    write_table(runs[1], "requests", pa.Table.from_pylist(larger, schema=SCHEMAS["requests"]))
    comparison = compare_folders(runs).comparisons[0]
    assert comparison.paired_by == "nothing but their round"
    assert comparison.outputs.compared == 0


def test_texts_of_other_lengths_are_not_compared(tmp_path: Path) -> None:
    runs = [write_plain_run(tmp_path / str(seed), AbRun(arms={"A": {}}, seed=seed)) for seed in (1, 2)]
    comparison = compare_folders([runs[0], _asked(runs[1], max_tokens=64)]).comparisons[0]
    assert comparison.paired_by == "image and prompt"
    assert comparison.outputs.compared == 0
    assert comparison.outputs.note == "one run asked for at most 16 tokens, the other for 64"


def test_two_runs_of_other_workloads_are_compared_by_image_size(tmp_path: Path) -> None:
    runs = [
        write_plain_run(tmp_path / str(number), AbRun(arms={"A": {}}, seed=seed, number=number))
        for number, seed in ((0, 1), (1000, 2))
    ]
    comparison = compare_folders(runs).comparisons[0]
    assert comparison.paired_by == "image size"
    assert comparison.outputs.compared == 0
    assert "recipes verify" in comparison.outputs.note
    assert comparison.baseline.label == str(runs[0].path)


def test_a_run_with_arms_is_compared_by_its_baseline(tmp_path: Path, ab_run: RunFolder) -> None:
    plain = write_plain_run(tmp_path / "plain", AbRun(arms={"A": {}}, name="plain"))
    comparison = compare_folders([plain, ab_run]).comparisons[0]
    assert comparison.trial.requests == 40
    assert "demo holds the arms A, A2, B: only its arm A is compared" in comparison.warnings


def test_a_failed_request_is_left_out(tmp_path: Path) -> None:
    """The synthetic requests all end well; one that got no token is not there to be compared."""
    run = write_ab_run(tmp_path / "run", AbRun(rounds=3))
    rows = read_table(run, "requests").to_pylist()
    rows[0] |= {"first_token_ns": None, "error": "timeout"}
    write_table(run, "requests", pa.Table.from_pylist(rows, schema=SCHEMAS["requests"]))
    used = [compare_arms(run, "A", arm) for arm in ("A2", "B")]
    assert sum(each.trial.requests for each in used) + used[0].baseline.requests == 44


def test_a_recipe_that_failed_is_a_warning(tmp_path: Path) -> None:
    run = write_ab_run(tmp_path / "run", AbRun(rounds=3))
    failed = RecipeUse(number=10, slug="remove-pixel-mask", failures=3)
    run.write_info(msgspec.structs.replace(run.read_info(), recipes=[failed]))
    assert any("recipe 10 remove-pixel-mask failed 3 times" in w for w in compare_arms(run).warnings)


def test_a_result_is_read_as_it_was_written(ab_run: RunFolder, tmp_path: Path) -> None:
    result = compare_folders([ab_run])
    target = RunFolder(tmp_path)
    target.write_result("comparison", result)
    assert read_comparison(target) == result


def test_a_result_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    target = RunFolder(tmp_path)
    target.write_result("comparison", ComparisonResult(comparisons=[], schema_version=99))
    with pytest.raises(FileUnreadable, match="schema version 99"):
        read_comparison(target)
    with pytest.raises(FileUnreadable, match="cannot read"):
        read_comparison(RunFolder(tmp_path / "nowhere"))


def test_requests_are_paired_by_the_strongest_thing_in_common() -> None:
    """The same number and image; then the same image; then the same size; then nothing."""
    lower = [_request(i, size=640 + i % 2) for i in range(4)]
    same = [_request(i, size=640 + i % 2) for i in range(4)]
    images = [_request(i + 10, image=f"{i}.jpg", size=640 + i % 2) for i in range(4)]
    sizes = [_request(i + 10, size=640 + i % 2) for i in range(4)]
    others = [_request(i + 10, size=99) for i in range(4)]
    pairings = {name: pair([(lower, u)]) for name, u in (("same", same), ("images", images))}
    assert pairings["same"].paired_by == "image and prompt"
    assert pairings["images"].paired_by == "image"
    by_size = pair([(lower, sizes)])
    assert by_size.paired_by == "image size"
    assert [len(side) for side in by_size.positions] == [8, 8]
    assert pair([(lower, others)]).paired_by == "nothing but their round"


def test_a_picture_sent_again_with_other_pixels_is_the_same_image() -> None:
    """`cat.jpg` and its repeats `cat.jpg#2` are matched one to one, but their texts are not compared."""
    lower = [_request(0, image="cat.jpg"), _request(1, image="dog.jpg#2")]
    upper = [_request(7, image="dog.jpg#4"), _request(8, image="cat.jpg#3")]
    pairing = pair([(lower, upper)])
    assert pairing.paired_by == "image"
    assert [side.tolist() for side in pairing.positions] == [[0, 1], [1, 0]]
    assert output_equality(lower, upper).compared == 0


def test_the_noise_floor_is_paired_as_the_trial_is(ab_run: RunFolder) -> None:
    """A and B show the same images, A2 others of the same size: both are compared by size."""
    assert compare_arms(ab_run).paired_by == "image size"


def test_many_comparable_requests_are_compared_with_some_of_the_others() -> None:
    """Two rounds of 200 x 200 comparable pairs: each request gets twenty partners, and each partner is used."""
    lower, upper = ([_request(i + start) for i in range(200)] for start in (0, 1000))
    positions = pair([(lower, upper), (lower, upper)]).positions
    assert len(positions[0]) == 8000
    assert set(positions[1].tolist()) == set(range(400))


def test_a_round_that_only_one_side_served_is_left_out() -> None:
    requests = [_request(i) for i in range(4)]
    assert len(pair([(requests, []), (requests[:2], requests[2:])]).rounds) == 1


def test_unequal_runs_are_cut_into_as_many_rounds_as_the_shorter_has() -> None:
    """One block against requests with other numbers: one round of everything."""
    lower, upper = [_request(i) for i in range(6)], [_request(i + 50) for i in range(9)]
    assert [(len(a), len(b)) for a, b in rounds_of_runs(lower, upper)] == [(6, 9)]


def test_the_first_text_that_differs_is_shown_from_before_the_place() -> None:
    lower = [_request(0, text="same"), _request(1, text="a man with a red hat")]
    upper = [_request(0, text="same"), _request(1, text="a man with a blue hat")]
    equality = output_equality(lower, upper)
    assert (equality.compared, equality.equal) == (2, 1)
    first = equality.first_difference
    assert first is not None
    assert (first.image, first.at) == ("1.jpg", 13)
    assert (first.baseline_text, first.trial_text) == ("a man with a red hat", "a man with a blue hat")


def test_a_text_that_goes_on_differs_where_the_other_ends() -> None:
    equality = output_equality([_request(0, text="cat")], [_request(0, text="cats")])
    assert equality.first_difference is not None
    assert equality.first_difference.at == 3


def test_differences_of_environment_say_why_they_matter() -> None:
    """Another engine, another argument, another torch; the port is every run's own."""
    baseline = synthetic_info()
    assert baseline.engine is not None
    command = [*baseline.engine.command, "--port", "9999", "--enforce-eager"]
    engine = msgspec.structs.replace(
        baseline.engine, version="0.26.0", command=command, packages={"torch": "2.11.0"}
    )
    found = {
        each.what: each
        for each in environment_differences(baseline, msgspec.structs.replace(baseline, engine=engine))
    }
    assert set(found) == {"engine", "engine arguments", "torch", "transformers", "pillow"}
    assert (found["engine"].baseline, found["engine"].trial) == ("vllm 0.32.0", "vllm 0.26.0")
    assert "9999" not in found["engine arguments"].trial
    assert found["engine arguments"].trial.endswith("--enforce-eager")
    assert found["transformers"].trial == "none"
    assert all(each.why for each in found.values())


def _with_baseline(run: RunFolder, path: Path) -> RunFolder:
    """The run as if its baseline had been the old behaviour."""
    folder = write_ab_run(path)
    info = folder.read_info()
    blocks = [
        msgspec.structs.replace(block, behaviour="pil" if block.arm in ("A", "A2") else "")
        for block in info.blocks
    ]
    use = BaselineUse(name="pil", title="PIL and numpy", recipe=2, span="mm.pil")
    folder.write_info(msgspec.structs.replace(info, blocks=blocks, baseline=use))
    return folder


def test_arms_tell_which_of_them_is_the_old_behaviour(ab_run: RunFolder, tmp_path: Path) -> None:
    comparison = compare_arms(_with_baseline(ab_run, tmp_path / "run"))
    assert comparison.baseline.setting == "baseline pil, no recipes"
    assert comparison.trial.setting == "recipes 1,10"
    assert [(each.what, each.baseline, each.trial) for each in comparison.environment] == [
        ("old behaviour", "pil", "none"),
        ("recipes", "none", "1,10"),
    ]


def test_runs_differ_by_the_behaviour_that_they_asked_for(ab_run: RunFolder, tmp_path: Path) -> None:
    (comparison,) = compare_folders([_with_baseline(ab_run, tmp_path / "run"), ab_run]).comparisons
    assert (comparison.baseline.behaviour, comparison.trial.behaviour) == ("pil", "")
    difference = next(each for each in comparison.environment if each.what == "old behaviour")
    assert (difference.baseline, difference.trial) == ("pil: PIL and numpy", "none")
