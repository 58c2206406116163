"""`vlmprof doctor`: what is installed and permitted, what is missing and costs, and what fixes it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlmprof.errors import ExitCode

if TYPE_CHECKING:
    from rich.table import Table

    from vlmprof.collect.doctor_probes import Finding

SCHEMA_VERSION = 1

_MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "missing": "[red]missing[/]"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what a run would find here: engine, samplers, permissions, GPU, and how to fix what is missing.

    Exits with 0 when a run is possible, with 3 when the engine is missing.
    """
    from vlmprof.collect.doctor_probes import can_run, examine

    findings = examine(Path.cwd())
    possible = can_run(findings)
    if as_json:
        _print_json(findings, possible)
    else:
        _print_table(findings, possible)
    if not possible:
        raise typer.Exit(ExitCode.TOOL_MISSING)


def _print_json(findings: "list[Finding]", possible: bool) -> None:
    import msgspec

    document = {"schema_version": SCHEMA_VERSION, "can_run": possible, "findings": findings}
    typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def _print_table(findings: "list[Finding]", possible: bool) -> None:
    from rich.console import Console

    console = Console()
    console.print(_table(findings))
    warned = sum(finding.state != "ok" for finding in findings)
    verdict = "A run is possible" if possible else "No run is possible"
    console.print(
        f"{verdict}; {warned} of {len(findings)} findings cost something." if warned else f"{verdict}."
    )


def _table(findings: "list[Finding]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(finding.detail)
        for label, value in (("costs", finding.cost), ("fix", finding.fix)):
            if value:
                text.append(f"\n{label}: ", "dim").append(value)
        table.add_row(_MARKS[finding.state], finding.name, text)
    return table
