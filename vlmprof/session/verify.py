"""Proof that recipes leave inputs and outputs as they are, in the engine's processor and in its server."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from vlmprof.engines.vllm import (
    VllmInstallation,
    described_by_hub,
    find_vllm,
    resolve_model,
    serve_environment,
)
from vlmprof.errors import EngineFailed, RecipeMisfit
from vlmprof.model.run_info import ModelInfo
from vlmprof.model.verification import ProcessorCheck, ServerCheck, Verification
from vlmprof.patching import Family, Recipe
from vlmprof.patching.registry import load_recipes, narrowed, with_needs
from vlmprof.patching.selection import select
from vlmprof.patching.source import InstalledSource
from vlmprof.patching.verify_processor import ProcessorJob
from vlmprof.session.interrupts import ignoring_interrupts, terminate_as_interrupt
from vlmprof.session.options import Progress, RunOptions
from vlmprof.session.recipe_path import make_recipe_path
from vlmprof.session.recipe_plan import family_of_model, plan_recipes
from vlmprof.session.verify_images import PromptImages, write_images
from vlmprof.session.verify_server import Conversation, check_server, start_with_recipes
from vlmprof.session.verify_verdict import AllChecks, verdict

_MODULE = "vlmprof.patching.verify_processor"
_LINES_OF_LOG = 3
_TRUST = "--trust-remote-code"


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What `vlmprof recipes verify` was asked to do.

    Attributes:
        images: the user's pictures beside the odd ones; None for generated photographs.
        recipes: which to verify, `1,2,8`, `exact` or `all`.
        dtypes: of the servers that are started, one after the other; none for the processor alone.
    """

    model: str
    images: Path | None = None
    recipes: str = "all"
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    python: Path | None = None
    ready_timeout_s: float = 900.0
    engine_args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is verified.

    Attributes:
        sets: each recipe with what it needs, then all together.
        skipped: number -> why a recipe is not verified.
    """

    model: ModelInfo
    engine: VllmInstallation
    family: Family
    recipes: Mapping[int, Recipe]
    sets: list[list[int]]
    skipped: Mapping[int, str] = field(default_factory=dict)


def verify(options: VerifyOptions, progress: Progress) -> Verification:
    """Run every check.

    Raises:
        VlmprofError: the model, its engine or a recipe cannot be had, or the engine fails.
    """
    progress.step("Checking")
    subject = _subject(options)
    with _scratch() as folder, terminate_as_interrupt():
        images = write_images(folder, options.images)
        progress.step(f"In the processor: {len(images.all)} prompts, {len(subject.sets)} sets of recipes")
        processor = _check_processor(options, subject, images.all, folder)
        server = [
            check
            for dtype in options.dtypes
            for check in _check_server(options, subject, images.some, dtype, (folder / dtype, progress))
        ]
    checks = AllChecks(processor, server, len(images.all), len(images.some), options.dtypes)
    return Verification(
        model=subject.model.name,
        family=subject.family,
        engine=f"vllm {subject.engine.version}",
        packages=subject.engine.packages,
        verdicts=[verdict(numbers, subject.recipes, checks) for numbers in subject.sets],
        processor=processor,
        server=server,
        skipped=dict(subject.skipped),
        skipped_images=[str(each) for each in images.skipped],
    )


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder that is removed in the end, unless the engine failed: the log that the error names is in it."""
    folder = Path(tempfile.mkdtemp(prefix="vlmprof-verify-"))
    try:
        yield folder
    except EngineFailed:
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _subject(options: VerifyOptions) -> _Subject:
    """What to verify; something is, or it is refused here, before anything starts.

    Raises:
        UsageError: no recipe has one of the numbers.
        RecipeMisfit: none of those that were named can be verified.
    """
    engine = find_vllm(options.python)
    model = described_by_hub(resolve_model(options.model), engine)
    installed = InstalledSource(engine.search_path)
    family = family_of_model(model)
    recipes = narrowed(load_recipes(installed), family)
    selection = select(options.recipes, recipes, family, installed)
    live = [number for number in selection.numbers if recipes[number].patches_for(family)]
    skipped = dict(selection.refused) | {
        number: "takes part in how the server is started: compare two runs"
        for number in selection.numbers
        if number not in live
    }
    if not live:
        reasons = "; ".join(f"{number} {reason}" for number, reason in sorted(skipped.items()))
        raise RecipeMisfit(
            f"none of the recipes {options.recipes!r} can be verified for {model.name}: "
            f"{reasons or 'none is installed'}",
            hint="`vlmprof recipes list` says what fits; name others with --recipes",
        )
    return _Subject(model, engine, family, recipes, sets_to_verify(live, recipes), skipped)


