"""Spans: what the agent recorded inside the served processes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """One call of a boundary function, on the session clock.

    Attributes:
        name: the boundary's stable name, as `"mm.hf_processor"`; `analysis.stage_rules` maps it to a stage.
        request_ids: the requests it worked for; several for a batch, none where the process cannot know.
        depth: how many spans of the same thread enclose it.
    """

    pid: int
    tid: int
    name: str
    request_ids: tuple[str, ...]
    start_ns: int
    end_ns: int
    depth: int = 0
