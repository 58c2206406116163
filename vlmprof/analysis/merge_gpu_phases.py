"""Whether a span's GPU work is the vision encoder's, or part of a prefill or of a decode step."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from vlmprof.analysis.stack_table import Ints, as_ints
from vlmprof.analysis.stage_rules import RULES

PHASES = ("vision", "prefill", "decode")
_VISION, _PREFILL, _DECODE = range(3)
NONE = -1

_VISION_STAGES = ("vision_encoder", "connector")
# vLLM's own annotation of an engine step, in a trace of PyTorch's profiler: how many requests are in their
# prefill (context) and how many in their decode (generation); sums of token counts follow in parentheses.
_STEP = re.compile(r"execute_(?:\d+_)?context_(\d+)\(.*\)_generation_(\d+)\(")


def span_phases(spans: Any, names: list[str], name_codes: Ints, first_output_ns: Mapping[str, int]) -> Ints:
    """Index in PHASES of each span; NONE for one that is no step of a worker.

    A step that makes the first token of at least one of its requests is a prefill, decode steps of others in
    the same batch included.

    Args:
        spans: the table `spans`.
        names, name_codes: its names, and the name of each row.
        first_output_ns: when the engine had the first token of each request.
    """
    by_name = np.array([_phase_of_name(name) for name in names], np.int64)
    phases = by_name[name_codes] if len(names) else name_codes
    steps = np.flatnonzero(phases == _PREFILL)
    steps = steps[np.array([names[code].startswith("worker.") for code in name_codes[steps]], np.bool_)]
    phases[steps] = _phases_of_requests(spans.take(steps), first_output_ns)
    return phases


def _phase_of_name(name: str) -> int:
    """A worker's spans count as prefill until their requests are looked at."""
    if found := _STEP.match(name):
        return _PREFILL if int(found[1]) else _DECODE
    rule = RULES.get(name)
    if rule is None or not name.startswith("worker.") or not rule.stage:
        return NONE
    return _VISION if rule.stage in _VISION_STAGES else _PREFILL


def _phases_of_requests(spans: Any, first_output_ns: Mapping[str, int]) -> Ints:
    """Prefill or decode of spans by their requests; NONE for a span that works for no known request."""
    lists = spans["request_ids"].combine_chunks()
    counts = as_ints(pc.fill_null(pc.list_value_length(lists), 0))
    ids = lists.flatten().dictionary_encode()
    never = np.iinfo(np.int64).max
    known = [first_output_ns.get(request_id, never) for request_id in ids.dictionary.to_pylist()]
    output_ns = np.array(known, np.int64)[as_ints(ids.indices)] if len(ids) else np.empty(0, np.int64)
    phases = np.full(len(counts), NONE, np.int64)
    some = np.flatnonzero(counts)
    if len(some):
        starts = np.cumsum(counts)[some] - counts[some]
        last_output_ns = np.maximum.reduceat(output_ns, starts)
        begun_ns = as_ints(spans["start_ns"])[some]
        phases[some] = np.where(begun_ns >= last_output_ns, _DECODE, _PREFILL)
    return phases
