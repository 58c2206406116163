"""A run folder with a ladder of three rows, of which one has nothing to switch on, and two ablations."""

from pathlib import Path

from tests.unit.synthetic_ab_run import AbRun, write_ab_run
from vlmprof.model.ladder import LadderResult, LadderStep, PaperFigures
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.suggestions import Saving
from vlmprof.session.compare import compare_arms

MS = 1_000_000
ARMS = {
    "A": {},
    "A2": {},
    "+1": {"image_transform": 0.4},
    "+1,10": {"image_transform": 0.4, "vision_encoder": 0.6},
    "all-1": {"vision_encoder": 0.6},
}


def write_synthetic_ladder(path: Path, *, hostile: str = "") -> RunFolder:
    """Recipe 1 saves 23 ms of the image transform, 10 saves 43 ms of the encoder; 3 needs a GPU."""
    folder = write_ab_run(path, AbRun(arms=ARMS, rounds=4, hostile=hostile))
    paper = [
        PaperFigures(
            ttft_ms=t,
            tokens_per_s=420.9,
            e2e_ms=151.3,
            ttft_change=t / 344.7 - 1,
            tokens_per_s_change=-0.09,
            e2e_change=-0.65,
        )
        for t in (71.9, 59.7, 29.5)
    ]
    steps = [
        _step(folder, "+1", "+ 1" + hostile, [1], paper=paper[0], saving_ms=24),
        LadderStep(
            arm="",
            title="+ 3" + hostile,
            named=[3],
            added=[],
            recipes=[1],
            left_out={3: f"no GPU here {hostile}"},
            paper=paper[1],
        ),
        _step(folder, "+1,10", "+ 10" + hostile, [1, 10], paper=paper[2], saving_ms=90),
    ]
    result = LadderResult(
        model="smolvlm-256m-small" + hostile,
        family="smolvlm" + hostile,
        paper_table="Table 2, SmolVLM-256M" + hostile,
        rounds=4,
        requests_per_block=5,
        steps=steps,
        ablations=[_step(folder, "all-1", "all but 1" + hostile, [10], paper=None, saving_ms=43)],
    )
    folder.write_result("ladder", result)
    return folder


def _step(
    folder: RunFolder,
    arm: str,
    title: str,
    recipes: list[int],
    *,
    paper: PaperFigures | None,
    saving_ms: int,
) -> LadderStep:
    return LadderStep(
        arm=arm,
        title=title,
        named=recipes[-1:],
        added=recipes[-1:],
        recipes=recipes,
        left_out={},
        paper=paper,
        comparison=compare_arms(folder, trial=arm),
        predicted=Saving(saving_ns=saving_ms * MS, low_ns=(saving_ms - 5) * MS, high_ns=(saving_ms + 5) * MS),
    )
