"""`vlmprof import FILES -o RUN`: other programs' recordings as a run."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vlmprof.model.run_folder import RunFolder


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Nsight Systems reports and SQLite exports, PyTorch profiler traces, austin's MOJO, py-spy's, "
            "speedscope's and collapsed stacks, in any mixture.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The run's folder, which must not hold one.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in that folder.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Read other programs' recordings into a run folder, on one clock where they say the time."""
    from rich.console import Console

    from vlmprof.session.import_files import import_files

    command = ["vlmprof", *sys.argv[1:]]
    with Console(stderr=True).status(f"Reading {len(files)} file{'s' if len(files) > 1 else ''}"):
        folder = import_files(files, out, command, overwrite=overwrite)
    _print(folder, as_json=json_)


def _print(folder: "RunFolder", *, as_json: bool) -> None:
    """What was imported: each file with its clock, each table with its rows."""
    import msgspec
    from rich.console import Console
    from rich.markup import escape

    from vlmprof.cli.terminal_text import plain
    from vlmprof.session.import_files import count_rows

    info, rows = folder.read_info(), count_rows(folder)
    files = [
        {"file": collector.detail, "format": collector.name, "clock": clock.method}
        for collector, clock in zip(info.collectors, info.clocks, strict=True)
    ]
    if as_json:
        document = {"run": str(folder.path), "files": files, "rows": rows, "warnings": info.warnings}
        print(msgspec.json.encode(document).decode())
        return
    console = Console()
    for file in files:
        console.print(escape(plain(f"{file['file']}: {file['format']}; {file['clock']}")))
    console.print(", ".join(f"{count:,} {name}" for name, count in rows.items() if count) or "no rows")
    for warning in info.warnings:
        console.print(f"[yellow]warning[/] {escape(plain(warning))}")
    console.print(f"run: {escape(str(folder.path))}")
