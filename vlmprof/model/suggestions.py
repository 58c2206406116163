"""`results/suggestions.json`: which recipes would save how much of the TTFT, and what shows it."""

import msgspec

from vlmprof.model.results import RESULTS_SCHEMA_VERSION, read_result
from vlmprof.model.run_folder import RunFolder


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """Time that a request's TTFT would lose; negative where it would grow.

    Attributes:
        saving_ns: of the median request.
        low_ns, high_ns: 95% interval, over requests and over what a recipe's claims leave open.
    """

    saving_ns: int
    low_ns: int
    high_ns: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a recipe takes from one function in one stage, mean per request; time_ns < 0 where it adds work.

    Attributes:
        function: empty for bytes that go between processes.
        line: the function's line that takes most of it, 0 where the sampler saw none.
    """

    stage: str
    function: str
    file: str
    line: int
    time_ns: int


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """One recipe that would save something.

    Attributes:
        saving: of this recipe alone, what it needs being on already.
        added: what it would save on top of all that stand above it in the list; None where it cannot be on
            together with one of them, which `conflicts_with` names.
        tested: the smallest set that has it on, as `run --ab` takes it: itself and what it needs.
    """

    number: int
    slug: str
    title: str
    saving: Saving
    added: Saving | None
    conflicts_with: list[int]
    tested: list[int]
    exactness: str
    switching: str
    evidence: list[Evidence]
    command: str
    note: str = ""


class NotSuggested(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe without a predicted saving, and why."""

    number: int
    slug: str
    reason: str


class SuggestionsResult(msgspec.Struct, frozen=True, kw_only=True):
    """The recipes that would help, most first.

    Attributes:
        family: the model family that recipes speak about; empty for a model that none does.
        active: recipes that were on in the requests from which this is concluded.
        ttft_ns: median of those requests.
        requests, sampled_requests: how many there are, and how many of them or of their like were sampled.
        together: all suggestions that can be on at once; None where there is none.
        command: tries them all.
        reason: why nothing is suggested; empty where something is, or where nothing would save anything.
    """

    family: str
    active: list[int]
    ttft_ns: int
    requests: int
    sampled_requests: int
    suggestions: list[Suggestion]
    together: Saving | None
    command: str
    not_suggested: list[NotSuggested]
    reason: str = ""
    schema_version: int = RESULTS_SCHEMA_VERSION


def read_suggestions(folder: RunFolder) -> SuggestionsResult:
    """Read `results/suggestions.json`; raises `FileUnreadable`."""
    return read_result(folder, "suggestions", SuggestionsResult)
