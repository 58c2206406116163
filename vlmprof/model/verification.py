"""`vlmprof recipes verify`: what recipes left as it was, and by how much they changed the rest."""

import msgspec

VERIFICATION_SCHEMA_VERSION = 1


class ProcessorCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One set of recipes against none, for one prompt in the engine's own processor.

    Attributes:
        images: names of the prompt's images.
        refused, refused_without: why the processor refused the prompt; empty where it took it.
        ids_equal, ranges_equal: token ids and placeholder ranges; True where both refused.
        max_difference, mean_difference: of the pixels as the vision encoder gets them, in the model's dtype;
            None where they cannot be compared here: the worker makes them.
        failures: calls of replacements that raised and went the engine's own way.
    """

    recipes: list[int]
    images: list[str]
    refused: str
    refused_without: str
    ids_equal: bool
    ranges_equal: bool
    max_difference: float | None
    mean_difference: float | None
    failures: int

    @property
    def same_decision(self) -> bool:
        return bool(self.refused) == bool(self.refused_without)

    @property
    def is_exact(self) -> bool:
        """Whether nothing that this check sees differs."""
        inputs_equal = self.ids_equal and self.ranges_equal and self.same_decision
        return inputs_equal and self.max_difference in (0.0, None) and not self.failures


class ServerCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One set of recipes against none, for one request to a real server.

    Attributes:
        refused, refused_without: the server's reason; empty where it answered.
        text_equal: the greedy text, over all tokens asked for.
        logprob_difference: largest of the tokens before the texts part; None where there is none.
        hits: how many of the request's images the multimodal cache answered when it was sent again.
        foreign_hits: how many it answered the first time, though all it held was made under other recipes.
        calls, failures: of the recipes' replacements, and those that raised and went the engine's own way.
    """

    recipes: list[int]
    dtype: str
    images: list[str]
    refused: str
    refused_without: str
    text_equal: bool
    logprob_difference: float | None
    repeat_equal: bool
    hits: int
    foreign_hits: int
    calls: int
    failures: int

    @property
    def same_decision(self) -> bool:
        return bool(self.refused) == bool(self.refused_without)


class SetVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What all checks say of one set of recipes.

    Attributes:
        claims_exact: whether every recipe of the set says that outputs stay equal.
        allowed: why outputs may differ, for a set that does not claim that, and what was not seen.
        faults: what is not as it must be, in plain words; empty for a set that passed.
    """

    recipes: list[int]
    claims_exact: bool
    allowed: str
    faults: list[str]


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """All checks of one model and engine."""

    model: str
    family: str
    engine: str
    packages: dict[str, str]
    verdicts: list[SetVerdict]
    processor: list[ProcessorCheck]
    server: list[ServerCheck]
    skipped: dict[int, str]
    schema_version: int = VERIFICATION_SCHEMA_VERSION
