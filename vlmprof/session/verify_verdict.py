"""What the checks of recipes say: the faults of each set, in plain words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from vlmprof.model.verification import ProcessorCheck, ServerCheck, SetVerdict
from vlmprof.patching import Exactness, Recipe


def verdict(
    numbers: list[int],
    recipes: Mapping[int, Recipe],
    processor: Sequence[ProcessorCheck],
    server: Sequence[ServerCheck],
) -> SetVerdict:
    inexact = [recipes[number] for number in numbers if recipes[number].exactness is not Exactness.EXACT]
    faults = [
        *processor_faults((each for each in processor if each.recipes == numbers), exact=not inexact),
        *server_faults([each for each in server if each.recipes == numbers], exact=not inexact),
    ]
    return SetVerdict(
        recipes=numbers,
        claims_exact=not inexact,
        allowed=" ".join(
            [*(f"{each.number}: {each.tolerance}" for each in inexact), *_unseen(numbers, processor)]
        ),
        faults=faults,
    )


def _unseen(numbers: list[int], processor: Iterable[ProcessorCheck]) -> Iterator[str]:
    """What the processor alone cannot show."""
    own = [check for check in processor if check.recipes == numbers]
    if any(check.max_difference is None and not check.refused for check in own):
        yield f"{','.join(map(str, numbers))}: the worker makes the pixels: a server's texts are the proof."


def processor_faults(checks: Iterable[ProcessorCheck], *, exact: bool) -> Iterator[str]:
    """What is not as it must be, in plain words; pixels may differ where the recipes say so."""
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
        if exact and check.max_difference:
            yield f"{where}: pixels differ by up to {check.max_difference:.3g}"


def server_faults(checks: Sequence[ServerCheck], *, exact: bool) -> Iterator[str]:
    """The same of a server; a greedy text is certain enough to be compared in float32 alone.

    That holds for the same request sent again as well: with its prefix cached, prefill has another shape and
    rounds otherwise, with and without recipes.
    """
    if checks and not any(check.calls for check in checks):
        yield "in the server: never called"
    for check in checks:
        where = f"{', '.join(check.images)} in {check.dtype}"
        if not check.same_decision:
            yield f"{where}: {_decision(check.refused, check.refused_without)}"
        if exact and check.dtype == "float32" and not check.text_equal:
            yield f"{where}: the greedy text differs"
        if check.dtype == "float32" and not check.repeat_equal:
            yield f"{where}: the same request gets another answer from the caches"
        if check.foreign_hits:
            yield f"{where}: the multimodal cache gave what was made under other recipes"
        if check.failures:
            yield f"{where}: {check.failures} calls failed and went the engine's own way"


def _decision(refused: str, refused_without: str) -> str:
    if refused:
        return f"refused with recipes ({refused}), taken without"
    return f"taken with recipes, refused without ({refused_without})"
