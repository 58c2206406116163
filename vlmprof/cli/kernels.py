"""`vlmprof kernels RUN [OTHER]`: GPU kernels by family and by layer, of one run or of two side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from vlmprof.analysis.kernels import KernelBreakdown


def kernels(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    other: Annotated[Path | None, typer.Argument(help="A second run, to stand beside the first.")] = None,
    *,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show where the GPU's time goes, by family of kernels and per layer."""
    import msgspec
    from rich.console import Console

    runs = [run] if other is None else [run, other]
    breakdowns = [_breakdown(path) for path in runs]
    if json_:
        document = [
            {"run": str(path), **msgspec.to_builtins(breakdown)}
            for path, breakdown in zip(runs, breakdowns, strict=True)
        ]
        print(msgspec.json.encode(document).decode())
        return
    console = Console()
    names = [path.name for path in runs]
    console.print(_families(names, breakdowns))
    if any(breakdown.layer for breakdown in breakdowns):
        console.print(_layers(names, breakdowns))
    for line in _only_in_one(names, breakdowns):
        console.print(line, markup=False, highlight=False)


def _breakdown(path: Path) -> "KernelBreakdown":
    from vlmprof.analysis.kernels import kernel_breakdown
    from vlmprof.errors import FileUnreadable
    from vlmprof.model.run_folder import RunFolder
    from vlmprof.model.table_io import read_table

    table = read_table(RunFolder.open(path), "gpu_kernels")
    if not table.num_rows:
        raise FileUnreadable(
            f"{path} has no GPU kernels",
            hint="record on a GPU with --gpu-profiler nsys, or import a trace: vlmprof import FILES -o RUN",
        )
    return kernel_breakdown(table)


def _families(names: list[str], breakdowns: list["KernelBreakdown"]) -> "Table":
    """A row per family, the most time in the first run first."""
    from rich.table import Table

    from vlmprof.cli.terminal_text import milliseconds, percent, plain

    table = Table(title="Kernels by family", title_justify="left", box=None)
    table.add_column("family")
    for name in names:
        table.add_column(plain(name), justify="right")
        table.add_column("ms", justify="right")
        table.add_column("share", justify="right")
    found = [{each.family: each for each in breakdown.families} for breakdown in breakdowns]
    for family in dict.fromkeys(name for each in found for name in each):
        cells = []
        for of_run, breakdown in zip(found, breakdowns, strict=True):
            each = of_run.get(family)
            if each is None:
                cells += ["–", "–", "–"]
            else:
                share = percent(each.total_ns / max(1, breakdown.total_ns))
                cells += [f"{each.kernels:,}", milliseconds(each.total_ns), share]
        table.add_row(family, *cells)
    return table


def _layers(names: list[str], breakdowns: list["KernelBreakdown"]) -> "Table":
    """Microseconds of each family in the mean layer."""
    from rich.table import Table

    from vlmprof.cli.terminal_text import plain

    layers = [breakdown.layer for breakdown in breakdowns]
    table = Table(title="Per layer, us", title_justify="left", box=None)
    table.add_column("")
    for name in names:
        table.add_column(plain(name), justify="right")
    table.add_row("layers found", *(f"{layer.layers:,}" if layer else "–" for layer in layers))
    table.add_row("kernels in each", *(f"{len(layer.names)}" if layer else "–" for layer in layers))
    families = dict.fromkeys(family for layer in layers if layer for family in layer.family_ns)
    for family in families:
        times_ns = [layer.family_ns.get(family) if layer else None for layer in layers]
        table.add_row(family, *("–" if time_ns is None else f"{time_ns / 1000:.1f}" for time_ns in times_ns))
    whole = (
        f"{layer.mean_ns / 1000:.1f} ±{layer.spread_ns / 1000:.1f}" if layer else "–" for layer in layers
    )
    table.add_row("layer", *whole)
    return table


def _only_in_one(names: list[str], breakdowns: list["KernelBreakdown"]) -> list[str]:
    """Kernels of a layer that the other run's layer lacks."""
    from vlmprof.cli.terminal_text import keep_start, plain

    if len(breakdowns) < 2:
        return []
    layers = [set(breakdown.layer.names) if breakdown.layer else set() for breakdown in breakdowns]
    return [
        f"only in a layer of {plain(name)}: {keep_start(plain(kernel), 90)}"
        for name, own, others in zip(names, layers, reversed(layers), strict=True)
        for kernel in sorted(own - others)
    ]
