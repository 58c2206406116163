"""What a run was asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from vlmprof.workload.prompts import DEFAULT_PROMPT


class Progress(Protocol):
    """Where a session says what it is doing; the terminal shows it, a test may ignore it."""

    def step(self, title: str) -> None:
        """A new step has begun."""

    def detail(self, text: str) -> None:
        """What the current step is at."""

    def note(self, text: str) -> None:
        """Something that the user should know, and that stays on the screen."""


class Silent:
    """Shows nothing."""

    def step(self, title: str) -> None: ...

    def detail(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of `vlmprof run`; every default is the command line's.

    Attributes:
        out: the run folder, which must not hold a run yet unless `overwrite` or `resume` is set.
        images: folder of pictures; None for generated ones.
        requests: control and profiled requests together.
        rate_per_s: send at this rate, Poisson, instead of `concurrency` at a time.
        load_command: a load generator of the user's own, in the place of requests of ours.
        python: interpreter that has the engine.
        keep_reports: keep nsys's own reports, which hold the server's environment.
        recipes: on throughout, `1,2,8`, `all` or `exact`; in a trial, the baseline.
        baseline: name of an old behaviour that the engine is asked for: throughout, or in a trial by its baseline.
        trial: arms to compare with the baseline inside one server, name -> recipes.
        resume: go on with the run of the same plan in `out`, if one was cut off there.
        rounds, per_block: how often each arm of a trial is measured, with how many requests each time per client;
            None for the trial's usual size.
    """

    model: str
    out: Path
    command: list[str]
    images: Path | None = None
    prompt: str = DEFAULT_PROMPT
    requests: int = 40
    warm_up: int = 4
    concurrency: int = 1
    rate_per_s: float | None = None
    max_tokens: int = 16
    seed: int = 0
    load_command: str = ""
    cpu_profiler: str = "auto"
    gpu_profiler: str = "auto"
    interval_ns: int = 2_000_000
    austin: Path | None = None
    python: Path | None = None
    port: int | None = None
    ready_timeout_s: float = 900.0
    keep_reports: bool = False
    overwrite: bool = False
    resume: bool = False
    recipes: str = ""
    baseline: str = ""
    trial: Mapping[str, str] = field(default_factory=dict)
    rounds: int | None = None
    per_block: int | None = None
    engine_args: list[str] = field(default_factory=list)
