"""GPU time as a flame graph: kernels as leaves below the Python stacks, or the spans, that launched them."""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from vlmprof.analysis.flame import build_trie, fold_small, self_by_node
from vlmprof.analysis.process_table import process_of
from vlmprof.analysis.stack_table import Function, Ints, StackTable, as_ints, distinct
from vlmprof.model.process import Process, Role
from vlmprof.model.stages import STAGE_BY_ID, STAGE_IDS, STAGES
from vlmprof_reports.flames import Place, view_of
from vlmprof_reports.sampled_tree import FOLDED, MAX_NODES, described_tree
from vlmprof_reports.slice_names import without_call_numbers

_GROUP = "GPU time, kernels below what launched them"
KERNEL_FILE = "GPU kernel"
SPAN_FILE = "span"
UNKNOWN_CAUSE = "(launched from where nothing was recorded)"


def gpu_flames(
    tables: dict[str, Any], stacks: StackTable, processes: dict[int, Process]
) -> dict[str, Any] | None:
    """A tree of launching stacks with kernels as leaves, weighted by GPU time, and its views; None without kernels.

    Args:
        tables: gpu_kernels, gpu_attribution, spans.

    Returns:
        What `SampledTree.described` returns, and `views` as `flame_views` does: all kernels, then by stage.
    """
    kernels = tables["gpu_kernels"]
    if not kernels.num_rows:
        return None
    stack, span, stage_of = _causes(tables, stacks)
    names, name = _dictionary(kernels["name"])
    pid, time_ns = as_ints(kernels["pid"]), as_ints(kernels["end_ns"]) - as_ints(kernels["start_ns"])
    (entry_pid, entry_stack, entry_span, entry_stage, entry_name), row = distinct(
        pid, stack, span, stage_of, name
    )
    weight_ns = np.bincount(row, weights=time_ns, minlength=len(entry_pid)).astype(np.int64)
    span_names, _ = _dictionary(tables["spans"]["name"])
    table = _with_leaves(stacks, (entry_stack, entry_span, entry_name), span_names, names)
    pids, label = np.unique(entry_pid, return_inverse=True)
    labels = [f"GPU work of {_called(process_of(pid, processes))} ({pid})" for pid in pids.tolist()]
    trie = build_trie(table, np.arange(len(entry_pid)), label.astype(np.int64), labels)
    trie = fold_small(trie, [self_by_node(trie, np.arange(len(entry_pid)), weight_ns)], MAX_NODES, FOLDED)
    everything = Place("gpu", "GPU time: all kernels", _GROUP)
    views = [view_of(trie, everything, np.arange(len(entry_pid)), weight_ns)]
    for number in np.unique(entry_stage[entry_stage >= 0]).tolist():
        chosen = np.flatnonzero(entry_stage == number)
        stage = STAGES[number]
        place = Place(f"gpu:{stage.id}", f"GPU time: {stage.label}", _GROUP)
        views.append(view_of(trie, place, chosen, weight_ns[chosen]))
    return {**described_tree(trie, table), "views": views}


def _called(process: Process) -> str:
    return (process.name or "process") if process.role is Role.OTHER else process.label


def _causes(tables: dict[str, Any], stacks: StackTable) -> tuple[Ints, Ints, Ints]:
    """For each kernel the row of its launching stack, the name of its span and its stage; -1 for none."""
    count = tables["gpu_kernels"].num_rows
    attribution = tables["gpu_attribution"].slice(0, count)
    none = np.full(count, -1)
    if attribution.num_rows < count:
        return none, none, none
    ids = as_ints(pc.fill_null(attribution["stack_id"], -1))
    stack = np.where(ids >= 0, stacks.rows(ids), -1)
    span_row = as_ints(pc.fill_null(attribution["span_row"], -1))
    _, span_name = _dictionary(tables["spans"]["name"])
    span = np.where(span_row >= 0, np.append(span_name, -1)[span_row], -1)
    stage_names, stage_code = _dictionary(attribution["stage"])
    index = [STAGE_IDS.index(each) if each in STAGE_BY_ID else -1 for each in stage_names]
    return stack, span, np.array([*index, -1], dtype=np.int64)[stage_code]


def _with_leaves(
    stacks: StackTable, entries: tuple[Ints, Ints, Ints], span_names: list[str], names: list[str]
) -> StackTable:
    """One stack per entry: the launching one, or the span for want of it, and the kernel below.

    Args:
        entries: of each the row of its stack and the number of its span, -1 for none, and that of its kernel.
    """
    stack, span, name = entries
    first_span = len(stacks.functions)
    first_kernel = first_span + len(span_names) + 1
    functions = [*stacks.functions, *(Function(each, SPAN_FILE) for each in span_names)]
    functions += [Function(UNKNOWN_CAUSE, ""), *(Function(each, KERNEL_FILE) for each in names)]
    instead = np.where(span >= 0, first_span + span, first_kernel - 1)
    known = stack >= 0
    depth = np.where(known, np.append(stacks.depth, 0)[stack], 1)
    starts = np.concatenate([[0], np.cumsum(depth + 1)]).astype(np.int64)
    function = np.empty(starts[-1], dtype=np.int64)
    function[starts[1:] - 1] = first_kernel + name
    function[starts[:-1][~known]] = instead[~known]
    inner = np.repeat(np.flatnonzero(known), depth[known])
    within = np.arange(len(inner)) - np.repeat(np.cumsum(depth[known]) - depth[known], depth[known])
    function[starts[inner] + within] = stacks.function[stacks.starts[stack[inner]] + within]
    rows = np.arange(len(stack))
    return StackTable(functions, starts, function, np.zeros_like(function), rows, rows)


def _dictionary(column: Any) -> tuple[list[str], Ints]:
    """Distinct texts of a column, without the numbers of calls, and which of them each row has."""
    encoded = (
        without_call_numbers(pc.fill_null(column.cast("string"), "")).combine_chunks().dictionary_encode()
    )
    return encoded.dictionary.to_pylist(), as_ints(encoded.indices)
