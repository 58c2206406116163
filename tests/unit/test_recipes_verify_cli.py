"""What `vlmprof recipes verify` prints of its checks."""

import pytest

from vlmprof.cli.recipes_verify import _cells, _notes, _refuse_faults
from vlmprof.errors import RecipeMisfit
from vlmprof.model.verification import (
    Pixels,
    PixelsCompared,
    PixelsMismatched,
    PixelsUnseen,
    ProcessorCheck,
    SetVerdict,
    Verification,
)


def _check(pixels: Pixels, *, refused: str = "") -> ProcessorCheck:
    return ProcessorCheck(
        recipes=[1],
        images=["a.jpg"],
        refused=refused,
        refused_without=refused,
        ids_equal=True,
        ranges_equal=True,
        pixels=pixels,
        failures=0,
    )


def _verification(
    *checks: ProcessorCheck, faults: list[str] | None = None, skipped_images: list[str] | None = None
) -> Verification:
    return Verification(
        model="tiny",
        family="SmolVLM, Idefics3",
        engine="vllm 0.32.0",
        packages={},
        verdicts=[SetVerdict(recipes=[1], claims_exact=True, allowed="", faults=faults or [])],
        processor=list(checks),
        server=[],
        skipped={},
        skipped_images=skipped_images or [],
    )


def test_pixels_of_another_shape_count_against_and_those_of_refused_prompts_not_at_all() -> None:
    """Equal, mismatched, refused: 1 of 2 prompts that were taken is alike."""
    result = _verification(
        _check(PixelsCompared(max_difference=0.0, mean_difference=0.0)),
        _check(PixelsMismatched(found="float32 [1]", expected="bfloat16 [1]")),
        _check(PixelsUnseen(reason="the prompt was refused"), refused="ValueError"),
        faults=["a.jpg: pixels are float32 [1] with recipes, bfloat16 [1] without"],
    )
    cells = _cells(result, result.verdicts[0])
    assert cells[:6] == ["1", "3", "3/3", "1/2", "0", "0"]
    assert cells[-1] == "[red]fault[/]"


def test_files_that_are_no_pictures_are_named() -> None:
    names = [f"{number}.txt: not an image that Pillow knows" for number in range(10)]
    [note] = _notes(_verification(skipped_images=names))
    assert note.startswith("skipped, no pictures: 0.txt: not an image that Pillow knows; 1.txt")
    assert note.endswith("7.txt: not an image that Pillow knows; and 2 more")


def test_what_could_not_be_shown_ends_as_a_misfit() -> None:
    with pytest.raises(RecipeMisfit, match="could not be shown not to: in the processor: 0 of 9 prompts"):
        _refuse_faults(_verification(faults=["in the processor: 0 of 9 prompts were checked"]))
    _refuse_faults(_verification())
