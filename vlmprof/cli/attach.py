"""`vlmprof attach --url URL`: profile a server that is already running."""

import os
import secrets
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlmprof.cli.workload_options import (
    PROFILERS,
    SERVER,
    Austin,
    Concurrency,
    CpuProfiler,
    FreshSeed,
    Images,
    IntervalMs,
    Json,
    MaxTokens,
    Overwrite,
    Prompt,
    Rate,
    Requests,
    WarmUp,
)
from vlmprof.errors import UsageError
from vlmprof.units import NS_PER_MS

if TYPE_CHECKING:
    from vlmprof.session.attach_prepare import AttachOptions

_SEEDS = 1 << 31


def attach(
    *,
    url: Annotated[str, typer.Option(help="The server, as http://127.0.0.1:8000.")] = "",
    pid: Annotated[
        int | None,
        typer.Option(
            help="One of its processes.",
            show_default="what listens on the port",
            rich_help_panel=SERVER,
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="One of its models, where it serves several.", rich_help_panel=SERVER)
    ] = "",
    traces: Annotated[
        Path | None,
        typer.Option(
            help="Where the server's torch profiler writes.",
            show_default="as its command line says",
            rich_help_panel=SERVER,
        ),
    ] = None,
    print_env: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Print what to set before a server is started, so that spans can be taken later, and end.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder.", show_default="runs/attached-TIME")] = None,
    overwrite: Overwrite = False,
    images: Images = None,
    prompt: Prompt = None,
    requests: Requests = 40,
    warmup: WarmUp = 4,
    concurrency: Concurrency = 1,
    rate: Rate = None,
    max_tokens: MaxTokens = 16,
    seed: FreshSeed = None,
    cpu_profiler: CpuProfiler = "auto",
    gpu_profiler: Annotated[
        str,
        typer.Option(help="auto, torch or none: nsys cannot attach.", rich_help_panel=PROFILERS),
    ] = "auto",
    interval_ms: IntervalMs = 2.0,
    austin: Austin = None,
    json_: Json = False,
) -> None:
    """Profile a vLLM server that is already running; it is never stopped, signalled or changed.

    It gets image requests as `vlmprof run` sends them, and is sampled while it answers half of them.

    vlmprof attach --url http://127.0.0.1:8000

    vlmprof attach --url http://127.0.0.1:8000 --pid 4711 --images photos --concurrency 4

    The stages of TTFT need an agent that waits in the server, from its start on:

    eval "$(vlmprof attach --print-env /tmp/spans)"; vllm serve MODEL

    A server that asks for a key gets the one in VLMPROF_API_KEY.
    """
    from vlmprof.session.attach_prepare import AttachOptions
    from vlmprof.session.options import RunOptions
    from vlmprof.workload.prompts import DEFAULT_PROMPT

    if print_env is not None:
        _print_environment(print_env)
        return
    if not url:
        raise UsageError("no server to attach to", hint="as vlmprof attach --url http://127.0.0.1:8000")
    run = RunOptions(
        model=model,
        out=out or _default_folder(),
        command=sys.argv,
        images=images,
        prompt=DEFAULT_PROMPT if prompt is None else prompt,
        requests=requests,
        warm_up=warmup,
        concurrency=concurrency,
        rate_per_s=rate,
        max_tokens=max_tokens,
        # A server that is attached to again must not know the images of the last time.
        seed=secrets.randbelow(_SEEDS) if seed is None else seed,
        cpu_profiler=cpu_profiler,
        gpu_profiler=gpu_profiler,
        interval_ns=round(interval_ms * NS_PER_MS),
        austin=austin,
        overwrite=overwrite,
    )
    _attach_and_report(AttachOptions(url, run, pid, traces), as_json=json_)


def _attach_and_report(options: "AttachOptions", *, as_json: bool) -> None:
    from vlmprof.cli.progress import ConsoleProgress
    from vlmprof.cli.report import print_result, write_report
    from vlmprof.engines.asking import API_KEY_VARIABLE, key_headers
    from vlmprof.session.attach import attach as attach_session

    headers = key_headers(os.environ.get(API_KEY_VARIABLE, ""))
    with ConsoleProgress() as progress:
        folder = attach_session(options, headers, progress)
        progress.step("Writing the report")
        page = write_report(folder)
    print_result(folder, page, as_json=as_json)


def _print_environment(folder: Path) -> None:
    from vlmprof.agent.standing import standing_environment

    variables = standing_environment(folder)
    path = shlex.quote(variables.pop("PYTHONPATH"))
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    print(f'export PYTHONPATH={path}"${{PYTHONPATH:+:$PYTHONPATH}}"')


def _default_folder() -> Path:
    import datetime

    return Path("runs") / f"attached-{datetime.datetime.now():%Y%m%d-%H%M%S}"
