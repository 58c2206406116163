"""Options that `vlmprof run` and `vlmprof attach` share: what is sent, who watches, where it goes."""

from pathlib import Path
from typing import Annotated

import typer

from vlmprof.errors import UsageError

WORKLOAD, PROFILERS = "Workload", "Profilers"

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there already.")]
Images = Annotated[
    Path | None,
    typer.Option(help="Folder of pictures instead of generated ones.", rich_help_panel=WORKLOAD),
]
Prompt = Annotated[
    str | None,
    typer.Option(help="Text beside the image; a number is put before it.", rich_help_panel=WORKLOAD),
]
Requests = Annotated[
    int, typer.Option(min=2, help="Control and profiled requests together.", rich_help_panel=WORKLOAD)
]
WarmUp = Annotated[
    int, typer.Option(min=0, help="Requests sent first and left out.", rich_help_panel=WORKLOAD)
]
Concurrency = Annotated[
    int, typer.Option(min=1, help="Requests in flight at a time.", rich_help_panel=WORKLOAD)
]
Rate = Annotated[
    float | None,
    typer.Option(help="Requests per second (Poisson) instead of --concurrency.", rich_help_panel=WORKLOAD),
]
MaxTokens = Annotated[
    int, typer.Option(min=1, help="Tokens that each request generates.", rich_help_panel=WORKLOAD)
]
CpuProfiler = Annotated[str, typer.Option(help="auto, austin, py-spy or none.", rich_help_panel=PROFILERS)]
IntervalMs = Annotated[
    float, typer.Option("--interval", min=0.1, help="Sampling interval, ms.", rich_help_panel=PROFILERS)
]
Austin = Annotated[Path | None, typer.Option(help="The austin program to use.", rich_help_panel=PROFILERS)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def checked_rate(rate: float | None) -> float | None:
    """The rate as it was given; raises `UsageError` for one that sends nothing."""
    if rate is not None and rate <= 0:
        raise UsageError(f"a rate of {rate} requests/s", hint="pass --rate a number above 0")
    return rate
