"""`results/comparison.json`: what changed between two arms of one server, or between runs.

Every file carries `schema_version`; a newer version may add fields, and those that this version does not
know are ignored. Times are ns; a difference is trial minus baseline, a ratio trial to baseline.
"""

from enum import StrEnum

import msgspec

from vlmprof.model.results import RESULTS_SCHEMA_VERSION, read_result
from vlmprof.model.run_folder import RunFolder


class Verdict(StrEnum):
    """What a comparison shows; the rule is in `vlmprof.analysis.compare_verdict`."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_DIFFERENCE = "no difference"
    INCONCLUSIVE = "inconclusive"


class Scope(StrEnum):
    """What the two sides shared: a server, in which drift cancels, servers started in turn, or nothing."""

    ONE_SERVER = "one server"
    ALTERNATING_SERVERS = "alternating servers"
    TWO_SERVERS = "two servers"


class GateOutcome(StrEnum):
    PASSED = "passed"
    VIOLATED = "violated"
    UNDECIDED = "undecided"
    UNMEASURED = "not measured"


class ComparedSide(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a comparison.

    Attributes:
        label: the arm, or the run's name.
        run: the run's folder; name: its name.
        arm: empty where a whole run is compared.
        behaviour: the old behaviour that the engine was asked for; empty for the engine as it is.
        requests: those that are compared: of the control blocks, with a first token and without an error.
        left_out: requests of the same blocks that failed, or that found no partner; failed: the former of them.
        invalid: why the run is invalid, as where a recipe that was on was never called; empty where it is not.
    """

    label: str
    run: str
    name: str
    arm: str = ""
    recipe_set: str = ""
    behaviour: str = ""
    requests: int
    left_out: int = 0
    failed: int = 0
    blocks: int
    invalid: str = ""

    @property
    def sent(self) -> int:
        return self.requests + self.left_out

    @property
    def setting(self) -> str:
        """What was on, for people: `baseline pil, no recipes`."""
        recipes = f"recipes {self.recipe_set}" if self.recipe_set else "no recipes"
        return f"baseline {self.behaviour}, {recipes}" if self.behaviour else recipes


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """How one metric of the trial differs from the baseline's.

    Attributes:
        metric: `ttft_p50`, `ttft_p90`, `ttft_p99`, `e2e_p50`, `tpot_p50`, `tokens_per_s_p50`, `stage.<id>` or
            `group.<name>`.
        unit: `ns`, or `tokens/s`, of which more is better.
        baseline, trial: the metric of each side on its own; of stages and groups the median.
        difference, low, high: median of the paired differences and its interval; of p90 and p99 the
            difference of the two percentiles. Not exactly `trial - baseline`: what drifts is in both of a pair.
        ratio, ratio_low, ratio_high: median ratio of the pairs; only of the medians of whole requests.
        noise_low, noise_high: interval of the same difference of the baseline to itself; None where there
            is nothing to tell it from.
        is_mean: whether baseline, trial, difference and intervals are of means: of a stage or group that so many
            requests lack that the median paired difference is 0.
        undecided_because: why neither a verdict nor a gate may rest on it; empty where they may.
    """

    metric: str
    label: str
    unit: str
    baseline: float
    trial: float
    difference: float
    low: float
    high: float
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    noise_low: float | None = None
    noise_high: float | None = None
    verdict: Verdict
    is_mean: bool = False
    undecided_because: str = ""

    @property
    def share(self) -> float | None:
        """Relative change, -0.4 for 40% less; None of a metric that the baseline does not have."""
        if self.ratio is not None:
            return self.ratio - 1
        return self.difference / self.baseline if self.baseline else None


class FirstDifference(msgspec.Struct, frozen=True, kw_only=True):
    """The first request whose texts differ, with what both sides say from a little before that place."""

    image: str
    baseline_request: str
    trial_request: str
    at: int
    baseline_text: str
    trial_text: str


class OutputEquality(msgspec.Struct, frozen=True, kw_only=True):
    """Whether both sides generated the same text for the same image and prompt.

    Attributes:
        compared: pairs of requests with the same image, number and prompt.
        note: why none was compared, where none was.
    """

    compared: int
    equal: int
    first_difference: FirstDifference | None = None
    note: str = ""


class EnvironmentDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not the same on both sides, and why that may matter."""

    what: str
    baseline: str
    trial: str
    why: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A trial against a baseline.

    Attributes:
        paired_by: what the two requests of a pair have in common: `image and prompt`, `image`, `image size`,
            or `nothing but their round`.
        rounds: groups of requests that are compared only with one another; resampled as wholes.
        verdict, sentence: of the TTFT.
        metrics: of whole requests; parts: groups, each with its stages after it, in the order of the pipeline.
        absent: groups and stages that were measured on both sides and took no time in any request; what is
            neither here nor above was not measured on one side or on both.
    """

    baseline: ComparedSide
    trial: ComparedSide
    scope: Scope
    paired_by: str
    rounds: int
    confidence: float
    verdict: Verdict
    sentence: str
    metrics: list[Change]
    parts: list[Change]
    absent: list[str] = []
    outputs: OutputEquality
    environment: list[EnvironmentDifference] = []
    warnings: list[str] = []

    def change(self, metric: str) -> Change | None:
        """The change of a metric, None where neither side has it, or one did not measure it."""
        return next((each for each in (*self.metrics, *self.parts) if each.metric == metric), None)


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """One gate on one comparison; measured, low and high are in the gate's own unit, `%` or `ms`.

    Attributes:
        note: why the outcome is not the interval's; empty where it is.
        measured, low, high: None of what was not measured.
    """

    gate: str
    trial: str
    outcome: GateOutcome
    measured: float | None
    low: float | None
    high: float | None
    unit: str
    note: str = ""


class ComparisonResult(msgspec.Struct, frozen=True, kw_only=True):
    """`results/comparison.json`: one baseline against one trial or more."""

    comparisons: list[Comparison]
    gates: list[GateResult] = []
    schema_version: int = RESULTS_SCHEMA_VERSION


def read_comparison(folder: RunFolder) -> ComparisonResult:
    """Read `results/comparison.json`; raises `FileUnreadable`."""
    return read_result(folder, "comparison", ComparisonResult, again="vlmprof compare RUN")
