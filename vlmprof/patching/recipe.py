"""What a recipe is: the change that it makes, where it fits, what it needs and whether outputs stay equal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vlmprof.model.run_folder import RunFolder
from vlmprof.patching.effects import Diagnosis
from vlmprof.patching.family import Family
from vlmprof.patching.fits import Fits
from vlmprof.patching.launch import Launch
from vlmprof.patching.old_behaviour import OldBehaviour
from vlmprof.patching.patch import Patch


class Need(StrEnum):
    """Whether an engine and model still gain from a recipe."""

    NEEDED = "needed"
    UPSTREAM = "upstream"
    FLAG = "flag"
    NOT_APPLICABLE = "not applicable"


class Switching(StrEnum):
    """When a recipe can be switched: between two requests, or by starting another server."""

    LIVE = "live"
    RESTART = "restart"


class Exactness(StrEnum):
    """Whether pixels, ids and ranges stay bit-identical, or within a tolerance that the recipe states."""

    EXACT = "exact"
    TOLERANCE = "tolerance"


@dataclass(frozen=True, slots=True)
class Standing:
    """A recipe's row for one family: whether it is needed, and the place that shows it.

    Attributes:
        where: the function that does the work today, the flag that replaces the recipe, or the reason.
    """

    need: Need
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A recipe's row for one family as it is in earlier versions of the engine.

    Attributes:
        fits: the versions, of the engine first: where that is installed, this row holds.
        patches: what is replaced there; nothing where the recipe has no patch for it.
        standing: None where it is that of later versions.
    """

    fits: tuple[Fits, ...]
    patches: tuple[Patch, ...] = ()
    standing: Standing | None = None


Diagnose = Callable[[RunFolder], Diagnosis]
PrepareLaunch = Callable[[Path], Launch]
"""Makes ready what a server needs, which may take minutes, and says how to start it; raises ToolMissing.

Called with the server's interpreter, which need not be this one.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One change to the served engine.

    Attributes:
        number: 1 to 12 are the paper's, later ones our own; also its bit in the live switch.
        paper: what the paper says; here: what that means in today's engine.
        processes: where its patches act: `api_server`, `worker`.
        needs, conflicts: numbers of recipes that must, or must not, be on with it.
        tolerance: for a recipe that is not exact, by how much outputs may differ and why.
        fits: versions that the patches of a family were written for.
        patches: of each family; absent where no change of ours is left to make: `standing` says why.
        earlier: rows of families whose engine was another one; `as_in` of `versions` puts them in their place.
        launch: for a recipe that is switched by restart, how a server of an interpreter is started with it.
        baseline: for a recipe that an engine has upstream, the old behaviour, by the family that it is old for.
        no_baseline: why another family has none, where that is known.
    """

    number: int
    slug: str
    title: str
    paper: str
    here: str
    standing: Mapping[Family, Standing]
    diagnose: Diagnose
    processes: tuple[str, ...] = ()
    switching: Switching = Switching.LIVE
    exactness: Exactness = Exactness.EXACT
    tolerance: str = ""
    needs: tuple[int, ...] = ()
    conflicts: tuple[int, ...] = ()
    fits: Mapping[Family, tuple[Fits, ...]] = field(default_factory=dict)
    patches: Mapping[Family, tuple[Patch, ...]] = field(default_factory=dict)
    earlier: Mapping[Family, Earlier] = field(default_factory=dict)
    launch: PrepareLaunch | None = None
    baseline: Mapping[Family, OldBehaviour] = field(default_factory=dict)
    no_baseline: Mapping[Family, str] = field(default_factory=dict)

    def fits_for(self, family: Family) -> tuple[Fits, ...]:
        """Versions that the patches of a family were written for; empty where it has none."""
        return self.fits.get(family, ())

    def patches_for(self, family: Family) -> tuple[Patch, ...]:
        """What the recipe replaces in an engine that serves a family; empty where nothing is left to change."""
        return self.patches.get(family, ())
