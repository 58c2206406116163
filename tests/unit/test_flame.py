"""The stack table and the trees built on it."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmprof.analysis.flame import (
    FlameTree,
    StackTrie,
    build_trie,
    check,
    flame_tree,
    fold_small,
    self_by_node,
    total_by_node,
)
from vlmprof.analysis.stack_table import Function, StackTable, distinct, read_stacks, waits
from vlmprof.model.tables import FRAMES, STACKS


def _tables(frames: list[tuple[int, str, str, int]], stacks: dict[int, list[int]]) -> tuple[Any, Any]:
    names = FRAMES.names
    frame_rows = [dict(zip(names, frame, strict=True)) for frame in frames]
    stack_rows = [{"stack_id": stack_id, "frame_ids": ids} for stack_id, ids in stacks.items()]
    return pa.Table.from_pylist(stack_rows, schema=STACKS), pa.Table.from_pylist(frame_rows, schema=FRAMES)


def _small() -> StackTable:
    """Frames a, b and a second line of b; stacks 10: a, 11: a b, 12: a b (other line), 13: a b a."""
    frames = [(7, "a", "x.py", 1), (8, "b", "x.py", 5), (9, "b", "x.py", 6)]
    return read_stacks(*_tables(frames, {10: [7], 11: [7, 8], 12: [7, 9], 13: [7, 8, 7]}))


def _named(trie: StackTrie, tree: FlameTree) -> dict[str, tuple[int, int]]:
    paths: list[str] = []
    for parent, name in zip(tree.parent.tolist(), tree.name.tolist(), strict=True):
        paths.append("" if parent < 0 else f"{paths[parent]}/{trie.names[name]}")
    return dict(zip(paths, zip(tree.self_ns.tolist(), tree.total_ns.tolist(), strict=True), strict=True))


def test_lines_of_one_function_are_one_node_and_self_times_add_up_to_the_root() -> None:
    """10 ns in a, 20 and 30 ns in two lines of b below it: b has 50 ns, the root 60."""
    stacks = _small()
    rows = stacks.rows(np.array([10, 11, 12]))
    trie = build_trie(stacks, rows, np.zeros(3, dtype=np.int64), ["worker 0"])
    tree = flame_tree(trie, np.arange(3), np.array([10, 20, 30]))
    assert _named(trie, tree) == {
        "": (0, 60),
        "/worker 0": (0, 60),
        "/worker 0/a": (10, 60),
        "/worker 0/a/b": (50, 50),
    }


def test_the_same_stack_in_two_processes_is_two_branches() -> None:
    """Stack a b with 5 ns in one process and 7 in the other."""
    stacks = _small()
    trie = build_trie(stacks, stacks.rows(np.array([11, 11])), np.array([0, 1]), ["api_server", "worker 0"])
    paths = _named(trie, flame_tree(trie, np.arange(2), np.array([5, 7])))
    assert paths["/api_server/a/b"] == (5, 5)
    assert paths["/worker 0/a/b"] == (7, 7)


def test_branches_without_time_are_left_out() -> None:
    """Only stack a is weighed: b below it has no time and no node."""
    stacks = _small()
    trie = build_trie(stacks, stacks.rows(np.array([10, 11])), np.array([0, 0]), ["p"])
    assert set(_named(trie, flame_tree(trie, np.array([0]), np.array([9])))) == {"", "/p", "/p/a"}


def test_recursion_makes_a_deeper_node_of_the_same_name() -> None:
    """Stack a b a: the inner a has the 4 ns of self time, every ancestor the total."""
    stacks = _small()
    trie = build_trie(stacks, stacks.rows(np.array([13])), np.array([0]), ["p"])
    paths = _named(trie, flame_tree(trie, np.array([0]), np.array([4])))
    assert paths["/p/a/b/a"] == (4, 4)
    assert paths["/p/a"] == (0, 4)


def test_no_samples_make_a_tree_of_the_root_alone() -> None:
    """An empty selection of an empty table still has a root, of 0 ns."""
    stacks = read_stacks(*_tables([], {}))
    none = np.empty(0, dtype=np.int64)
    tree = flame_tree(build_trie(stacks, none, none, ["p"]), none, none)
    assert tree.total_ns.tolist() == [0]


def test_a_tree_whose_times_do_not_add_up_is_refused() -> None:
    """Self times of 1 ns under a root of 2."""
    one = np.array([1])
    tree = FlameTree(np.array([0]), np.array([-1]), np.array([-1]), one, one * 2)
    with pytest.raises(AssertionError, match="self 1 ns, total 2 ns"):
        check(tree, 2)


def test_small_branches_fold_into_one_child_and_no_time_is_lost() -> None:
    """p/a has 1 ns of its own and 90 ns in b; c and d below a have 2 and 3 ns: in 5 nodes c and d fold."""
    frames = [(i, name, "x.py", 1) for i, name in enumerate("abcd")]
    stacks = read_stacks(*_tables(frames, {0: [0], 1: [0, 1], 2: [0, 2], 3: [0, 3]}))
    trie = build_trie(stacks, np.arange(4), np.zeros(4, dtype=np.int64), ["p"])
    weights = np.array([1, 90, 2, 3])
    folded = fold_small(trie, [self_by_node(trie, np.arange(4), weights)], 5, "(small)")
    assert _named(folded, flame_tree(folded, np.arange(4), weights)) == {
        "": (0, 96),
        "/p": (0, 96),
        "/p/a": (1, 96),
        "/p/a/b": (90, 90),
        "/p/a/(small)": (5, 5),
    }


def test_a_small_tree_is_left_as_it_is() -> None:
    """Three nodes, room for ten."""
    stacks = _small()
    trie = build_trie(stacks, stacks.rows(np.array([10])), np.array([0]), ["p"])
    assert fold_small(trie, [np.zeros(3, dtype=np.int64)], 10, "(small)") is trie


def test_unknown_stack_and_frame_ids_are_marked_and_not_guessed() -> None:
    """Stack 99 is in no table: row -1; a frame id without a row is called (unknown)."""
    stacks = read_stacks(*_tables([(1, "a", "x.py", 1)], {5: [1, 404]}))
    assert stacks.rows(np.array([99, 5])).tolist() == [-1, 0]
    assert [stacks.functions[i].name for i in stacks.function.tolist()] == ["a", "(unknown)"]


def test_functions_of_one_name_in_two_files_stay_two() -> None:
    """forward of a.py and forward of b.py."""
    stacks = read_stacks(*_tables([(1, "forward", "a.py", 1), (2, "forward", "b.py", 1)], {5: [1, 2]}))
    assert stacks.functions[:2] == [Function("forward", "a.py"), Function("forward", "b.py")]
    assert len(set(stacks.function.tolist())) == 2


def test_distinct_rows_and_where_each_row_went() -> None:
    """(1, 5), (2, 5), (1, 5): two distinct rows."""
    keys, row = distinct(np.array([1, 2, 1]), np.array([5, 5, 5]))
    assert [key.tolist() for key in keys] == [[1, 2], [5, 5]]
    assert row.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("name", "file", "waiting"),
    [
        ("Condition.wait", "/usr/lib/python3.11/threading.py", True),
        ("select", "/usr/lib/python3.11/selectors.py", True),
        ("run", "/site-packages/uvloop/__init__.py", True),
        ("wait", "/app/kitchen.py", False),
        ("Linear.forward", "/torch/nn/modules/linear.py", False),
    ],
)
def test_only_the_library_functions_that_block_count_as_waiting(name: str, file: str, waiting: bool) -> None:
    """A function called wait elsewhere may do anything."""
    assert waits(Function(name, file)) is waiting


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), min_size=1, max_size=20), st.data())
def test_totals_of_any_tree_are_those_of_a_plain_walk(paths: list[list[int]], data: st.DataObject) -> None:
    """Total of a node = weights of the stacks that begin with its path, for any stacks and weights."""
    frames = [(i, f"f{i}", "x.py", i) for i in range(5)]
    stacks = read_stacks(*_tables(frames, dict(enumerate(paths))))
    weight = data.draw(st.lists(st.integers(0, 9), min_size=len(paths), max_size=len(paths)))
    rows = np.arange(len(paths))
    trie = build_trie(stacks, rows, np.zeros(len(paths), dtype=np.int64), ["p"])
    total = total_by_node(trie, self_by_node(trie, rows, np.array(weight)))
    walked: dict[tuple[int, ...], int] = {}
    for path, ns in zip(paths, weight, strict=True):
        for depth in range(len(path) + 1):
            walked[tuple(path[:depth])] = walked.get(tuple(path[:depth]), 0) + ns
    assert sorted(total[1:].tolist()) == sorted(walked.values())
