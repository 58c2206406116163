"""When requests are sent: blocks of control and profiled requests in turn, and the load within a block."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from vlmprof.errors import UsageError
from vlmprof.model.request import Phase
from vlmprof.units import NS_PER_S

WARM_UP_BLOCK = -1
_USUAL_BLOCK = 5
_MOST_PAIRS = 10
_MOST_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Block:
    """Requests sent without a pause, all under the same conditions; index -1 is the warm-up.

    Attributes:
        recipes: numbers of the recipes that are on.
        round, arm: for a block of a trial, see `vlmprof.workload.trial`.
        behaviour: the old behaviour that its requests ask for, as `--baseline` names it; empty for the engine
            as it is.
        first_content: index of the image and prompt of its first request; blocks of two arms with the same
            one send the same requests.
        server: which server process serves it, from 0; all blocks of a trial that is switched live share one.
    """

    index: int
    phase: Phase
    request_count: int
    recipes: tuple[int, ...] = ()
    round: int | None = None
    arm: str = ""
    first_content: int = 0
    server: int = 0
    behaviour: str = ""

    @property
    def recipe_set(self) -> str:
        """The recipes as a run's tables name them: `1,2,8`."""
        return ",".join(map(str, self.recipes))


def plan_blocks(
    requests: int,
    *,
    warm_up: int,
    concurrency: int,
    seed: int,
    recipes: tuple[int, ...] = (),
    behaviour: str = "",
) -> list[Block]:
    """Divide a run's requests into a warm-up and interleaved pairs of a control and a profiled block.

    `requests` counts control and profiled requests together, half and half; an odd one goes to the control,
    whose times are the headline. A block has at least `2 * concurrency` requests, so that at most half of
    them run beside fewer others while the block fills and drains, and five where there are enough. Up to
    ten pairs: 40 requests make 4 pairs of blocks of 5 at concurrency 1, and 2 pairs of 10 at concurrency 4.

    Two pairs in a row are ABBA or BAAB, drawn by the seed, which cancels a linear drift of the server;
    a last odd pair is AB or BA.

    Raises:
        UsageError: too few requests for one pair, or a negative warm-up.
    """
    _check_plan(requests, warm_up, concurrency)
    pairs = min(max(requests // (2 * max(2 * concurrency, _USUAL_BLOCK)), 1), _MOST_PAIRS)
    left = {
        Phase.CONTROL: _shares(requests - requests // 2, pairs),
        Phase.PROFILED: _shares(requests // 2, pairs),
    }
    of_all = Block(WARM_UP_BLOCK, Phase.WARM_UP, warm_up, recipes, behaviour=behaviour)
    blocks = [of_all] if warm_up else []
    sent = warm_up
    for index, phase in enumerate(_interleaved(pairs, seed)):
        count = left[phase].pop(0)
        blocks.append(replace(of_all, index=index, phase=phase, request_count=count, first_content=sent))
        sent += count
    return blocks


def _check_plan(requests: int, warm_up: int, concurrency: int) -> None:
    if concurrency < 1 or warm_up < 0:
        raise UsageError(
            f"cannot plan {warm_up} warm-up requests at concurrency {concurrency}",
            hint="--warmup from 0, --concurrency from 1",
        )
    if requests < 4 * concurrency:
        raise UsageError(
            f"{requests} requests are too few at concurrency {concurrency}: "
            f"a control and a profiled block need {2 * concurrency} each",
            hint=f"pass --requests {4 * concurrency} or more, or a lower --concurrency",
        )


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (part < total % parts) for part in range(parts)]


def _interleaved(pairs: int, seed: int) -> list[Phase]:
    rng = np.random.default_rng(seed)
    phases: list[Phase] = []
    while len(phases) < 2 * pairs:
        first, second = (
            (Phase.CONTROL, Phase.PROFILED) if rng.random() < 0.5 else (Phase.PROFILED, Phase.CONTROL)
        )
        phases += [first, second, second, first]
    return phases[: 2 * pairs]


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A fixed number of clients, each sending its next request when the last one has ended."""

    concurrency: int = 1

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise UsageError(
                f"concurrency {self.concurrency} sends nothing", hint="pass --concurrency 1 or more"
            )

    @property
    def connections(self) -> int:
        """How many connections the load is known to need."""
        return self.concurrency


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Requests sent at given moments, whether or not earlier ones have ended.

    Attributes:
        poisson: exponential gaps between requests, as from many independent users; else equal ones.
        seed: the gaps are the same for the same seed and block.
    """

    rate_per_s: float
    poisson: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate_per_s) and self.rate_per_s > 0):
            raise UsageError(f"a rate of {self.rate_per_s} requests/s", hint="pass --rate a number above 0")

    @property
    def connections(self) -> int:
        """Connections to open beforehand: enough while requests take a second; more are opened as needed."""
        return min(math.ceil(self.rate_per_s), _MOST_CONNECTIONS)

    def offsets_ns(self, count: int, block_index: int) -> Iterator[int]:
        """When each request of a block is sent, after the block's start; the first at 0."""
        rng = np.random.default_rng([self.seed, block_index - WARM_UP_BLOCK])
        offset_s = 0.0
        for _ in range(count):
            yield round(offset_s * NS_PER_S)
            offset_s += rng.exponential() / self.rate_per_s if self.poisson else 1 / self.rate_per_s


Load = ClosedLoop | OpenLoop
