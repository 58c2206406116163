"""What a recipe would save of a run, concluded from the run's own samples."""

from dataclasses import dataclass
from typing import Literal

from vlmprof.model.results import HotFunction, SummaryResult, read_summary
from vlmprof.model.run_folder import RunFolder
from vlmprof.patching import Diagnosis
from vlmprof.patching.recipe import Diagnose


@dataclass(frozen=True, slots=True)
class Removes:
    """A function whose time a recipe takes away.

    Attributes:
        function: its qualified name.
        time: `total` with all that it calls, or `self` where the calls stay.
        share: the part of that time that goes.
    """

    function: str
    time: Literal["self", "total"] = "total"
    share: float = 1.0


def removing(*removed: Removes) -> Diagnose:
    """A diagnosis that adds up what some functions took on the critical path; none may call another."""

    def diagnose(run: RunFolder) -> Diagnosis:
        functions = _sampled(read_summary(run))
        found = [(each, functions[each.function]) for each in removed if each.function in functions]
        if not found:
            return Diagnosis(saving_ns=None)
        return Diagnosis(
            saving_ns=sum(_saving_ns(each, function) for each, function in found),
            evidence=tuple(_evidence(each, function) for each, function in found),
        )

    return diagnose


def not_diagnosed(_run: RunFolder) -> Diagnosis:
    """For recipes whose work no function of the served model does: there is nothing to save."""
    return Diagnosis(saving_ns=None)


def _sampled(summary: SummaryResult) -> dict[str, HotFunction]:
    """The run's hot functions by name; those of the whole run before those of a single stage."""
    functions: dict[str, HotFunction] = {}
    for of_stage in summary.hot_by_stage.values():
        for function in of_stage:
            functions.setdefault(function.function, function)
    return functions | {function.function: function for function in summary.hot}


def _saving_ns(removed: Removes, function: HotFunction) -> int:
    taken_ns = function.total_ns if removed.time == "total" else function.self_ns
    return round(taken_ns * removed.share)


def _evidence(removed: Removes, function: HotFunction) -> str:
    saving_ms = _saving_ns(removed, function) / 1e6
    return f"{saving_ms:.1f} ms in {function.function} ({function.file}:{function.line})"
