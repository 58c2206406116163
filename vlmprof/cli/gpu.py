"""`vlmprof gpu RUN`: the stages by the GPU's own times, what the GPU waited for, and the audit of copies."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from vlmprof.model.gpu_result import CopyGroup, DeviceTime
    from vlmprof.model.results import StageSummary

_UNKNOWN = "–"


def gpu(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    *,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the GPU's own times: stages, idle time by cause, and its copies - pinned or pageable, GB/s, what less
    would do."""
    import msgspec
    from rich.console import Console

    from vlmprof.errors import FileUnreadable
    from vlmprof.model.gpu_result import read_gpu_result
    from vlmprof.model.run_folder import RunFolder
    from vlmprof.model.table_io import read_table

    folder = RunFolder.open(run)
    if not (folder.results / "gpu.json").exists() and not read_table(folder, "gpu_kernels").num_rows:
        raise FileUnreadable(
            f"{run} has no GPU times",
            hint="record on a GPU with --gpu-profiler nsys, or import a trace: vlmprof import FILES -o RUN",
        )
    result = read_gpu_result(folder)
    if json_:
        print(msgspec.json.encode(result).decode())
        return
    console = Console()
    if result.stages:
        console.print(_stages(result.stages))
    console.print(_devices(result.devices))
    console.print(_copies(result.copies))
    for line in _advice(result.copies):
        console.print(line, markup=False, highlight=False)


def _table(title: str, texts: Sequence[str], numbers: Sequence[str]) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None)
    for name in texts:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _stages(stages: "Sequence[StageSummary]") -> "Table":
    """Each stage of the requests whose GPU work was recorded."""
    from vlmprof.units import format_ns, format_share

    table = _table("Stages, by the GPU's own times", ["stage"], ["median", "share"])
    for each in stages:
        table.add_row(each.label, format_ns(each.median_ns), format_share(each.share))
    return table


def _devices(devices: "Sequence[DeviceTime]") -> "Table":
    """Each GPU's time by what it waited for."""
    from vlmprof.units import format_ns, format_share

    causes = ("busy", "waits for H2D", "in a queue", "for the CPU's launch", "no work")
    table = _table("GPU time", ["GPU"], ["recorded", *causes])
    for each in devices:
        parts = (
            each.busy_ns,
            each.idle_h2d_ns,
            each.idle_queue_ns,
            each.idle_launch_ns,
            each.idle_no_work_ns,
        )
        shares = (format_share(part / each.window_ns) if each.window_ns else _UNKNOWN for part in parts)
        table.add_row(str(each.device), format_ns(each.window_ns), *shares)
    return table


def _copies(groups: "Sequence[CopyGroup]") -> "Table":
    """A row per stage, direction and memory."""
    from vlmprof.cli.terminal_text import plain
    from vlmprof.units import format_bytes, format_ns

    table = _table(
        "Copies", ["stage", "phase", "direction", "host memory"], ["copies", "bytes", "time", "GB/s"]
    )
    for each in groups:
        memory = {True: "pinned", False: "pageable", None: _UNKNOWN}[each.pinned]
        names = (each.stage or _UNKNOWN, each.phase or _UNKNOWN, each.kind, memory)
        size, time = format_bytes(each.size_bytes), format_ns(each.copy_ns)
        rate = f"{each.bytes_per_s / 1e9:.2f}" if each.copy_ns else _UNKNOWN
        table.add_row(*(plain(name) for name in names), f"{each.copies:,}", size, time, rate)
    return table


def _advice(groups: "Sequence[CopyGroup]") -> list[str]:
    """What less would do, where the copies tell."""
    from vlmprof.units import format_bytes, format_ns

    lines = []
    for each in groups:
        where = f"{each.stage or 'copies'} {each.kind} ({'pinned' if each.pinned else 'pageable'})"
        fewer = each.packed_copies is not None and each.packed_copies < each.copies
        if fewer and each.packed_ns is not None and each.packed_ns < each.copy_ns:
            lines.append(
                f"{where}: one copy per span would be {each.packed_copies:,} instead of {each.copies:,}, "
                f"{format_ns(each.packed_ns)} instead of {format_ns(each.copy_ns)}"
            )
        if each.uint8_bytes is not None:
            lines.append(
                f"{where}: as uint8 instead of {each.dtype} {format_bytes(each.uint8_bytes)} instead of "
                f"{format_bytes(each.size_bytes)}"
            )
    return lines
