"""The distinct stacks of a run as arrays, so that work is done per stack and never per sample."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Function:
    """A function as the sampler names it: qualified where the interpreter knows the qualified name."""

    name: str
    file: str


@dataclass(frozen=True, slots=True)
class StackTable:
    """n distinct stacks of f functions; a stack is addressed by its row, not by its id.

    Attributes:
        functions: f functions; lines of the same function share one entry.
        starts: n + 1 bounds; stack i holds frames [starts[i], starts[i + 1]), from the root to the leaf.
        function: function index of every frame.
        line: line that was executing in every frame, 0 where unknown.
        sorted_ids, sorted_rows: the stack ids in ascending order and the row of each.
    """

    functions: list[Function]
    starts: Ints
    function: Ints
    line: Ints
    sorted_ids: Ints
    sorted_rows: Ints

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def depth(self) -> Ints:
        """Number of frames of each stack."""
        return np.diff(self.starts)

    def rows(self, stack_ids: Ints) -> Ints:
        """Rows of stack ids; -1 for an id that the table does not hold."""
        return _look_up(stack_ids, self.sorted_ids, self.sorted_rows)

    def leaf(self, rows: Ints) -> Ints:
        """Position in `function` and `line` of the innermost frame of non-empty stacks."""
        return self.starts[rows + 1] - 1

    def waiting(self) -> Flags:
        """Which functions do nothing but wait while they are innermost."""
        return np.array([waits(function) for function in self.functions], dtype=np.bool_)


def read_stacks(stacks: Any, frames: Any) -> StackTable:
    """Join the tables `stacks` and `frames`; a frame id that `frames` lacks becomes `(unknown)`."""
    lists = stacks["stack_id"], stacks["frame_ids"]
    stack_ids = as_ints(lists[0])
    lengths = as_ints(pc.fill_null(pc.list_value_length(lists[1]), 0))
    frame_ids = as_ints(pc.list_flatten(lists[1]))
    functions, function_of_frame = _functions(frames)
    order = np.argsort(as_ints(frames["frame_id"]), kind="stable")
    row = _look_up(frame_ids, as_ints(frames["frame_id"])[order], order)
    known = row >= 0
    functions.append(Function("(unknown)", ""))
    by_id = np.argsort(stack_ids, kind="stable")
    return StackTable(
        functions=functions,
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        function=np.where(known, np.append(function_of_frame, 0)[row], len(functions) - 1),
        line=np.where(known, np.append(as_ints(frames["line"]), 0)[row], 0),
        sorted_ids=stack_ids[by_id],
        sorted_rows=by_id,
    )


def as_ints(column: Any) -> Ints:
    """A column of integers as int64; nulls, which the schemas do not expect here, become 0."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    column = pc.fill_null(column, 0) if column.null_count else column
    values: Ints = column.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    return values


def _functions(frames: Any) -> tuple[list[Function], Ints]:
    """The distinct (function, file) pairs, and the pair of every row of `frames`."""
    names, name_codes = _encode(frames["function"])
    files, file_codes = _encode(frames["file"])
    pairs, inverse = np.unique(name_codes * max(1, len(files)) + file_codes, return_inverse=True)
    functions = [Function(names[pair // len(files)], files[pair % len(files)]) for pair in pairs.tolist()]
    return functions, inverse.astype(np.int64)


def _encode(column: Any) -> tuple[list[str], Ints]:
    encoded = pc.fill_null(column, "").combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), as_ints(encoded.indices)


def _look_up(ids: Ints, sorted_ids: Ints, sorted_rows: Ints) -> Ints:
    if not len(sorted_ids):
        return np.full(len(ids), -1, dtype=np.int64)
    place = np.minimum(np.searchsorted(sorted_ids, ids), len(sorted_ids) - 1)
    return np.where(sorted_ids[place] == ids, sorted_rows[place], -1)


def distinct(*keys: npt.NDArray[np.integer]) -> tuple[list[Ints], Ints]:
    """Distinct rows of equally long integer keys, and the distinct row of each row."""
    combined = np.zeros(len(keys[0]), dtype=np.int64)
    for key in keys:
        values, codes = np.unique(key, return_inverse=True)
        combined = combined * max(1, len(values)) + codes
    _, first, inverse = np.unique(combined, return_index=True, return_inverse=True)
    return [key[first].astype(np.int64) for key in keys], inverse.astype(np.int64)


# A thread whose innermost Python frame is one of these is blocked in the kernel: the sampler sees the
# frame whether or not the thread runs. File names are matched by their end.
_WAITING: tuple[tuple[str, frozenset[str]], ...] = (
    ("threading.py", frozenset({"wait", "_wait_for_tstate_lock", "join", "acquire"})),
    ("selectors.py", frozenset({"select"})),
    ("queue.py", frozenset({"get", "put"})),
    ("concurrent/futures/thread.py", frozenset({"_worker"})),
    ("asyncio/runners.py", frozenset({"run"})),
    ("uvloop/__init__.py", frozenset({"run"})),
    ("zmq/sugar/poll.py", frozenset({"poll"})),
    ("zmq/sugar/socket.py", frozenset({"poll", "recv", "recv_multipart"})),
    ("multiprocessing/connection.py", frozenset({"wait", "_recv", "_poll", "accept"})),
    ("multiprocessing/popen_fork.py", frozenset({"poll", "wait"})),
    ("subprocess.py", frozenset({"_try_wait", "wait", "_communicate"})),
    ("socket.py", frozenset({"accept", "readinto"})),
    ("device_communicators/shm_broadcast.py", frozenset({"wait", "acquire_read", "acquire_write"})),
)


def waits(function: Function) -> bool:
    """Whether a thread that is inside this function, and in no Python function below it, is waiting."""
    name = function.name.rpartition(".")[2]
    return any(name in names and function.file.endswith(file) for file, names in _WAITING)
