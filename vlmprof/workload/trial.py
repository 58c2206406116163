"""The order of a trial: sets of recipes compared inside one server, round by round."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vlmprof.errors import UsageError
from vlmprof.model.arms import BASELINE_ARM, BASELINE_ARMS, REPEAT_ARM
from vlmprof.model.request import Phase
from vlmprof.workload.schedule import WARM_UP_BLOCK, Block

_FEWEST_ROUNDS = 2
# A recipe's first call in a process imports its replacement and fills the allocator's caches.
_WARM_UP_REQUESTS = 2


@dataclass(frozen=True, slots=True)
class TrialSize:
    """How often each arm is measured, and with how many requests each time."""

    rounds: int
    requests_per_block: int


def usual_size(*, alternate: bool) -> TrialSize:
    """A size with which like and like come out as `no difference`: benchmarks/results/compare_aa.md.

    Args:
        alternate: each block starts a server of its own, which takes longer than its requests.
    """
    return TrialSize(8, 8) if alternate else TrialSize(12, 8)


def plan_trial(
    arms: Mapping[str, tuple[int, ...]],
    *,
    rounds: int,
    requests_per_block: int,
    seed: int,
    after: list[Block],
    alternate: bool = False,
    behaviour: str = "",
) -> list[Block]:
    """Blocks of a trial that follow other blocks of the same run.

    Every round has one block of each arm, and of the baseline two, in random order: what drifts slowly meets
    all of them alike. All arms of a round send the same images and prompts, so that their outputs can be
    compared; those of `A2` are the same pictures with other pixels, since the engine's caches would know
    the others again. Between arms with different recipes no cache entry is shared.

    Args:
        arms: name -> recipes; has the baseline `A`, and not `A2`.
        after: blocks sent before; indices and contents go on from theirs.
        alternate: each block is served by a server of its own, for recipes that take part in its start.
        behaviour: the old behaviour that the baseline's requests ask for; those of other arms do not.

    Raises:
        UsageError: fewer than two rounds, or no requests in a block.
    """
    if rounds < _FEWEST_ROUNDS or requests_per_block < 1:
        raise UsageError(
            f"{rounds} rounds of {requests_per_block} requests are no comparison",
            hint=f"--rounds from {_FEWEST_ROUNDS}, --per-block from 1",
        )
    settings = {
        arm: _Setting(recipes, behaviour if arm in BASELINE_ARMS else "")
        for arm, recipes in {**arms, REPEAT_ARM: arms[BASELINE_ARM]}.items()
    }
    trial = _Trial(settings, requests_per_block, after)
    if not alternate:
        for setting in dict.fromkeys(settings.values()):
            trial.warm_up(setting)
    rng = np.random.default_rng([seed, 1])
    for number in range(rounds):
        trial.add_round(number, rng.permutation(list(settings)).tolist(), alternate=alternate)
    return trial.blocks


@dataclass(frozen=True, slots=True)
class _Setting:
    """What an arm stands for: recipes that are on, and the old behaviour that is asked for."""

    recipes: tuple[int, ...]
    behaviour: str


class _Trial:
    """Blocks as they are planned, with the contents and indices that come next."""

    def __init__(self, settings: Mapping[str, _Setting], requests_per_block: int, after: list[Block]) -> None:
        self._settings = settings
        self.blocks: list[Block] = []
        self._requests_per_block = requests_per_block
        self._index = max((block.index for block in after), default=-1) + 1
        self._content = sum(block.request_count for block in after)
        self._server = 0

    def warm_up(self, setting: _Setting) -> None:
        block = Block(
            WARM_UP_BLOCK, Phase.WARM_UP, _WARM_UP_REQUESTS, setting.recipes, behaviour=setting.behaviour
        )
        self.blocks.append(replace(block, first_content=self._content, server=self._server))
        self._content += _WARM_UP_REQUESTS

    def add_round(self, number: int, arms: list[str], *, alternate: bool) -> None:
        """One block of each arm, all with the same contents, which come after those of their warm-ups."""
        contents = self._content + (len(arms) * _WARM_UP_REQUESTS if alternate else 0)
        for arm in arms:
            if alternate:
                self._server += 1
                self.warm_up(self._settings[arm])
            self.blocks.append(
                Block(
                    self._index,
                    Phase.CONTROL,
                    self._requests_per_block,
                    self._settings[arm].recipes,
                    round=number,
                    arm=arm,
                    first_content=contents,
                    server=self._server,
                    behaviour=self._settings[arm].behaviour,
                )
            )
            self._index += 1
        self._content = contents + self._requests_per_block


def contents_needed(blocks: list[Block]) -> int:
    """How many different images and prompts some blocks send, those of `A2` not counted."""
    return max((block.first_content + block.request_count for block in blocks), default=0)
