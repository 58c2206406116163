"""speedscope's file format, which is both read and written.

Source:
    https://www.speedscope.app/file-format-schema.json
"""

from typing import Literal

import msgspec

SCHEMA_URL = "https://www.speedscope.app/file-format-schema.json"


class SharedFrame(msgspec.Struct, omit_defaults=True):
    """A frame; profiles refer to it by its index."""

    name: str
    file: str | None = None
    line: int | None = None


class Shared(msgspec.Struct):
    frames: list[SharedFrame]


class Sampled(msgspec.Struct, tag="sampled", rename="camel"):
    """Stacks, each of which lasted as long as its weight; an empty one is a gap."""

    name: str
    unit: str
    start_value: float
    end_value: float
    samples: list[list[int]]
    weights: list[float]


class Edge(msgspec.Struct):
    """A frame opens or closes."""

    type: Literal["O", "C"]
    at: float
    frame: int


class Evented(msgspec.Struct, tag="evented", rename="camel"):
    name: str
    unit: str
    start_value: float
    end_value: float
    events: list[Edge]


class SpeedscopeFile(msgspec.Struct, rename={"schema": "$schema", "active": "activeProfileIndex"}):
    """The whole file; `origin_ns` is ours: what was taken off all times to make them small."""

    shared: Shared
    profiles: list[Sampled | Evented]
    schema: str = SCHEMA_URL
    active: int = 0
    exporter: str = ""
    name: str = ""
    origin_ns: int = 0
