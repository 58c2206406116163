"""The tables of `vlmprof kernels`."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from vlmprof.analysis.kernel_comparison import LayerComparison, compare_layers
from vlmprof.cli.terminal_text import keep_start, milliseconds, percent, plain
from vlmprof.units import NS_PER_US

if TYPE_CHECKING:
    from vlmprof.analysis.kernels import KernelBreakdown, LayerPattern

_ABSENT = "–"
_KERNELS_SHOWN = 24
_NAME_WIDTH = 60


def kernel_report(
    names: Sequence[str], runs: Sequence[dict[str, "KernelBreakdown"]], phases: Sequence[str]
) -> Iterator[Table | str]:
    """Families and layers of each phase; of two runs, the two layers kernel by kernel."""
    labels = [plain(name) for name in names]
    for phase in phases:
        breakdowns = [found[phase] for found in runs]
        title = "" if phase == "all" else f" in {phase}"
        yield _families(labels, breakdowns, title)
        layers = [breakdown.layer for breakdown in breakdowns]
        if any(layers):
            yield _layers(labels, layers, title)
        first, *others = layers
        if first and others and others[0]:
            yield from _comparison(labels, compare_layers(first, others[0]), title)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None)
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _families(names: Sequence[str], breakdowns: Sequence["KernelBreakdown"], title: str) -> Table:
    """A row per family, the most time in the first run first."""
    columns = [column for name in names for column in (name, "ms", "share")]
    table = _table(f"Kernels by family{title}", "family", *columns)
    found = [{each.family: each for each in breakdown.families} for breakdown in breakdowns]
    for family in dict.fromkeys(name for each in found for name in each):
        cells = []
        for of_run, breakdown in zip(found, breakdowns, strict=True):
            each = of_run.get(family)
            if each is None:
                cells += [_ABSENT] * 3
            else:
                share = percent(each.total_ns / max(1, breakdown.total_ns))
                cells += [f"{each.kernels:,}", milliseconds(each.total_ns), share]
        table.add_row(family, *cells)
    return table


def _layers(names: Sequence[str], layers: Sequence["LayerPattern | None"], title: str) -> Table:
    """Mean and standard deviation of each family over the layers."""
    table = _table(f"Per layer{title}, us", "", *names)
    table.add_row("layers found", *(f"{layer.layers:,}" if layer else _ABSENT for layer in layers))
    table.add_row("kernels in each", *(f"{len(layer.names)}" if layer else _ABSENT for layer in layers))
    for family in dict.fromkeys(family for layer in layers if layer for family in layer.family_ns):
        cells = [
            _spread(layer.family_ns[family], layer.family_spread_ns[family])
            if layer and family in layer.family_ns
            else _ABSENT
            for layer in layers
        ]
        table.add_row(family, *cells)
    table.add_row(
        "layer", *(_spread(layer.mean_ns, layer.spread_ns) if layer else _ABSENT for layer in layers)
    )
    return table


def _spread(mean_ns: float, spread_ns: float) -> str:
    return f"{mean_ns / NS_PER_US:.2f} ±{spread_ns / NS_PER_US:.2f}"


def _comparison(names: Sequence[str], found: LayerComparison, title: str) -> Iterator[Table | str]:
    """Kernel by kernel, what only one layer has first; then what the difference is made of."""
    table = _table(f"A layer, kernel by kernel{title}, us", "kernel", "family", *names, "only in")
    for pair in found.kernels[:_KERNELS_SHOWN]:
        times = (
            f"{count} x {time_ns / count / NS_PER_US:.2f}" if count else _ABSENT
            for count, time_ns in zip(pair.counts, pair.times_ns, strict=True)
        )
        only = next((name for name, count in zip(reversed(names), pair.counts, strict=True) if not count), "")
        table.add_row(keep_start(_short(plain(pair.name)), _NAME_WIDTH), pair.family, *times, only)
    yield table
    if len(found.kernels) > _KERNELS_SHOWN:
        yield f"and {len(found.kernels) - _KERNELS_SHOWN} kernels more: --json has them all"
    yield f"Per layer{title}, {names[1]} against {names[0]}:"
    for part in found.parts:
        if part.first_ns or part.second_ns:
            yield f"  {part.part}: {_change(part.change_ns)}{_ratio(part.first_ns, part.second_ns)}"
    yield f"  balance: {_change(found.balance_ns)}"


def _short(name: str) -> str:
    """A kernel's name without what all templates begin with."""
    return re.sub(r"^void |\(anonymous namespace\)::|at::native::", "", name)


def _change(change_ns: float) -> str:
    verb = "costs" if change_ns > 0 else "gains"
    return f"{verb} {abs(change_ns) / NS_PER_US:.2f} us"


def _ratio(first_ns: float, second_ns: float) -> str:
    return f" ({first_ns / second_ns:.2f}x)" if first_ns and second_ns else ""
