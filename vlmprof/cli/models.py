"""`vlmprof models list` and `make`: checkpoints of random weights for machines without a model hub."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vlmprof.units import format_bytes

if TYPE_CHECKING:
    from rich.table import Table

    from vlmprof.models import CheckpointInfo

app = typer.Typer(help="Checkpoints of random weights with a real architecture.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("list")
def list_checkpoints(as_json: AsJson = False) -> None:
    """Show the checkpoints that can be made, with their sizes and image geometry."""
    from rich.console import Console

    from vlmprof.models import CHECKPOINTS, describe

    pairs = [(describe(each, "full"), describe(each, "small")) for each in CHECKPOINTS.values()]
    if as_json:
        _print_json({"checkpoints": [_listed(full, small) for full, small in pairs]})
        return
    Console().print(_table(pairs))


@app.command("make")
def make_checkpoint(
    name: Annotated[str, typer.Argument(help="A name from `vlmprof models list`.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write; must be empty or absent.")],
    scale: Annotated[
        Literal["full", "small"],
        typer.Option(help="full: the real layers; small: narrow ones, all else the same."),
    ] = "full",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a checkpoint made here before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint: real config, geometry and token ids, random weights."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    from vlmprof.models import make_checkpoint as make

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"{name}: tokenizer", total=1.0)

        def report(step: str, fraction: float) -> None:
            progress.update(task, description=f"{name}: {step}", completed=fraction)

        info = make(name, out, scale=scale, seed=seed, force=force, progress=report)
    if as_json:
        _print_json({**asdict(info), "path": str(info.path), "commands": _commands(info)})
        return
    _print_made(info)


def _print_made(info: "CheckpointInfo") -> None:
    from rich.console import Console

    assert info.path is not None
    console = Console(highlight=False, soft_wrap=True)
    size = sum(file.stat().st_size for file in info.path.iterdir())
    console.print(
        f"Wrote [bold]{info.name}[/bold] ({info.scale}, {_count(info.parameters)} parameters, "
        f"{format_bytes(size)}) to {info.path}"
    )
    console.print(
        f"Random weights: it answers with meaningless text. One 640x480 image is {info.crops} "
        f"{'crop' if info.crops == 1 else 'crops'} and {info.image_tokens} image tokens."
    )
    for purpose, command in _commands(info).items():
        console.print(f"{purpose:8} {command}", markup=False)


def _commands(info: "CheckpointInfo") -> dict[str, str]:
    folder = shlex.quote(str(info.path))
    extra = " ".join(info.serve_args)
    return {
        "profile": f"vlmprof run {folder}{' -- ' + extra if extra else ''}",
        "serve": f"vllm serve {folder} --max-model-len 8192{' ' + extra if extra else ''}",
    }


def _table(pairs: list[tuple["CheckpointInfo", "CheckpointInfo"]]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for header in ("name", "family"):
        table.add_column(header, no_wrap=True)
    for header in ("full", "small", "640x480\ntokens"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("tiles", no_wrap=True)
    for full, small in pairs:
        sizes = (f"{_count(info.parameters)} {format_bytes(info.weights_bytes):>7}" for info in (full, small))
        table.add_row(full.name, full.family, *sizes, str(full.image_tokens), full.tiling)
    return table


def _listed(full: "CheckpointInfo", small: "CheckpointInfo") -> dict[str, Any]:
    sizes: dict[str, Any] = {
        info.scale: {"parameters": info.parameters, "weights_bytes": info.weights_bytes}
        for info in (full, small)
    }
    of_scale = {"scale", "seed", "path", "parameters", "weights_bytes"}
    return {**{key: value for key, value in asdict(full).items() if key not in of_scale}, **sizes}


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.2f} B" if parameters >= 1e9 else f"{parameters / 1e6:.4g} M"


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2))
