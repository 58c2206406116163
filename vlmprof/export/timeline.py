"""What every writer is given: a run's tables, and what they are called by people."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.analysis.process_table import process_of, read_processes
from vlmprof.model.process import Process
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import read_table

Ints = npt.NDArray[np.int64]
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run's tables, each under its schema; empty where the run has none."""

    processes: Any
    spans: Any
    samples: Any
    stacks: Any
    frames: Any
    gpu_kernels: Any
    gpu_copies: Any
    cuda_api: Any

    @property
    def start_ns(self) -> int:
        """The earliest time of any table; 0 where all are empty."""
        tables = (self.spans, self.samples, self.gpu_kernels, self.gpu_copies, self.cuda_api)
        return min((int(ints(table, "start_ns").min()) for table in tables if table.num_rows), default=0)

    def since(self, base_ns: int) -> "Timeline":
        """The same with all times counted from an instant."""
        return Timeline(**{each.name: _since(getattr(self, each.name), base_ns) for each in fields(self)})


def read_timeline(folder: RunFolder) -> Timeline:
    """The tables of a run.

    Raises:
        FileUnreadable: one of them is damaged.
    """
    return Timeline(**{field.name: read_table(folder, field.name) for field in fields(Timeline)})


def _since(table: Any, base_ns: int) -> Any:
    for name in {"start_ns", "end_ns"} & set(table.column_names):
        column = pc.subtract(table[name], pa.scalar(base_ns, pa.int64()))
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def ints(table: Any, column: str) -> Ints:
    """A column without nulls as an array."""
    return np.asarray(table[column].to_numpy(), np.int64)


def texts(table: Any, column: str) -> list[str]:
    """A column of names."""
    return [text or "" for text in table[column].to_pylist()]


def groups(*keys: Ints) -> Iterator[tuple[tuple[int, ...], Ints]]:
    """Each distinct combination of keys, ascending, with its rows in their order."""
    if len(keys[0]) == 0:
        return
    order = np.lexsort(keys[::-1])
    changes = np.flatnonzero(np.any([np.diff(key[order]) != 0 for key in keys], axis=0)) + 1
    for rows in np.split(order, changes):
        yield tuple(int(key[rows[0]]) for key in keys), rows


class Names:
    """What processes and threads are called."""

    def __init__(self, processes: Any) -> None:
        self.processes: dict[int, Process] = read_processes(processes)

    def process(self, pid: int) -> str:
        process = process_of(pid, self.processes)
        label = process.label if process.role != "other" else process.name or "process"
        return f"{label} ({pid})"

    def thread(self, pid: int, tid: int) -> str:
        """Its name, or "" where none is known."""
        threads = process_of(pid, self.processes).threads
        return next((thread.name for thread in threads if thread.tid == tid), "")


def stacks_by_id(timeline: Timeline) -> dict[int, list[int]]:
    """Frame ids of each stack, from the root to the leaf."""
    ids = timeline.stacks["stack_id"].to_pylist()
    return dict(zip(ids, timeline.stacks["frame_ids"].to_pylist(), strict=True))
