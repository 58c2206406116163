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
    Prompt,
    Rate,
    Requests,
    WarmUp,
    checked_rate,
)
from vlmprof.units import NS_PER_MS

if TYPE_CHECKING:
    from vlmprof.session.options import RunOptions

_RECIPES, _SERVER = "Recipes", "Server"


def run(
    model: Annotated[str, typer.Argument(help="A checkpoint folder, or a model hub's owner/name.")],
    engine_args: Annotated[
        list[str] | None, typer.Argument(help="After --: arguments for the engine, passed on as they are.")
    ] = None,
    *,
    out: Annotated[
        Path | None, typer.Option(help="Run folder. [default: runs/MODEL-TIME]", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
    images: Images = None,
    prompt: Prompt = None,
    requests: Requests = 40,
    warmup: WarmUp = 4,
    concurrency: Concurrency = 1,
    rate: Rate = None,
    max_tokens: MaxTokens = 16,
    seed: Annotated[
        int, typer.Option(help="Of generated images and of the order of blocks.", rich_help_panel=WORKLOAD)
    ] = 0,
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
    python: Annotated[
        Path | None, typer.Option(help="Interpreter that has the engine.", rich_help_panel=_SERVER)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port on 127.0.0.1 instead of a free one.", rich_help_panel=_SERVER)
    ] = None,
    ready_timeout: Annotated[
        float, typer.Option(help="Seconds to wait for the server.", rich_help_panel=_SERVER)
    ] = 900.0,
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
