"""Joins GPU work to what caused it: call, span, stage, requests, phase and Python stack of the launching thread."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vlmprof.analysis.gpu_tables import GpuTables
from vlmprof.analysis.hot import STAGE_INDEX
from vlmprof.analysis.merge_gpu_calls import launching_calls
from vlmprof.analysis.merge_gpu_phases import PHASES, span_phases
from vlmprof.analysis.merge_gpu_spans import EnclosingSpans
from vlmprof.analysis.merge_gpu_stacks import StackLookup, nearest_stacks
from vlmprof.analysis.stack_table import Ints, as_ints
from vlmprof.analysis.stage_rules import RULES
from vlmprof.model.stages import STAGE_IDS
from vlmprof.model.tables import GPU_ATTRIBUTION

NONE = -1


@dataclass(frozen=True, slots=True, eq=False)
class _Launches:
    """Thread and start of n calls."""

    pid: Ints
    tid: Ints
    at_ns: Ints


@dataclass(frozen=True, slots=True, eq=False)
class _Origins:
    """What is known of n launching calls; NONE where it is not."""

    tid: Ints
    span_row: Ints
    stage: Ints
    phase: Ints
    stack_id: Ints


def merge_gpu(
    gpu: GpuTables,
    spans: Any,
    samples: Any,
    first_output_ns: Mapping[str, int],
    stacks_at: StackLookup = nearest_stacks,
) -> Any:
    """The table `gpu_attribution`: a row per kernel, then one per copy, in the order of their tables.

    Args:
        spans, samples: the tables of the run, sorted by start.
        first_output_ns: when the engine had the first token of each request; a step of others is a prefill.
        stacks_at: how the stack of a launch is found among the samples.
    """
    call_row = launching_calls(gpu.work("pid", "start_ns", "correlation_id"), gpu.calls)
    launched = call_row >= 0
    used = np.zeros(gpu.calls.num_rows + 1, np.bool_)
    used[call_row[launched]] = True
    launches = _launches(gpu.calls, np.flatnonzero(used))
    stack_id = stacks_at(samples, launches.pid, launches.tid, launches.at_ns)
    origins = _origins(launches, spans, stack_id, first_output_ns)
    place = np.cumsum(used)[call_row] - 1
    del used

    def of_work(values: Ints) -> Ints:
        """Values of the calls as those of the work that they launched."""
        return np.where(launched, np.append(values, NONE)[place], NONE)

    count = gpu.kernels.num_rows, gpu.copies.num_rows
    return pa.table(
        {
            "table": _coded(np.repeat([0, 1], count), ("gpu_kernels", "gpu_copies")),
            "row": pa.array(np.concatenate([np.arange(n) for n in count])),
            "call_row": _nullable(call_row),
            "tid": _nullable(of_work(origins.tid)),
            "span_row": _nullable(of_work(origins.span_row)),
            "stage": _coded(of_work(origins.stage), STAGE_IDS),
            "phase": _coded(of_work(origins.phase), PHASES),
            "stack_id": _nullable(of_work(origins.stack_id)),
        }
    ).cast(GPU_ATTRIBUTION)


def _launches(calls: Any, rows: Ints) -> _Launches:
    return _Launches(*(as_ints(calls[name])[rows] for name in ("pid", "tid", "start_ns")))


def _origins(launches: _Launches, spans: Any, stack_id: Ints, first_output_ns: Mapping[str, int]) -> _Origins:
    pid, tid, start_ns, end_ns = (as_ints(spans[name]) for name in ("pid", "tid", "start_ns", "end_ns"))
    names, codes = name_codes(spans["name"])
    stage_of_span = _stages(names)[codes]
    phase_of_span = span_phases(spans, names, codes, first_output_ns)

    def innermost(which: Ints) -> Ints:
        return EnclosingSpans(pid, tid, start_ns, end_ns, which).at(
            launches.pid, launches.tid, launches.at_ns
        )

    staged, phased = (innermost(np.flatnonzero(values != NONE)) for values in (stage_of_span, phase_of_span))
    return _Origins(
        tid=launches.tid,
        span_row=innermost(np.arange(spans.num_rows)),
        stage=np.where(staged >= 0, np.append(stage_of_span, NONE)[staged], NONE),
        phase=np.where(phased >= 0, np.append(phase_of_span, NONE)[phased], NONE),
        stack_id=stack_id,
    )


def _stages(names: list[str]) -> Ints:
    """Stage of each span name as an index in STAGE_IDS."""
    rules = [RULES.get(name) for name in names]
    return np.array([STAGE_INDEX[rule.stage] if rule and rule.stage else NONE for rule in rules], np.int64)


def name_codes(column: Any) -> tuple[list[str], Ints]:
    """The texts of a dictionary column, and the text of each row."""
    encoded = column.unify_dictionaries().combine_chunks()
    return [name or "" for name in encoded.dictionary.to_pylist()], as_ints(encoded.indices)


def _nullable(values: Ints) -> Any:
    return pa.array(values, mask=values == NONE)


def _coded(codes: Ints, texts: tuple[str, ...]) -> Any:
    indices = pa.array(codes.astype(np.int32), mask=codes == NONE)
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))
