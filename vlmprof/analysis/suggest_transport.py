"""How much of a request's TTFT the bytes of its image took on their way to the worker."""

from vlmprof.model.results import RequestBreakdown, SegmentResult
from vlmprof.model.stages import STAGE_BY_ID

_MODEL_STAGES = frozenset(("input_prep", "mm_batch", "h2d", "vision_encoder", "connector", "prefill"))


def transport_ns(request: RequestBreakdown) -> int:
    """Time on the critical path that is in proportion to the bytes sent from the API server to the worker.

    The way back, of one token, goes through the same queues: what it took is what a message without an
    image takes, and is left out.
    """
    working = [place for place, segment in enumerate(request.segments) if segment.stage in _MODEL_STAGES]
    if not working:
        return 0
    there = _ipc_ns(request.segments[: working[0]])
    back = _ipc_ns(request.segments[working[-1] + 1 :])
    return max(0, there - back)


def _ipc_ns(segments: list[SegmentResult]) -> int:
    return sum(
        segment.end_ns - segment.start_ns for segment in segments if STAGE_BY_ID[segment.stage].group == "IPC"
    )
