"""What the checks of recipes say: the faults of each set, in plain words.

No evidence is no success: a check that is missing, or that had nothing to compare, is a fault too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vlmprof.model.verification import (
    PixelsCompared,
    PixelsMismatched,
    PixelsUnseen,
    ProcessorCheck,
    ServerCheck,
    SetVerdict,
)
from vlmprof.patching import Exactness, Recipe

_WHERE_TEXTS_ARE_CERTAIN = "float32"


@dataclass(frozen=True, slots=True)
class AllChecks:
    """The checks of all sets, and how many there must be of each.

    Attributes:
        processor_prompts, server_prompts: how many prompts every set was to be checked with.
        dtypes: of the servers.
    """

    processor: Sequence[ProcessorCheck]
    server: Sequence[ServerCheck]
    processor_prompts: int
    server_prompts: int
    dtypes: Sequence[str]


def verdict(numbers: list[int], recipes: Mapping[int, Recipe], checks: AllChecks) -> SetVerdict:
    inexact = [recipes[number] for number in numbers if recipes[number].exactness is not Exactness.EXACT]
    processor = [each for each in checks.processor if each.recipes == numbers]
    server = [each for each in checks.server if each.recipes == numbers]
    faults = [
        *_missing("in the processor", processor, checks.processor_prompts),
        *processor_faults(processor, exact=not inexact),
        *(
            fault
            for dtype in dict.fromkeys(checks.dtypes)
            for fault in _missing(
                f"in the server, {dtype}",
                [each for each in server if each.dtype == dtype],
                checks.server_prompts * checks.dtypes.count(dtype),
            )
        ),
        *server_faults(server, exact=not inexact),
    ]
    return SetVerdict(
        recipes=numbers,
        claims_exact=not inexact,
        allowed=" ".join(
            [*(f"{each.number}: {each.tolerance}" for each in inexact), *_server_alone(numbers, processor)]
        ),
        faults=faults,
    )


def _missing(
    where: str, checks: Sequence[ProcessorCheck] | Sequence[ServerCheck], expected: int
) -> Iterator[str]:
    """Checks that were not made, or that all had nothing to compare."""
    if len(checks) != expected:
        yield f"{where}: {len(checks)} of {expected} prompts were checked"
    if checks and not any(check.taken for check in checks):
        reason = checks[0].refused or checks[0].refused_without
        yield f"{where}: could not be shown: every prompt was refused ({reason})"


def _server_alone(numbers: list[int], processor: Iterable[ProcessorCheck]) -> Iterator[str]:
    """What cannot be seen without the model's weights."""
    if any(isinstance(each.pixels, PixelsCompared) and each.pixels.embedded_raw for each in processor):
        yield (
            f"{','.join(map(str, numbers))}: the patch embedding normalizes, which the processor's check does "
            "not see: a server's texts are the proof."
        )


def processor_faults(checks: Iterable[ProcessorCheck], *, exact: bool) -> Iterator[str]:
    """What is not as it must be, in plain words; values of pixels may differ where the recipes say so."""
    for check in checks:
        where = ", ".join(check.images)
        if not check.same_decision:
            yield f"{where}: {_decision(check.refused, check.refused_without)}"
        if not check.ids_equal:
            yield f"{where}: token ids differ"
        if not check.ranges_equal:
            yield f"{where}: placeholder ranges differ"
        if check.failures:
            yield f"{where}: {check.failures} calls failed and went the engine's own way"
        if check.taken:
            yield from (f"{where}: {fault}" for fault in _pixel_faults(check, exact=exact))


def _pixel_faults(check: ProcessorCheck, *, exact: bool) -> Iterator[str]:
    """A tolerance is about values: another shape or dtype, or no pixels at all, is a fault of any recipe."""
    match check.pixels:
        case PixelsMismatched(found=found, expected=expected):
            yield f"pixels are {found} with recipes, {expected} without"
        case PixelsUnseen(reason=reason):
            yield f"pixels could not be compared: {reason}"
        case PixelsCompared(max_difference=largest) if exact and largest:
            yield f"pixels differ by up to {largest:.3g}"


def server_faults(checks: Sequence[ServerCheck], *, exact: bool) -> Iterator[str]:
    """The same of a server; a greedy text is certain enough to be compared in float32 alone.

    That holds for the same request sent again as well: with its prefix cached, prefill has another shape and
    rounds otherwise, with and without recipes.
    """
    if checks and not any(check.calls for check in checks):
        yield "in the server: never called"
    for check in checks:
        where = f"{', '.join(check.images)} in {check.dtype}"
        certain = check.dtype == _WHERE_TEXTS_ARE_CERTAIN
        if not check.same_decision:
            yield f"{where}: {_decision(check.refused, check.refused_without)}"
        if exact and certain and not check.text_equal:
            yield f"{where}: the greedy text differs"
        if certain and not check.repeat_equal:
            yield f"{where}: the same request gets another answer from the caches"
        if check.failures:
            yield f"{where}: {check.failures} calls failed and went the engine's own way"
        yield from (f"{where}: {fault}" for fault in _cache_faults(check))


def _cache_faults(check: ServerCheck) -> Iterator[str]:
    """That nothing of another set's was served shows only where the cache does answer, and counts that."""
    if check.foreign_hits:
        yield "the multimodal cache gave what was made under other recipes"
    if check.refused:
        return
    if check.hits is None or check.foreign_hits is None:
        yield "caches could not be shown: the engine's /metrics has no count of multimodal cache hits"
    elif check.hits < len(check.images):
        yield (
            f"caches could not be shown: sent again, {check.hits} of {len(check.images)} images came from the "
            "multimodal cache"
        )


def _decision(refused: str, refused_without: str) -> str:
    if refused:
        return f"refused with recipes ({refused}), taken without"
    return f"taken with recipes, refused without ({refused_without})"
