"""How a recipe says what it would change in a run."""

from vlmprof.model.run_folder import RunFolder
from vlmprof.patching import Adds, Diagnosis, Effect, Removes, SendsLess
from vlmprof.patching.recipe import Diagnose

__all__ = ["Adds", "Removes", "SendsLess", "changing", "not_diagnosed", "removing"]


def changing(*effects: Effect, note: str = "") -> Diagnose:
    """A diagnosis that makes the same claims about every run; of what a run does not show, nothing is saved."""
    diagnosis = Diagnosis(effects=effects, note=note)

    def diagnose(_run: RunFolder) -> Diagnosis:
        return diagnosis

    return diagnose


removing = changing


def not_diagnosed(_run: RunFolder) -> Diagnosis:
    """For recipes whose work no function of the served model does: there is nothing to save."""
    return Diagnosis()
