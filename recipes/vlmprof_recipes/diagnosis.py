"""How a recipe says what it would change in a run."""

from collections.abc import Mapping

from vlmprof.model.run_folder import RunFolder
from vlmprof.patching import Adds, Diagnosis, Effect, Family, Removes, SendsLess, family_of
from vlmprof.patching.recipe import Diagnose

__all__ = ["Adds", "Removes", "SendsLess", "changing", "not_diagnosed", "removing"]


def changing(by_family: Mapping[Family, tuple[Effect, ...]], *, note: str = "") -> Diagnose:
    """A diagnosis that makes the claims of the served model's family; of what a run lacks, nothing is saved."""

    def diagnose(run: RunFolder) -> Diagnosis:
        model = run.read_info().model
        architectures = [model.architecture] if model.architecture else []
        family = family_of({"architectures": architectures, "model_type": model.model_type})
        return Diagnosis(effects=by_family.get(family, ()) if family else (), note=note)

    return diagnose


def removing(*effects: Effect, note: str = "") -> Diagnose:
    """A diagnosis that makes the same claims about every family."""
    diagnosis = Diagnosis(effects=effects, note=note)

    def diagnose(_run: RunFolder) -> Diagnosis:
        return diagnosis

    return diagnose


def not_diagnosed(_run: RunFolder) -> Diagnosis:
    """For recipes whose work no function of the served model does: there is nothing to save."""
    return Diagnosis()
