"""The requests of a run as columns for the page: the critical path of each, laid out in lanes."""

from typing import Any

from vlmprof.analysis.process_table import process_of
from vlmprof.model.process import Process
from vlmprof.model.results import BreakdownResult, RequestBreakdown
from vlmprof.model.stages import STAGE_IDS

WIRE = "between processes"


def request_rows(requests: Any) -> list[dict[str, Any]]:
    """What the client saw of every request, one row each, without the generated text."""
    columns = [
        "id",
        "phase",
        "block",
        "sent_ns",
        "first_token_ns",
        "done_ns",
        "prompt_tokens",
        "image_tokens",
        "output_tokens",
        "image_names",
        "image_widths",
        "image_heights",
        "image_bytes",
        "http_status",
        "error",
    ]
    rows: list[dict[str, Any]] = requests.select(columns).to_pylist()
    return [_relative(row) for row in rows]


def request_lanes(
    breakdown: BreakdownResult, processes: dict[int, Process], origin_ns: int
) -> dict[str, Any]:
    """The critical paths: per request the columns of its segments, with times from its sending.

    Args:
        origin_ns: the timeline's origin, from which sent_ns counts.

    Returns:
        `lanes`: thread names, the wire first; `causes`: what segments refer to by index;
        `requests`: id, phase, block, sent_ns, ttft_ns and the columns stage, start_ns, length_ns, lane, cause.
    """
    lanes: dict[tuple[int, int], int] = {(0, 0): 0}
    causes: dict[str, int] = {}
    requests = [
        {**_request(request, lanes, causes), "sent_ns": request.sent_ns - origin_ns}
        for request in breakdown.requests
    ]
    return {
        "lanes": [_lane(pid, tid, processes) for pid, tid in lanes],
        "causes": list(causes),
        "requests": requests,
    }


def _request(
    request: RequestBreakdown, lanes: dict[tuple[int, int], int], causes: dict[str, int]
) -> dict[str, Any]:
    segments = request.segments
    return {
        "id": request.id,
        "phase": request.phase,
        "block": request.block,
        "ttft_ns": request.ttft_ns,
        "unattributed_ns": request.unattributed_ns,
        "stages": request.stages,
        "stage": [STAGE_IDS.index(segment.stage) for segment in segments],
        "start_ns": [segment.start_ns - request.sent_ns for segment in segments],
        "length_ns": [segment.end_ns - segment.start_ns for segment in segments],
        "lane": [_lane_index(segment.pid, segment.tid, lanes) for segment in segments],
        "cause": [causes.setdefault(segment.cause, len(causes)) for segment in segments],
    }


def _lane_index(pid: int, tid: int, lanes: dict[tuple[int, int], int]) -> int:
    return lanes.setdefault((pid, tid) if tid else (0, 0), len(lanes))


def _lane(pid: int, tid: int, processes: dict[int, Process]) -> dict[str, Any]:
    if not tid:
        return {"process": WIRE, "thread": "", "pid": 0, "tid": 0}
    process = process_of(pid, processes)
    names = {thread.tid: thread.name for thread in process.threads}
    return {"process": process.label, "thread": names.get(tid, ""), "pid": pid, "tid": tid}


def _relative(row: dict[str, Any]) -> dict[str, Any]:
    """Times that the page shows, from the request's sending; the session clock has no meaning there."""
    sent_ns, first_token_ns, done_ns = row.pop("sent_ns"), row.pop("first_token_ns"), row.pop("done_ns")
    row["ttft_ns"] = None if first_token_ns is None else first_token_ns - sent_ns
    row["total_ns"] = None if done_ns is None else done_ns - sent_ns
    return row
