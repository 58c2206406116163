"""Options that `vlmprof run`, `attach` and `ladder` share: what is sent, to whom, who watches, where it goes."""

import math
from pathlib import Path
from typing import Annotated

import typer

from vlmprof.errors import UsageError

WORKLOAD, PROFILERS, SERVER = "Workload", "Profilers", "Server"
_LARGEST_SEED = (1 << 32) - 1
_LARGEST_PORT = (1 << 16) - 1


def _finite(param: typer.CallbackParam, value: float | None) -> float | None:
    """The number as it was given; raises `UsageError` for `nan` and `inf`, which no range keeps out."""
    if value is not None and not math.isfinite(value):
        raise UsageError(
            f"{param.opts[0]} {value} is no amount", hint=f"pass {param.opts[0]} a finite number"
        )
    return value


def _rate(value: float | None) -> float | None:
    """The rate as it was given; raises `UsageError` for one that sends nothing, or everything at once."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise UsageError(f"a rate of {value} requests/s", hint="pass --rate a number above 0")
    return value


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there already.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]

Images = Annotated[
    Path | None,
    typer.Option(help="Folder of pictures instead of generated ones.", rich_help_panel=WORKLOAD),
]
Prompt = Annotated[
    str | None,
    typer.Option(help="Text beside the image; a number is put before it.", rich_help_panel=WORKLOAD),
]
Requests = Annotated[
    int, typer.Option(min=4, help="Control and profiled requests together.", rich_help_panel=WORKLOAD)
]
WarmUp = Annotated[
    int, typer.Option(min=0, help="Requests sent first and left out.", rich_help_panel=WORKLOAD)
]
Concurrency = Annotated[
    int, typer.Option(min=1, help="Requests in flight at a time.", rich_help_panel=WORKLOAD)
]
Rate = Annotated[
    float | None,
    typer.Option(
        callback=_rate,
        help="Requests per second (Poisson) instead of --concurrency.",
        rich_help_panel=WORKLOAD,
    ),
]
MaxTokens = Annotated[
    int, typer.Option(min=1, help="Tokens that each request generates.", rich_help_panel=WORKLOAD)
]
Seed = Annotated[
    int,
    typer.Option(
        min=0,
        max=_LARGEST_SEED,
        help="Of generated images and of the order of blocks.",
        rich_help_panel=WORKLOAD,
    ),
]
FreshSeed = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=_LARGEST_SEED,
        help="Of generated images and of the order of blocks.",
        show_default="another each time, for the server's caches",
        rich_help_panel=WORKLOAD,
    ),
]

CpuProfiler = Annotated[str, typer.Option(help="auto, austin, py-spy or none.", rich_help_panel=PROFILERS)]
IntervalMs = Annotated[
    float,
    typer.Option(
        "--interval",
        min=0.1,
        max=1000.0,
        callback=_finite,
        help="Sampling interval, ms.",
        rich_help_panel=PROFILERS,
    ),
]
Austin = Annotated[Path | None, typer.Option(help="The austin program to use.", rich_help_panel=PROFILERS)]

Python = Annotated[Path | None, typer.Option(help="Interpreter that has the engine.", rich_help_panel=SERVER)]
Port = Annotated[
    int | None,
    typer.Option(
        min=1, max=_LARGEST_PORT, help="Port on 127.0.0.1 instead of a free one.", rich_help_panel=SERVER
    ),
]
ReadyTimeout = Annotated[
    float,
    typer.Option(min=0.0, callback=_finite, help="Seconds to wait for the server.", rich_help_panel=SERVER),
]
