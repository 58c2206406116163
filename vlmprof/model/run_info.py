"""`run.json`: what was run, on what, how it was measured, and how far the result can be trusted.

A newer version may add fields; those that this version does not know are ignored when it reads a file.
"""

from typing import Any

import msgspec

SCHEMA_VERSION = 1
IMPORTED = "imported"
"""Name of the model in a run that was made from other programs' files: they do not say it."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    path: str = ""
    model_type: str = ""
    architecture: str = ""
    dtype: str = ""


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The serving engine: `command` is the argument list as started, `python` its interpreter's version."""

    name: str
    version: str
    command: list[str]
    python: str = ""
    packages: dict[str, str] = {}
    device: str = "cpu"


class GpuInfo(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    memory_bytes: int
    driver: str


class HostInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The serving machine.

    Attributes:
        multiplies_bfloat16: whether oneDNN has bfloat16 kernels for its CPU; None where nobody looked.
    """

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    os: str
    gpus: list[GpuInfo] = []
    multiplies_bfloat16: bool | None = None


class RecipeUse(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe that was on in at least one block.

    Attributes:
        calls: how often its replacements were called while it was on, or failed when it was off, per role of the
            process.
        failures: how many of those calls raised and were served by the engine's own way.
        gave_way: in how many others nothing was done of the recipe's work; reasons: why not.
    """

    number: int
    slug: str
    calls: dict[str, int] = {}
    failures: int = 0
    gave_way: int = 0
    reasons: list[str] = []

    @property
    def acted(self) -> int:
        """In how many calls it did its work."""
        return sum(self.calls.values()) - self.failures - self.gave_way


class BaselineUse(msgspec.Struct, frozen=True, kw_only=True):
    """The old behaviour that a run starts from.

    Attributes:
        name: as `--baseline` takes it; title: what does the work then.
        recipe: number of the recipe that made it the old one.
        span: name of the span that every request has which was served so.
        asked: requests that asked for it and were answered; acted: those of them that have the span.
        elsewhere: requests that did not ask for it and have the span all the same.
    """

    name: str
    title: str
    recipe: int
    span: str
    asked: int = 0
    acted: int = 0
    elsewhere: int = 0


class BlockInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One planned block of requests; its requests carry `index` as their `block`.

    Attributes:
        recipe_set: numbers of the recipes that are on, `1,2,8`; empty for none.
        round: blocks of one round are compared with one another: each arm comes once in it, in random order;
            None for blocks that take part in no comparison (warm-up, profiled and plain control blocks).
        arm: what the block stands for in its round: `A` the baseline, `A2` the baseline once more, whose
            difference to `A` is the noise floor, else the name of a set under trial: `B`, or a ladder's step.
        server: which of the run's server processes served it, from 0.
        behaviour: name of the old behaviour that its requests ask for; empty for the engine as it is.
    """

    index: int
    phase: str
    recipe_set: str = ""
    round: int | None = None
    arm: str = ""
    server: int = 0
    behaviour: str = ""


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Why no cache flatters the result: whether images repeat, and what the engine's own counters said."""

    distinct_images: bool
    distinct_prompts: bool
    note: str
    counters: dict[str, float] = {}


class WorkloadInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly one of `image_source` or `load_command` says where the requests came from."""

    image_source: str
    prompt: str
    requests: int
    warm_up: int
    concurrency: int
    rate_per_s: float | None
    max_tokens: int
    seed: int
    load_command: str = ""
    skipped_images: list[str] = []


class CollectorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One collector: state is `ok`, `partial`, `missing` or `off`; detail says why."""

    name: str
    kind: str
    version: str = ""
    state: str = "ok"
    reason: str = ""
    detail: str = ""
    command: list[str] = []


class ClockEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """How one source was put on the session clock, and what a witness that took no part in it says.

    `witness_p95_ns` is the 95th percentile of the absolute difference that the independent check found;
    None where no witness was to be had.
    """

    source: str
    method: str
    offset_ns: int
    drift_ppm: float
    uncertainty_ns: int
    witness: str = ""
    witness_count: int = 0
    witness_p50_ns: int | None = None
    witness_p95_ns: int | None = None
    detail: dict[str, Any] = {}


class RatioInterval(msgspec.Struct, frozen=True, kw_only=True):
    """A paired ratio with its bootstrap confidence interval, and the noise floor from like against like."""

    ratio: float
    low: float
    high: float
    pairs: int
    confidence: float = 0.95
    noise_low: float | None = None
    noise_high: float | None = None


class SourceQuality(msgspec.Struct, frozen=True, kw_only=True):
    """What is known to be missing or wrong in one source's data."""

    source: str
    samples: int = 0
    samples_missed: int = 0
    errors: int = 0
    dropped: int = 0
    truncated: bool = False
    note: str = ""


class AgentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The agent in one served process: boundaries that it found and those this engine version lacks."""

    pid: int
    role: str
    patched: int
    missing: list[str] = []
    dropped: int = 0
    span_cost_ns: int | None = None


class StepInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the run: `start_server`, `warm_up`, `block 3 (profiled)`; session clock."""

    name: str
    start_ns: int
    end_ns: int | None = None


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of run.json.

    Attributes:
        status: `running`, `complete`, `partial`, `failed`, or `invalid` where a recipe that was on, or the
            baseline, never acted; `error` says why.
        baseline: the old behaviour that the run, or a trial's baseline, was asked for; None for none.
        warnings: what happened while the run was made; analysis_warnings: what its analysis found, replaced by
            the next analysis.
        attached_to: URL of the server that somebody else started; empty for one that the run started.
    """

    schema_version: int
    vlmprof_version: str
    name: str
    status: str
    created_unix_ns: int
    command: list[str]
    model: ModelInfo
    host: HostInfo
    engine: EngineInfo | None = None
    workload: WorkloadInfo | None = None
    cache_policy: CachePolicy | None = None
    recipes: list[RecipeUse] = []
    baseline: BaselineUse | None = None
    blocks: list[BlockInfo] = []
    collectors: list[CollectorInfo] = []
    clocks: list[ClockEvidence] = []
    overhead: RatioInterval | None = None
    quality: list[SourceQuality] = []
    agents: list[AgentInfo] = []
    steps: list[StepInfo] = []
    warnings: list[str] = []
    analysis_warnings: list[str] = []
    error: str = ""
    attached_to: str = ""

    @property
    def on_gpu(self) -> bool:
        """Whether the model ran on a GPU; what other tools recorded did."""
        return self.engine is None or self.engine.device != "cpu"

    @property
    def baseline_told(self) -> str:
        """The old behaviour that was asked for, for people: `baseline pil (PIL and numpy)`; empty for none."""
        return f"baseline {self.baseline.name} ({self.baseline.title})" if self.baseline else ""

    @property
    def all_warnings(self) -> list[str]:
        """Every warning once."""
        return list(dict.fromkeys([*self.warnings, *self.analysis_warnings]))
