"""Untrusted text, times and bars for a terminal."""

import unicodedata

from rich.cells import cell_len, chop_cells
from rich.text import Text

from vlmprof.units import ms

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_EIGHTHS = " ▏▎▍▌▋▊▉"


def plain(value: str) -> str:
    """A string of a capture without what would steer the terminal: controls, escapes, bidi overrides."""
    return "".join("�" if unicodedata.category(char) in _UNSAFE else char for char in value)


def keep_start(value: str, width: int) -> str:
    """At most width cells of a text, its end replaced by an ellipsis."""
    if cell_len(value) <= width:
        return value
    return (chop_cells(value, max(1, width - 1))[0] if width > 1 else "") + "…"


def keep_ends(path: str, width: int) -> str:
    """At most width cells of a path: folders after the first one give way, then its start."""
    first, *middle, last = path.split("/") if "/" in path else ("", path)
    while middle and cell_len(path) > width:
        middle = middle[1:]
        path = "/".join([first, "…", *middle, last])
    if cell_len(path) > width and first:
        path = f"…/{last}"
    if cell_len(path) <= width:
        return path
    tail = path[-width:]
    while cell_len(tail) > width - 1:
        tail = tail[1:]
    return "…" + tail


def milliseconds(time_ns: float) -> str:
    """A time for a column of milliseconds, always one decimal, so that the column lines up."""
    return "<0.1" if 0 < time_ns < 50_000 else f"{ms(time_ns):.1f}"


def percent(share: float) -> str:
    """A share for a column of percentages, always one decimal."""
    return "<0.1%" if 0 < share < 0.0005 else f"{100 * share:.1f}%"


def solid_bar(start: float, length: float, width: int) -> Text:
    """A bar of full blocks on a track of width cells; start and length are fractions of the track."""
    first = min(width - 1, int(start * width))
    eighths = max(1, round(min(length * width, width - first) * 8))
    return Text(" " * first + "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip())


def scale(label: str, width: int) -> Text:
    """The ends of a track of width cells: 0 and what its right end stands for."""
    return Text("0" + label.rjust(width - 1))


def thin_bar(start: float, length: float, width: int) -> Text:
    """The same as a line, precise to half a cell at both ends."""
    first = min(2 * width - 1, round(start * width * 2))
    last = min(2 * width, max(first + 1, round((start + length) * width * 2)))
    cells = [" "] * (first // 2)
    for cell in range(first // 2, (last + 1) // 2):
        left, right = 2 * cell >= first, 2 * cell + 2 <= last
        cells.append("━" if left and right else "╸" if left else "╺")
    return Text("".join(cells))
