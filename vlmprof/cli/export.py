"""`vlmprof export RUN --to FORMAT`: a run for other programs' viewers."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ExportFormat(StrEnum):
    """What can be written."""

    PERFETTO = "perfetto"
    SPEEDSCOPE = "speedscope"
    COLLAPSED = "collapsed"
    CHROME = "chrome"


def export(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    *,
    to: Annotated[ExportFormat, typer.Option("--to", help="The format.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write it instead of the run's folder.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write a run as a Perfetto, speedscope, collapsed or Chrome file."""
    import msgspec
    from rich.console import Console

    from vlmprof.model.run_folder import RunFolder
    from vlmprof.session.export_run import export_run

    folder = RunFolder.open(run)
    with Console(stderr=True).status(f"Writing {to}"):
        path = export_run(folder, to, out)
    if json_:
        document = {"run": str(run), "file": str(path), "size_bytes": path.stat().st_size}
        print(msgspec.json.encode(document).decode())
    else:
        print(path)
