"""`vlmprof ladder MODEL`: recipes added one by one inside one server, beside the paper's tables."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlmprof.cli.workload_options import (
    WORKLOAD,
    Austin,
    Concurrency,
    CpuProfiler,
    Images,
    IntervalMs,
    Json,
    MaxTokens,
    Port,
    Prompt,
    Python,
    ReadyTimeout,
    Seed,
)
from vlmprof.errors import FileUnreadable
from vlmprof.units import NS_PER_MS

if TYPE_CHECKING:
    from vlmprof.model.run_folder import RunFolder
    from vlmprof.session.ladder import LadderOptions


def ladder(
    model: Annotated[str, typer.Argument(help="A checkpoint folder, or a model hub's owner/name.")],
    engine_args: Annotated[
        list[str] | None, typer.Argument(help="After --: arguments for the engine, passed on as they are.")
    ] = None,
    *,
    recipes: Annotated[str, typer.Option(help="Recipes to add: 1,2,8, all or exact.")] = "all",
    baseline: Annotated[
        str,
        typer.Option(
            help="Start from what the engine did before it took a recipe upstream, as the paper does: `pil`, with "
            "a row of recipe 2 for the engine as it is."
        ),
    ] = "",
    order: Annotated[
        str | None,
        typer.Option(
            help="Rows instead of the paper's, as '10 1,11 8': what comes on with each.", show_default=False
        ),
    ] = None,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Also measure all recipes without each one.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=2, help="How often each row is measured.")] = 12,
    per_block: Annotated[
        int, typer.Option(min=1, help="Requests each time, per client of --concurrency.")
    ] = 4,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder.",
            show_default="runs/ladder-MODEL, with the baseline's name behind it",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew instead of going on with what is in the folder.")
    ] = False,
    images: Images = None,
    prompt: Prompt = None,
    requests: Annotated[
        int,
        typer.Option(
            min=4,
            help="Requests that profile the baseline, for the predictions.",
            rich_help_panel=WORKLOAD,
        ),
    ] = 40,
    warmup: Annotated[
        int,
        typer.Option(
            min=0,
            help="Requests sent first and left out, once at the server's start.",
            rich_help_panel=WORKLOAD,
        ),
    ] = 4,
    concurrency: Concurrency = 1,
    max_tokens: MaxTokens = 16,
    seed: Seed = 0,
    cpu_profiler: CpuProfiler = "auto",
    interval_ms: IntervalMs = 2.0,
    austin: Austin = None,
    python: Python = None,
    port: Port = None,
    ready_timeout: ReadyTimeout = 900.0,
    json_: Json = False,
) -> None:
    """Add recipes one by one inside one server: time to first token, tokens/s and latency of every row.

    The same command goes on where it was cut off.
    """
    from vlmprof.session.ladder import LadderOptions
    from vlmprof.session.options import RunOptions
    from vlmprof.workload.prompts import DEFAULT_PROMPT

    run = RunOptions(
        model=model,
        out=out or Path("runs") / "-".join(filter(None, ("ladder", Path(model).name or "model", baseline))),
        command=sys.argv,
        images=images,
        prompt=DEFAULT_PROMPT if prompt is None else prompt,
        requests=requests,
        warm_up=warmup,
        concurrency=concurrency,
        max_tokens=max_tokens,
        seed=seed,
        cpu_profiler=cpu_profiler,
        interval_ns=round(interval_ms * NS_PER_MS),
        austin=austin,
        python=python,
        port=port,
        ready_timeout_s=ready_timeout,
        overwrite=overwrite,
        recipes=recipes,
        baseline=baseline,
        rounds=rounds,
        per_block=per_block,
        engine_args=engine_args or [],
    )
    _measure_and_print(LadderOptions(run, order, ablate), as_json=json_)


def _measure_and_print(options: "LadderOptions", *, as_json: bool) -> None:
    import msgspec
    from rich.console import Console

    from vlmprof.cli.ladder_render import print_ladder
    from vlmprof.cli.progress import ConsoleProgress
    from vlmprof.cli.report import write_report
    from vlmprof.session.ladder import measure_ladder

    with ConsoleProgress() as progress:
        folder, result = measure_ladder(options, progress)
        progress.step("Writing the report")
        write_report(folder)
        pages = [str(page) for page in write_ladder(folder)]
    if as_json:
        print(msgspec.json.encode({"reports": pages, **msgspec.to_builtins(result)}).decode())
    else:
        print_ladder(result, pages, Console())


def write_ladder(folder: "RunFolder") -> list[Path]:
    """Write `ladder.html` and `ladder.md` from `results/ladder.json`; both paths.

    Raises:
        FileUnreadable: the folder holds no ladder or cannot be written.
        ToolMissing: no package that renders the page is installed.
    """
    from vlmprof.cli.ladder_markdown import ladder_markdown
    from vlmprof.cli.report import find_report
    from vlmprof.model.ladder import read_ladder
    from vlmprof.model.run_folder import write_atomically

    written = {
        folder.path / "ladder.html": find_report("ladder")(folder),
        folder.path / "ladder.md": ladder_markdown(read_ladder(folder)),
    }
    for path, content in written.items():
        try:
            write_atomically(path, content.encode())
        except OSError as error:
            raise FileUnreadable(f"cannot write {path}: {error.strerror}") from error
    return list(written)
