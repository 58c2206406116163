"""Where a recipe's claims hold: which stacks of a run show the function that it would change."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from vlmprof.analysis.stack_table import Flags, Ints, StackTable, distinct
from vlmprof.patching.effects import Adds, Removes

SourceLine = Callable[[str, int], str]
"""The text of a line of a file, counted from 1; empty where it cannot be read."""


@dataclass(frozen=True, slots=True)
class ClaimedStacks:
    """The stacks that a claim is about, in ascending order of their rows.

    Attributes:
        stack: rows of the stack table.
        frame: position of the innermost frame of the claimed function in each of them.
    """

    stack: Ints
    frame: Ints


def claimed_stacks(claim: Removes | Adds, stacks: StackTable, source_line: SourceLine) -> ClaimedStacks:
    """Find the stacks that hold the claimed function, as their leaf where the claim is about its own time."""
    pattern = claim.function if isinstance(claim, Removes) else claim.like
    chosen = _named(pattern, stacks)
    if isinstance(claim, Removes) and claim.time == "self":
        chosen &= _is_leaf(stacks)
    frame = np.flatnonzero(chosen)
    if isinstance(claim, Removes) and claim.at:
        frame = frame[_holds_text(frame, claim.at, stacks, source_line)]
    stack = np.searchsorted(stacks.starts, frame, side="right") - 1
    if isinstance(claim, Removes) and claim.under:
        # Frames go from the root to the leaf: one is below another of its stack where it stands behind it.
        above = np.append(0, np.cumsum(_named(claim.under, stacks)))
        below = above[frame] > above[stacks.starts[stack]]
        stack, frame = stack[below], frame[below]
    innermost = np.append(np.diff(stack) > 0, True)[: len(stack)]
    return ClaimedStacks(stack[innermost], frame[innermost])


def _named(pattern: str, stacks: StackTable) -> Flags:
    """Which frames are of a function that a pattern names."""
    of_function = np.array([matches(each.name, pattern) for each in stacks.functions], dtype=np.bool_)
    return of_function[stacks.function]


def matches(name: str, pattern: str) -> bool:
    """Whether a function's name is one of a pattern's alternatives, which `|` divides."""
    return any(fnmatchcase(name, each) for each in pattern.split("|"))


def _is_leaf(stacks: StackTable) -> Flags:
    leaf = np.zeros(len(stacks.function), dtype=np.bool_)
    used = np.flatnonzero(stacks.depth > 0)
    leaf[stacks.leaf(used)] = True
    return leaf


def _holds_text(frame: Ints, text: str, stacks: StackTable, source_line: SourceLine) -> Flags:
    """Which frames are at a line that holds a text."""
    (function, line), place = distinct(stacks.function[frame], stacks.line[frame])
    files = [stacks.functions[index].file for index in function.tolist()]
    holds = [text in source_line(file, number) for file, number in zip(files, line.tolist(), strict=True)]
    return np.array(holds, dtype=np.bool_)[place]
