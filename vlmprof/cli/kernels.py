"""`vlmprof kernels RUN [OTHER]`: GPU kernels by family, phase and layer, of one run or of two side by side."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vlmprof.analysis.kernels import KernelBreakdown

ALL = "all"


class PhaseChoice(StrEnum):
    """Which kernels to look at."""

    ALL = ALL
    VISION = "vision"
    PREFILL = "prefill"
    DECODE = "decode"


def kernels(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    other: Annotated[Path | None, typer.Argument(help="A second run, to stand beside the first.")] = None,
    *,
    phase: Annotated[
        PhaseChoice | None, typer.Option("--phase", help="One phase only; without it, each phase there is.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show where the GPU's time goes: by family of kernels, by phase and per layer; of two runs, what differs."""
    import msgspec
    from rich.console import Console

    from vlmprof.cli.kernels_render import kernel_report

    runs = {path: _breakdowns(path) for path in ([run] if other is None else [run, other])}
    phases = _phases(list(runs.values()), phase)
    if json_:
        document = [
            {"run": str(path), **msgspec.to_builtins(found[ALL]), "phases": _but_all(found)}
            for path, found in runs.items()
        ]
        print(msgspec.json.encode(document).decode())
        return
    console = Console()
    for line in kernel_report([path.name for path in runs], list(runs.values()), phases):
        console.print(line, markup=False, highlight=False)


def _breakdowns(path: Path) -> dict[str, "KernelBreakdown"]:
    """The breakdown of all kernels of a run, and of each phase that is known."""
    from vlmprof.analysis.kernel_phases import breakdown_by_phase
    from vlmprof.analysis.kernels import kernel_breakdown
    from vlmprof.errors import FileUnreadable
    from vlmprof.model.run_folder import RunFolder
    from vlmprof.model.table_io import read_table

    folder = RunFolder.open(path)
    table = read_table(folder, "gpu_kernels")
    if not table.num_rows:
        raise FileUnreadable(
            f"{path} has no GPU kernels",
            hint="record on a GPU with --gpu-profiler nsys, or import a trace: vlmprof import FILES -o RUN",
        )
    return {ALL: kernel_breakdown(table), **breakdown_by_phase(table, read_table(folder, "gpu_attribution"))}


def _phases(runs: list[dict[str, "KernelBreakdown"]], asked: PhaseChoice | None) -> list[str]:
    """Those asked for, else all kernels and then each phase that every run has; no phase that is all, twice."""
    from vlmprof.errors import UsageError

    common = [name for name in runs[0] if all(name in found for found in runs)]
    if asked is None:
        is_whole = {name for name in common for found in runs if found[name].kernels == found[ALL].kernels}
        return common[1:] if len(is_whole) > 1 and len(common) == 2 else common
    if asked.value not in common:
        raise UsageError(
            f"no kernels are known to be of the phase {asked}: there is {', '.join(common)}",
            hint="phases are known where spans of the workers were recorded, or vLLM annotated its steps",
        )
    return [asked.value]


def _but_all(found: dict[str, "KernelBreakdown"]) -> dict[str, object]:
    import msgspec

    return {name: msgspec.to_builtins(each) for name, each in found.items() if name != ALL}
