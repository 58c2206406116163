"""Text, tables and commands of a run as Markdown: whatever a capture holds is shown and starts nothing."""

import re
from collections.abc import Iterable, Sequence

from vlmprof.cli.terminal_text import plain

LONGEST = 120
# What could start markup of any kind, in a text that a capture controls.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#!|~&@$]|^[-+=]|:(?=//))")
_BACKTICKS = re.compile("`+")


def text(value: str, longest: int = LONGEST) -> str:
    """A string of a run that Markdown shows as it is: one line, nothing of it markup."""
    told = plain(value)
    return _MARKUP.sub(r"\\\1", told if len(told) <= longest else f"{told[:longest]}…")


def row(cells: Iterable[str]) -> str:
    """One row of a table; cells are Markdown already."""
    return f"| {' | '.join(cells)} |"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[int] = (0,)) -> list[str]:
    """A table whose columns stand to the right, as numbers do, except those named in left."""
    rule = ["---" if place in left else "---:" for place in range(len(heads))]
    return [row(heads), row(rule), *map(row, rows)]


def entries(title: str, told: Iterable[str], longest: int = 400) -> list[str]:
    """A list whose every line begins with the same word."""
    return [f"- {title}: {text(entry, longest)}" for entry in told]


def commands(lines: Sequence[str]) -> list[str]:
    """Commands to copy, in a fence that none of them can end."""
    shown = [plain(line) for line in lines]
    longest = max((len(run) for line in shown for run in _BACKTICKS.findall(line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}sh", *shown, fence]


def folded(summary: str, lines: Sequence[str]) -> list[str]:
    """Lines that are there when somebody asks for them."""
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>"]
