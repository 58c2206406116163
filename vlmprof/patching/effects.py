"""What a recipe changes in a request's time: claims about functions and bytes, weighed on a run's own samples."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Removes:
    """A function whose time a recipe takes away.

    Attributes:
        function: its qualified name as a sampler gives it; alternatives are divided by `|`, each a shell pattern.
        time: `total` with all that it calls, or `self` where the calls stay.
        share: how much of that time goes. Shares that several recipes take of one function add up, to at most
            the whole, unless they name the same `part`.
        at: only while a line that holds this text is the one executing; where the source cannot be read, or
            no line of the function holds it, the claim is not made.
        spread: how far the share may be off either way.
        under: only below a function of this name, a pattern like `function`.
        part: names what part of the function's time it is, where another recipe takes the same one: of claims
            about one part the largest counts.
        without_bfloat16: only where the model runs on a CPU that cannot multiply bfloat16.
    """

    function: str
    time: Literal["self", "total"] = "total"
    share: float = 1.0
    at: str = ""
    spread: float = 0.0
    under: str = ""
    part: str = ""
    without_bfloat16: bool = False


@dataclass(frozen=True, slots=True)
class Adds:
    """Work that a recipe does instead: as long as a share of what a function takes without it.

    Attributes:
        like: the function, as in `Removes`, with all that it calls.
        on_device: where the model runs on a GPU, the GPU does it, so fast that nothing is added.
        unless: number of a recipe that leaves this work out again; 0 for none.
    """

    like: str
    share: float
    spread: float = 0.0
    on_device: bool = False
    unless: int = 0


@dataclass(frozen=True, slots=True)
class SendsLess:
    """Bytes that no longer go from the API server to the worker.

    Attributes:
        share: of the tensors' bytes that go without any recipe; shares of several recipes add up.
    """

    share: float
    spread: float = 0.0


Effect = Removes | Adds | SendsLess


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a recipe would change in a run.

    Attributes:
        effects: none where there is nothing that samples or bytes could show.
        note: what the numbers leave out, for people.
    """

    effects: tuple[Effect, ...] = ()
    note: str = ""
