"""The order of a trial: every arm once a round, the same requests in all of them, other pixels for the repeat."""

import io
from pathlib import Path

import pytest
from PIL import Image

from vlmprof.errors import UsageError
from vlmprof.model.request import Phase
from vlmprof.workload.images import folder_images, generated_images
from vlmprof.workload.schedule import WARM_UP_BLOCK, Block, plan_blocks
from vlmprof.workload.trial import contents_needed, plan_trial

_ARMS = {"A": (), "B": (1, 8)}


def _trial(**changes: object) -> list[Block]:
    options: dict[str, object] = {"rounds": 4, "requests_per_block": 3, "seed": 0, "after": []}
    return plan_trial(_ARMS, **options | changes)  # type: ignore[arg-type]


def _measured(blocks: list[Block]) -> list[Block]:
    return [block for block in blocks if block.round is not None]


def test_every_round_has_each_arm_once_and_the_baseline_twice() -> None:
    """Four rounds of A, A2 and B; B has its recipes on, the others none."""
    blocks = _measured(_trial())
    assert [block.round for block in blocks] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    for number in range(4):
        recipes = {block.arm: block.recipe_set for block in blocks if block.round == number}
        assert recipes == {"A": "", "A2": "", "B": "1,8"}


def test_the_order_within_rounds_is_drawn_by_the_seed() -> None:
    """Over twenty rounds no arm keeps its place; the same seed gives the same order."""
    blocks = _measured(_trial(rounds=20))
    assert {block.arm for block in blocks[::3]} == {"A", "A2", "B"}
    assert _trial(rounds=20) == _trial(rounds=20)
    assert _trial(rounds=20) != _trial(rounds=20, seed=1)


def test_arms_of_a_round_send_the_same_contents_and_rounds_different_ones() -> None:
    """After 10 requests before it and 2 of warm-up for each of two sets, contents start at 14."""
    before = plan_blocks(8, warm_up=2, concurrency=1, seed=0)
    blocks = _trial(after=before)
    firsts = {number: {b.first_content for b in blocks if b.round == number} for number in range(4)}
    assert firsts == {0: {14}, 1: {17}, 2: {20}, 3: {23}}
    assert contents_needed(blocks) == 26
    sent_before = {b.first_content + n for b in before for n in range(b.request_count)}
    assert sent_before == set(range(10))


def test_indices_go_on_and_warm_ups_have_the_arms_recipes() -> None:
    """Two blocks were planned before: the trial's first is number 2; each set is warmed up once."""
    before = plan_blocks(8, warm_up=2, concurrency=1, seed=0)
    blocks = _trial(after=before)
    assert [block.index for block in _measured(blocks)] == list(range(2, 14))
    warm_ups = [block for block in blocks if block.phase == Phase.WARM_UP]
    assert [(block.index, block.recipes) for block in warm_ups] == [
        (WARM_UP_BLOCK, ()),
        (WARM_UP_BLOCK, (1, 8)),
    ]


def test_alternating_servers_serve_one_block_each_after_a_warm_up_of_their_own() -> None:
    """Server 0 serves what came before; twelve more follow, each with two blocks in this order."""
    blocks = _trial(alternate=True)
    assert [block.server for block in blocks] == [server for server in range(1, 13) for _ in range(2)]
    assert all(first.phase == Phase.WARM_UP for first in blocks[::2])
    assert all(
        first.recipes == second.recipes for first, second in zip(blocks[::2], blocks[1::2], strict=True)
    )
    contents = [b.first_content + n for b in blocks for n in range(b.request_count) if b.arm in ("", "A")]
    assert len(contents) == len(set(contents))


@pytest.mark.parametrize("wrong", [{"rounds": 1}, {"requests_per_block": 0}])
def test_too_little_to_compare_is_refused(wrong: dict[str, int]) -> None:
    """One round has no spread, and a block without requests has nothing."""
    with pytest.raises(UsageError, match="are no comparison"):
        _trial(**wrong)


def _pixels(content: bytes) -> bytes:
    return Image.open(io.BytesIO(content)).convert("RGB").tobytes()


def test_a_repeated_picture_of_a_folder_has_pixels_that_nothing_else_has(tmp_path: Path) -> None:
    """Two files, five images: three rounds of the files, then three more for the repeats; sizes stay."""
    for number in range(2):
        noise = Image.effect_noise((64 + 16 * number, 48), 80).convert("RGB")
        noise.save(tmp_path / f"{number}.jpg", quality=90)
    images = folder_images(tmp_path, 5, repeatable=True)
    plain = [_pixels(image.content) for image in images]
    repeated = [images.repeated(index) for index in range(5)]
    assert len({*plain, *(_pixels(image.content) for image in repeated)}) == 10
    assert [image.info.width for image in repeated] == [64, 80, 64, 80, 64]


def test_a_repeated_generated_picture_is_another_one_of_the_same_size() -> None:
    """The series of another seed."""
    images = generated_images(3, 0, 64, 48)
    assert images.repeated(1).info.width == 64
    assert _pixels(images.repeated(1).content) not in [_pixels(image.content) for image in images]


def test_the_baselines_requests_alone_ask_for_the_old_behaviour() -> None:
    """A and A2 do, B does not: with equal recipes each of the two is warmed up all the same."""
    blocks = plan_trial({"A": (), "B": ()}, rounds=2, requests_per_block=1, seed=0, after=[], behaviour="pil")
    asked = {block.arm: block.behaviour for block in blocks if block.round is not None}
    assert asked == {"A": "pil", "A2": "pil", "B": ""}
    assert [block.behaviour for block in blocks if block.round is None] == ["pil", ""]


def test_blocks_outside_a_trial_ask_for_it_too() -> None:
    """The profile is of the baseline."""
    assert {
        block.behaviour for block in plan_blocks(8, warm_up=1, concurrency=1, seed=0, behaviour="pil")
    } == {"pil"}
