"""`vlmprof recipes verify`: what recipes left as it was, and by how much they changed the rest."""

from typing import TypeAlias

import msgspec

VERIFICATION_SCHEMA_VERSION = 2


class PixelsCompared(msgspec.Struct, frozen=True, kw_only=True, tag="compared"):
    """Pixels of equal shapes and dtypes, as the vision encoder gets them from the worker's own code.

    Attributes:
        max_difference, mean_difference: absolute, in the model's dtype.
        embedded_raw: whether the encoder takes uint8 and its patch embedding normalizes: what was compared is
            what the worker makes of the same tiles once the recipes are off.
    """

    max_difference: float
    mean_difference: float
    embedded_raw: bool = False


class PixelsMismatched(msgspec.Struct, frozen=True, kw_only=True, tag="mismatched"):
    """Pixels of another shape or dtype than without recipes.

    Attributes:
        found, expected: `"bfloat16 [13, 3, 512, 512]"`, with recipes and without.
    """

    found: str
    expected: str


class PixelsUnseen(msgspec.Struct, frozen=True, kw_only=True, tag="unseen"):
    """No pixels to compare.

    Attributes:
        reason: that the prompt was refused, or what the worker's code raised.
    """

    reason: str


Pixels: TypeAlias = PixelsCompared | PixelsMismatched | PixelsUnseen


class ProcessorCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One set of recipes against none, for one prompt in the engine's own processor.

    Attributes:
        images: names of the prompt's images.
        refused, refused_without: why the processor refused the prompt; empty where it took it.
        ids_equal, ranges_equal: token ids and placeholder ranges; True where both refused.
        failures: calls of replacements that raised and went the engine's own way.
    """

    recipes: list[int]
    images: list[str]
    refused: str
    refused_without: str
    ids_equal: bool
    ranges_equal: bool
    pixels: Pixels
    failures: int

    @property
    def same_decision(self) -> bool:
        return bool(self.refused) == bool(self.refused_without)

    @property
    def taken(self) -> bool:
        """Whether there was something to compare: neither side refused."""
        return not (self.refused or self.refused_without)


class ServerCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One set of recipes against none, for one request to a real server.

    Attributes:
        refused, refused_without: the server's reason; empty where it answered.
        text_equal: the greedy text, over all tokens asked for.
        logprob_difference: largest of the tokens before the texts part; None where there is none.
        hits: how many of the request's images the multimodal cache answered when it was sent again; None where
            the engine's `/metrics` did not say.
        foreign_hits: how many it answered the first time, though all it held was made under other recipes; None
            as for `hits`.
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
    hits: int | None
    foreign_hits: int | None
    calls: int
    failures: int

    @property
    def same_decision(self) -> bool:
        return bool(self.refused) == bool(self.refused_without)

    @property
    def taken(self) -> bool:
        """Whether there was something to compare: neither side refused."""
        return not (self.refused or self.refused_without)


class SetVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What all checks say of one set of recipes.

    Attributes:
        claims_exact: whether every recipe of the set says that outputs stay equal.
        allowed: why outputs may differ, for a set that does not claim that, and what a server alone shows.
        faults: what is not as it must be, or could not be shown, in plain words; empty for a set that passed.
    """

    recipes: list[int]
    claims_exact: bool
    allowed: str
    faults: list[str]


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """All checks of one model and engine.

    Attributes:
        skipped: number -> why a recipe was not verified.
        skipped_images: the user's files that are no pictures, each with its reason.
    """

    model: str
    family: str
    engine: str
    packages: dict[str, str]
    verdicts: list[SetVerdict]
    processor: list[ProcessorCheck]
    server: list[ServerCheck]
    skipped: dict[int, str]
    skipped_images: list[str]
    schema_version: int = VERIFICATION_SCHEMA_VERSION
