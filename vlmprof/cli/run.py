"""`vlmprof run MODEL`: serve, profile, attribute, report."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlmprof.cli.workload_options import (
    PROFILERS,
    WORKLOAD,
    Austin,
    Concurrency,
    CpuProfiler,
    Images,
    IntervalMs,
    Json,
    MaxTokens,
    Overwrite,
    Port,
    Prompt,
    Python,
    Rate,
    ReadyTimeout,
    Requests,
    Seed,
    WarmUp,
)
from vlmprof.errors import UsageError
from vlmprof.units import NS_PER_MS

if TYPE_CHECKING:
    from vlmprof.session.options import RunOptions

_RECIPES = "Recipes"


def _load_command(value: str | None) -> str | None:
    """As it was given; raises `UsageError` for an empty one, as of a variable that is not set."""
    if value is not None and not value.strip():
        raise UsageError(
            "--load-cmd is empty",
            hint="as --load-cmd 'vllm bench serve --base-url {url} ...', or leave it out",
        )
    return value


def run(
    model: Annotated[str, typer.Argument(help="A checkpoint folder, or a model hub's owner/name.")],
    engine_args: Annotated[
        list[str] | None, typer.Argument(help="After --: arguments for the engine, passed on as they are.")
    ] = None,
    *,
    out: Annotated[Path | None, typer.Option(help="Run folder.", show_default="runs/MODEL-TIME")] = None,
    overwrite: Overwrite = False,
    images: Images = None,
    prompt: Prompt = None,
    requests: Requests = 40,
    warmup: WarmUp = 4,
    concurrency: Concurrency = 1,
    rate: Rate = None,
    max_tokens: MaxTokens = 16,
    seed: Seed = 0,
    recipes: Annotated[
        str,
        typer.Option(help="Recipes that are on throughout: 1,2,8, all or exact.", rich_help_panel=_RECIPES),
    ] = "",
    baseline: Annotated[
        str,
        typer.Option(
            help="Measure what the engine did before it took a recipe upstream, as `pil`; --ab is then compared "
            "with it, the engine as it is today (--ab 2) or that with recipes (--ab all).",
            rich_help_panel=_RECIPES,
        ),
    ] = "",
    ab: Annotated[
        str | None,
        typer.Option(
            "--ab",
            help="Recipes to compare with --recipes (or none) inside the same server: 1,2,8, all or exact.",
            rich_help_panel=_RECIPES,
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="How often each side of --ab is measured.",
            rich_help_panel=_RECIPES,
            show_default="12; 8 where each time takes a server",
        ),
    ] = None,
    per_block: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Requests each time, per client of --concurrency.",
            rich_help_panel=_RECIPES,
            show_default="8",
        ),
    ] = None,
    load_cmd: Annotated[
        str | None,
        typer.Option(
            callback=_load_command,
            help="Your own load generator instead; {url}, {model} and {port} are replaced.",
            rich_help_panel=WORKLOAD,
        ),
    ] = None,
    cpu_profiler: CpuProfiler = "auto",
    gpu_profiler: Annotated[
        str, typer.Option(help="auto, nsys, torch or none.", rich_help_panel=PROFILERS)
    ] = "auto",
    interval_ms: IntervalMs = 2.0,
    austin: Austin = None,
    keep_reports: Annotated[
        bool,
        typer.Option(
            "--keep-nsys-reports",
            help="Keep .nsys-rep files, which hold the server's whole environment.",
            rich_help_panel=PROFILERS,
        ),
    ] = False,
    python: Python = None,
    port: Port = None,
    ready_timeout: ReadyTimeout = 900.0,
    json_: Json = False,
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
        rate_per_s=rate,
        max_tokens=max_tokens,
        seed=seed,
        load_command=load_cmd or "",
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
        baseline=baseline,
        trial={} if ab is None else {TRIAL_ARM: ab},
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


def _default_folder(model: str) -> Path:
    import datetime

    name = Path(model).name or "model"
    return Path("runs") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
