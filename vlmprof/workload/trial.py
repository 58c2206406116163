"""The order of a trial: sets of recipes compared inside one server, round by round."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from vlmprof.errors import UsageError
from vlmprof.model.request import Phase
from vlmprof.workload.schedule import WARM_UP_BLOCK, Block

BASELINE_ARM = "A"
REPEAT_ARM = "A2"
"""The baseline once more: what its blocks differ by from those of `A` is the noise floor."""
BASELINE_ARMS = (BASELINE_ARM, REPEAT_ARM)
TRIAL_ARM = "B"

_FEWEST_ROUNDS = 2
# A recipe's first call in a process imports its replacement and fills the allocator's caches.
_WARM_UP_REQUESTS = 2


def plan_trial(
    arms: Mapping[str, tuple[int, ...]],
    *,
    rounds: int,
    requests_per_block: int,
    seed: int,
    after: list[Block],
) -> list[Block]:
    """Blocks of a trial that follow other blocks of the same run.

    Every round has one block of each arm, and of the baseline two, in random order: what drifts slowly meets
    all of them alike. All arms of a round send the same images and prompts, so that their outputs can be
    compared; those of `A2` are the same pictures with other pixels, since the engine's caches would know
    the others again. Between arms with different recipes no cache entry is shared.

    Args:
        arms: name -> recipes; has the baseline `A`, and not `A2`.
        after: blocks sent before; indices and contents go on from theirs.

    Raises:
        UsageError: fewer than two rounds, or no requests in a block.
    """
    if rounds < _FEWEST_ROUNDS or requests_per_block < 1:
        raise UsageError(
            f"{rounds} rounds of {requests_per_block} requests are no comparison",
            hint=f"--rounds from {_FEWEST_ROUNDS}, --per-block from 1",
        )
    sets = {**arms, REPEAT_ARM: arms[BASELINE_ARM]}
    index = max((block.index for block in after), default=-1) + 1
    content = sum(block.request_count for block in after)
    blocks = []
    for recipes in dict.fromkeys(arms.values()):
        blocks.append(Block(WARM_UP_BLOCK, Phase.WARM_UP, _WARM_UP_REQUESTS, recipes, first_content=content))
        content += _WARM_UP_REQUESTS
    rng = np.random.default_rng([seed, 1])
    names = list(sets)
    for number in range(rounds):
        for arm in rng.permutation(names).tolist():
            block = Block(index, Phase.CONTROL, requests_per_block, sets[arm])
            blocks.append(replace(block, round=number, arm=arm, first_content=content))
            index += 1
        content += requests_per_block
    return blocks


def contents_needed(blocks: list[Block]) -> int:
    """How many different images and prompts some blocks send, those of `A2` not counted."""
    return max((block.first_content + block.request_count for block in blocks), default=0)
