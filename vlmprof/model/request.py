"""One request as the client saw it."""

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Which part of a run a request belongs to.

    Control and profiled blocks alternate inside one server: the headline is the control's, the ratio of
    the two is the profiler's own cost.
    """

    WARM_UP = "warm-up"
    CONTROL = "control"
    PROFILED = "profiled"


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The image a request carried: width and height in pixels as stored, before EXIF rotation."""

    name: str
    width: int
    height: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Request:
    """One request; times on the session clock, None where the moment never came.

    Attributes:
        id: what the client sent as `X-Request-Id`.
        block: number of the interleaved block, from 0; -1 in the warm-up.
        error: empty for a request that ended well; else what the server or the connection said.
        text: the generated text, for comparing outputs between runs.
    """

    id: str
    phase: Phase
    block: int
    sent_ns: int
    first_token_ns: int | None
    done_ns: int | None
    prompt_tokens: int
    image_tokens: int
    output_tokens: int
    images: tuple[ImageInfo, ...]
    recipe_set: str = ""
    http_status: int = 0
    error: str = ""
    text: str = ""

    @property
    def ttft_ns(self) -> int | None:
        """Time to first token as the client measured it."""
        return None if self.first_token_ns is None else self.first_token_ns - self.sent_ns
