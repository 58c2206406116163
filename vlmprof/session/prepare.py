"""Everything that can be refused is refused here, before a server is started or a folder is made."""

import sys
import time
from dataclasses import dataclass, replace

import msgspec

from vlmprof import __version__
from vlmprof.collect.base import Collector
from vlmprof.collect.choose import choose_cpu, choose_gpu
from vlmprof.engines.vllm import (
    VllmInstallation,
    choose_port,
    find_vllm,
    resolve_model,
    serve_command,
)
from vlmprof.errors import UsageError
from vlmprof.model.request import Phase
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import (
    SCHEMA_VERSION,
    CachePolicy,
    CollectorInfo,
    EngineInfo,
    ModelInfo,
    RunInfo,
    WorkloadInfo,
)
from vlmprof.session.host import describe_host
from vlmprof.session.options import Progress, RunOptions
from vlmprof.session.recipe_plan import RecipePlan, plan_recipes
from vlmprof.session.resume import planned_blocks, take_up
from vlmprof.workload.images import ImageSource, folder_images, generated_images
from vlmprof.workload.load_command import check_load_command
from vlmprof.workload.schedule import Block, plan_blocks
from vlmprof.workload.trial import contents_needed, plan_trial, usual_size

_CACHE_NOTE = (
    "every request carries another image and another prompt number, so that neither the multimodal cache nor "
    "the prefix cache can answer it; the engine's caches are on, as its users run them"
)
_TRIAL_CACHE_NOTE = (
    "; arms of a trial send the same requests, but share no cache entry: its keys name the recipes and what a "
    "request asks the processor for"
)
_LOAD_CACHE_NOTE = "the load command decides which images and prompts repeat"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that can start: what to serve, what to send, what watches.

    Attributes:
        earlier: run.json of the run that this one goes on with; `blocks` are then those that it lacks.
    """

    options: RunOptions
    model: ModelInfo
    engine: VllmInstallation
    plan: RecipePlan
    port: int
    blocks: list[Block]
    images: ImageSource
    skipped_images: list[str]
    folder: RunFolder
    cpu: Collector | None
    gpu: Collector | None
    infos: list[CollectorInfo]
    earlier: RunInfo | None = None

    @property
    def collectors(self) -> list[Collector]:
        return [collector for collector in (self.cpu, self.gpu) if collector is not None]


def prepare(options: RunOptions, progress: Progress) -> Prepared:
    """Check model, engine, port, load, images and profilers, then make the run folder.

    Raises:
        VlmprofError: the first of them that does not do.
    """
    progress.step("Checking")
    model = resolve_model(options.model)
    progress.detail("engine")
    engine = find_vllm(options.python)
    plan = plan_recipes(options, model, engine)
    for number, reason in sorted(plan.refused.items()):
        progress.note(f"recipe {number} left out: {reason}")
    blocks = _plan_blocks(options, plan)
    port = choose_port(options.port)
    serve_command(engine, options.model, port, options.engine_args)
    if options.load_command:
        check_load_command(options.load_command)
    progress.detail("images")
    images, skipped = chosen_images(options, contents_needed(blocks))
    for name in skipped:
        progress.note(f"skipped image {name}")
    progress.detail("profilers")
    folder = RunFolder(options.out)
    cpu, cpu_info = choose_cpu(
        options.cpu_profiler, folder.raw, austin=options.austin, interval_ns=options.interval_ns
    )
    gpu, gpu_info = choose_gpu(options.gpu_profiler, folder.raw, keep_reports=options.keep_reports)
    for info in (cpu_info, gpu_info):
        progress.note(f"{info.kind.upper()} profiler: {info.reason}")
    prepared = Prepared(
        options, model, engine, plan, port, blocks, images, skipped, folder, cpu, gpu, [cpu_info, gpu_info]
    )
    if options.resume and not options.overwrite and folder.info_path.exists():
        return _going_on(prepared, progress)
    if options.overwrite:
        folder.remove()
    RunFolder.create(options.out)
    return prepared


def _going_on(prepared: Prepared, progress: Progress) -> Prepared:
    """Only what the run in the folder lacks is sent; profilers that have seen their blocks stay away."""
    earlier = take_up(prepared.folder, first_info(prepared, []), prepared.blocks)
    lacking = sum(block.phase != Phase.WARM_UP for block in earlier.remaining)
    progress.note(f"going on with {prepared.folder.path}: {lacking} blocks are still to be sent")
    watching = (None, None) if earlier.profiled else (prepared.cpu, prepared.gpu)
    return replace(prepared, blocks=earlier.remaining, earlier=earlier.info, cpu=watching[0], gpu=watching[1])


def _plan_blocks(options: RunOptions, plan: RecipePlan) -> list[Block]:
    blocks = plan_blocks(
        options.requests,
        warm_up=options.warm_up,
        # How many requests a load command sends, and how many at a time, is its own business.
        concurrency=1 if options.load_command else options.concurrency,
        seed=options.seed,
        recipes=plan.baseline,
        behaviour=plan.behaviour,
    )
    if not options.trial:
        _check_no_size(options)
        return blocks
    if options.load_command:
        raise UsageError(
            "a load command cannot be compared request by request", hint="leave out --load-cmd, or the trial"
        )
    usual = usual_size(alternate=plan.alternates)
    return blocks + plan_trial(
        plan.arms,
        rounds=options.rounds or usual.rounds,
        requests_per_block=(options.per_block or usual.requests_per_block) * options.concurrency,
        seed=options.seed,
        after=blocks,
        alternate=plan.alternates,
        behaviour=plan.behaviour,
    )


def _check_no_size(options: RunOptions) -> None:
    """Refuse the size of a trial that is not asked for, which would be passed over without a word."""
    given = [
        name
        for name, value in (("--rounds", options.rounds), ("--per-block", options.per_block))
        if value is not None
    ]
    if given:
        raise UsageError(
            f"{' and '.join(given)} without --ab: there is nothing to compare",
            hint="name the recipes to compare with --ab; how many requests profile is said by --requests",
        )


def chosen_images(options: RunOptions, count: int) -> tuple[ImageSource, list[str]]:
    """The pictures to send, and the names of those that cannot be read."""
    if options.images is None:
        return generated_images(count, options.seed), []
    found = folder_images(options.images, count, repeatable=bool(options.trial))
    return found, [str(image) for image in found.skipped]


def first_info(prepared: Prepared, command: list[str]) -> RunInfo:
    """run.json as it stands before the server starts."""
    if prepared.earlier is not None:
        return msgspec.structs.replace(prepared.earlier, status="running", error="")
    options = prepared.options
    return RunInfo(
        schema_version=SCHEMA_VERSION,
        vlmprof_version=__version__,
        name=prepared.folder.path.name,
        status="running",
        created_unix_ns=time.time_ns(),
        command=options.command or sys.argv,
        model=prepared.model,
        host=describe_host(),
        engine=EngineInfo(
            name="vllm",
            version=prepared.engine.version,
            command=command,
            python=prepared.engine.packages.get("python", ""),
            packages=prepared.engine.packages,
            device=prepared.engine.device,
        ),
        workload=_workload(prepared),
        cache_policy=CachePolicy(
            distinct_images=not options.load_command,
            distinct_prompts=not options.load_command,
            note=_LOAD_CACHE_NOTE
            if options.load_command
            else _CACHE_NOTE + (_TRIAL_CACHE_NOTE if options.trial else ""),
        ),
        collectors=prepared.infos,
        recipes=prepared.plan.uses(),
        baseline=prepared.plan.old.use() if prepared.plan.old else None,
        blocks=planned_blocks(prepared.blocks),
    )


def _workload(prepared: Prepared) -> WorkloadInfo:
    options = prepared.options
    return WorkloadInfo(
        image_source="" if options.load_command else prepared.images.description,
        prompt=options.prompt,
        requests=options.requests,
        warm_up=options.warm_up,
        concurrency=options.concurrency,
        rate_per_s=options.rate_per_s,
        max_tokens=options.max_tokens,
        seed=options.seed,
        load_command=options.load_command,
        skipped_images=prepared.skipped_images,
    )
