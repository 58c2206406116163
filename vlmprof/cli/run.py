"""`vlmprof run MODEL`: serve, profile, attribute, report."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlmprof.errors import UsageError
from vlmprof.units import NS_PER_MS

if TYPE_CHECKING:
    from vlmprof.session.options import RunOptions

WORKLOAD, _RECIPES, PROFILERS, _SERVER = "Workload", "Recipes", "Profilers", "Server"


def run(
    model: Annotated[str, typer.Argument(help="A checkpoint folder, or a model hub's owner/name.")],
    engine_args: Annotated[
        list[str] | None, typer.Argument(help="After --: arguments for the engine, passed on as they are.")
    ] = None,
    *,
    out: Annotated[
        Path | None, typer.Option(help="Run folder. [default: runs/MODEL-TIME]", show_default=False)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that is there already.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures instead of generated ones.", rich_help_panel=WORKLOAD),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(help="Text beside the image; a number is put before it.", rich_help_panel=WORKLOAD),
    ] = None,
    requests: Annotated[
        int, typer.Option(min=2, help="Control and profiled requests together.", rich_help_panel=WORKLOAD)
    ] = 40,
    warmup: Annotated[
        int, typer.Option(min=0, help="Requests sent first and left out.", rich_help_panel=WORKLOAD)
    ] = 4,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Requests in flight at a time.", rich_help_panel=WORKLOAD)
    ] = 1,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Requests per second (Poisson) instead of --concurrency.", rich_help_panel=WORKLOAD
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens that each request generates.", rich_help_panel=WORKLOAD)
    ] = 16,
    seed: Annotated[
        int, typer.Option(help="Of generated images and of the order of blocks.", rich_help_panel=WORKLOAD)
    ] = 0,
    recipes: Annotated[
        str,
        typer.Option(help="Recipes that are on throughout: 1,2,8, all or exact.", rich_help_panel=_RECIPES),
    ] = "",
    ab: Annotated[
        str,
        typer.Option(
            "--ab",
            help="Recipes to compare with --recipes (or none) inside the same server: 1,2,8, all or exact.",
            rich_help_panel=_RECIPES,
        ),
    ] = "",
    rounds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="How often each side of --ab is measured. [default: 12; 8 where each time takes a server]",
            rich_help_panel=_RECIPES,
            show_default=False,
        ),
    ] = None,
    per_block: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Requests each time, per client of --concurrency. [default: 8]",
            rich_help_panel=_RECIPES,
            show_default=False,
        ),
    ] = None,
    load_cmd: Annotated[
        str,
        typer.Option(
            help="Your own load generator instead; {url}, {model} and {port} are replaced.",
            rich_help_panel=WORKLOAD,
        ),
    ] = "",
    cpu_profiler: Annotated[
        str, typer.Option(help="auto, austin, py-spy or none.", rich_help_panel=PROFILERS)
    ] = "auto",
    gpu_profiler: Annotated[
        str, typer.Option(help="auto, nsys, torch or none.", rich_help_panel=PROFILERS)
    ] = "auto",
    interval_ms: Annotated[
        float, typer.Option("--interval", min=0.1, help="Sampling interval, ms.", rich_help_panel=PROFILERS)
    ] = 2.0,
    austin: Annotated[
        Path | None, typer.Option(help="The austin program to use.", rich_help_panel=PROFILERS)
    ] = None,
    keep_reports: Annotated[
        bool,
        typer.Option(
            "--keep-nsys-reports",
            help="Keep .nsys-rep files, which hold the server's whole environment.",
            rich_help_panel=PROFILERS,
        ),
    ] = False,
    python: Annotated[
        Path | None, typer.Option(help="Interpreter that has the engine.", rich_help_panel=_SERVER)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port on 127.0.0.1 instead of a free one.", rich_help_panel=_SERVER)
    ] = None,
    ready_timeout: Annotated[
        float, typer.Option(help="Seconds to wait for the server.", rich_help_panel=_SERVER)
    ] = 900.0,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Serve a model, profile real image requests, and say where the time to first token goes.

    vlmprof run HuggingFaceTB/SmolVLM-256M-Instruct
    """
    from vlmprof.model.arms import TRIAL_ARM
    from vlmprof.session.options import RunOptions
    from vlmprof.workload.prompts import DEFAULT_PROMPT

    options = RunOptions(
        model=model,
        out=out or _default_folder(model),
        command=sys.argv,
        images=images,
        prompt=DEFAULT_PROMPT if prompt is None else prompt,
        requests=requests,
        warm_up=warmup,
        concurrency=concurrency,
        rate_per_s=checked_rate(rate),
        max_tokens=max_tokens,
        seed=seed,
        load_command=load_cmd,
        cpu_profiler=cpu_profiler,
        gpu_profiler=gpu_profiler,
        interval_ns=round(interval_ms * NS_PER_MS),
        austin=austin,
        python=python,
        port=port,
        ready_timeout_s=ready_timeout,
        keep_reports=keep_reports,
        overwrite=overwrite,
        recipes=recipes,
        trial={TRIAL_ARM: ab} if ab else {},
        rounds=rounds,
        per_block=per_block,
        engine_args=engine_args or [],
    )
    _profile_and_report(options, as_json=json_)


def _profile_and_report(options: "RunOptions", *, as_json: bool) -> None:
    from vlmprof.cli.compare import compared, write_comparison
    from vlmprof.cli.progress import ConsoleProgress
    from vlmprof.cli.report import print_result, write_report
    from vlmprof.session.profile import profile

    with ConsoleProgress() as progress:
        folder = profile(options, progress)
        comparison = None
        if options.trial:
            progress.step("Comparing")
            comparison = compared([folder], [])
            write_comparison([folder], comparison, folder)
        progress.step("Writing the report")
        page = write_report(folder)
    print_result(folder, page, comparison, as_json=as_json)


def checked_rate(rate: float | None) -> float | None:
    """The rate as it was given; raises `UsageError` for one that sends nothing."""
    if rate is not None and rate <= 0:
        raise UsageError(f"a rate of {rate} requests/s", hint="pass --rate a number above 0")
    return rate


def _default_folder(model: str) -> Path:
    import datetime

    name = Path(model).name or "model"
    return Path("runs") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
