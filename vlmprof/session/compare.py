"""Comparing run folders: what `vlmprof compare`, `run --ab` and the ladder call."""

from collections.abc import Sequence
from pathlib import Path

from vlmprof.analysis.compare import ComparedRun, compare_arms_of, compare_runs
from vlmprof.errors import UsageError
from vlmprof.model.arms import BASELINE_ARM, TRIAL_ARM
from vlmprof.model.comparison import Comparison, ComparisonResult
from vlmprof.model.results import read_breakdown
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import read_table


def compare_arms(run: RunFolder, baseline: str = BASELINE_ARM, trial: str = TRIAL_ARM) -> Comparison:
    """Compare two arms of one server.

    Raises:
        UsageError: the run has no such arm, or no round in which both served a request.
        FileUnreadable: the run's results cannot be read.
    """
    return compare_arms_of(read_compared_run(run), baseline, trial)


def compare_folders(runs: Sequence[RunFolder]) -> ComparisonResult:
    """Compare the arms of one run, or the first of several runs with each other one.

    Raises:
        UsageError: one run without arms, or nothing to compare.
        FileUnreadable: a run's results cannot be read.
    """
    first, *others = [read_compared_run(run) for run in runs]
    if others:
        return ComparisonResult(comparisons=[compare_runs(first, other) for other in others])
    trials = first.trials or first.arms[1:]
    if not trials:
        raise UsageError(
            f"{first.path} has no arms to compare with one another",
            hint="name a second run, or record one with arms: vlmprof run MODEL --ab all",
        )
    return ComparisonResult(comparisons=[compare_arms_of(first, first.arms[0], trial) for trial in trials])


def read_compared_run(folder: RunFolder) -> ComparedRun:
    """What a comparison needs of a run folder; raises `FileUnreadable`."""
    return ComparedRun(
        path=str(folder.path),
        info=folder.read_info(),
        requests=read_table(folder, "requests"),
        breakdown=read_breakdown(folder),
    )


def output_folder(runs: Sequence[RunFolder], out: Path | None) -> RunFolder:
    """Where a comparison is written: the last run's own folder, or another one."""
    return RunFolder(out) if out is not None else runs[-1]
