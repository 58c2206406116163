"""Whether two sides said the same."""

from vlmprof.analysis.compare_requests import ComparedRequest, Requests, same_requests
from vlmprof.model.comparison import FirstDifference, OutputEquality

_SHOWN_BEFORE, _SHOWN = 20, 80
_NOT_COMPARED = (
    "no request of one side was sent on the other with the same image and prompt; "
    "`vlmprof recipes verify` proves that recipes leave outputs as they are"
)


def output_equality(baseline: Requests, trial: Requests, why_not: str = "") -> OutputEquality:
    """Compare the texts of requests that carried the same image and prompt.

    Args:
        why_not: why texts would differ though the model said the same; empty for no reason.
    """
    if why_not:
        return OutputEquality(compared=0, equal=0, note=why_not)
    pairs = [(lower, upper) for lower, upper in same_requests(baseline, trial) if lower.text or upper.text]
    if not pairs:
        return OutputEquality(compared=0, equal=0, note=_NOT_COMPARED)
    different = [(lower, upper) for lower, upper in pairs if lower.text != upper.text]
    return OutputEquality(
        compared=len(pairs),
        equal=len(pairs) - len(different),
        first_difference=_first_difference(*different[0]) if different else None,
    )


def _first_difference(lower: ComparedRequest, upper: ComparedRequest) -> FirstDifference:
    at = _common_prefix(lower.text, upper.text)
    shown = slice(max(0, at - _SHOWN_BEFORE), at + _SHOWN)
    return FirstDifference(
        image=", ".join(lower.images),
        baseline_request=lower.id,
        trial_request=upper.id,
        at=at,
        baseline_text=lower.text[shown],
        trial_text=upper.text[shown],
    )


def _common_prefix(lower: str, upper: str) -> int:
    """How many characters two texts have in common from their start."""
    pairs = enumerate(zip(lower, upper, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(lower), len(upper)))