def sets_to_verify(numbers: Sequence[int], recipes: Mapping[int, Recipe]) -> list[list[int]]:
    """Each recipe with what it needs, then all together; each set once."""
    sets = [tuple(sorted(with_needs([number], recipes))) for number in numbers]
    return [list(each) for each in dict.fromkeys([*sets, *([tuple(numbers)] if len(numbers) > 1 else [])])]


def _check_processor(
    options: VerifyOptions, subject: _Subject, prompts: list[PromptImages], folder: Path
) -> list[ProcessorCheck]:
    """Every set and prompt in a process of the engine's interpreter.

    Raises:
        EngineFailed: that process ended in an error, or left results that cannot be read.
    """
    job, results, log = folder / "job.json", folder / "results.jsonl", folder / "processor.log"
    asked = ProcessorJob(
        model=options.model,
        family=subject.family.name,
        trust_remote_code=_TRUST in options.engine_args,
        sets=subject.sets,
        prompts=[[str(path) for path in prompt] for prompt in prompts],
    )
    job.write_bytes(msgspec.json.encode(asked))
    command = [str(subject.engine.python), "-m", _MODULE, str(job), str(results)]
    with log.open("wb") as output:
        ended = subprocess.run(
            command,
            env=_environment(subject.engine, folder),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode:
        said = log.read_text(errors="replace").strip().splitlines()[-_LINES_OF_LOG:]
        raise EngineFailed(
            f"the engine's processor ended with exit code {ended.returncode}: {' / '.join(said)}",
            hint=f"does it work without recipes? vlmprof run {options.model}; is {_TRUST} needed after --? "
            f"Its log is {log}",
        )
    return read_results(results)


def read_results(path: Path) -> list[ProcessorCheck]:
    """The checks that the process wrote, one a line; how many there must be is for the verdict to say.

    Raises:
        EngineFailed: there is no such file, or a line that is no check.
    """
    try:
        return msgspec.json.Decoder(ProcessorCheck).decode_lines(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise EngineFailed(
            f"the results of the engine's processor cannot be read: {error}",
            hint=f"what it wrote is {path}; does --python name an interpreter with another vlmprof?",
        ) from error


def _environment(engine: VllmInstallation, folder: Path) -> dict[str, str]:
    environment = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR", **serve_environment(engine)}
    if "vlmprof" not in engine.packages:
        paths = [str(make_recipe_path(folder)), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


def _check_server(
    options: VerifyOptions,
    subject: _Subject,
    prompts: list[PromptImages],
    dtype: str,
    place: tuple[Path, Progress],
) -> list[ServerCheck]:
    """Every set with some of the prompts in one server of a dtype."""
    raw, progress = place
    trial = {f"B{index}": ",".join(map(str, numbers)) for index, numbers in enumerate(subject.sets)}
    plan = plan_recipes(
        RunOptions(model=options.model, out=raw, command=[], trial=trial), subject.model, subject.engine
    )
    progress.step(f"Starting a server in {dtype}")
    arguments = [*options.engine_args, "--dtype", dtype]
    server = start_with_recipes(subject.engine, plan, raw, arguments, options.model)
    try:
        server.wait_until_ready(options.ready_timeout_s, progress.detail)
        progress.step(f"In the server, {dtype}")
        conversation = Conversation(server, options.model, raw, dtype)
        return list(check_server(conversation, subject.sets, prompts))
    finally:
        with ignoring_interrupts():
            server.stop()
