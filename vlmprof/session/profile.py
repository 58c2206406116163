"""One whole run: prepare, serve, measure, stop, analyse; whatever happens, nothing captured is lost."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import groupby
from typing import NoReturn

import msgspec

from vlmprof.agent.control import AgentControl
from vlmprof.collect.base import Collector, Served
from vlmprof.engines.server import Server, start_server
from vlmprof.engines.vllm import HOST, serve_command, serve_environment
from vlmprof.errors import Interrupted, RecipeMisfit, VlmprofError
from vlmprof.model.run_folder import RunFolder
from vlmprof.patching import Launch
from vlmprof.session.baseline import fault_of
from vlmprof.session.counters import difference, read_counters
from vlmprof.session.interrupts import ignoring_interrupts, terminate_as_interrupt
from vlmprof.session.journal import Journal, disk_errors
from vlmprof.session.measure import measure
from vlmprof.session.measure_load import measure_load
from vlmprof.session.options import Progress, RunOptions
from vlmprof.session.pipeline import rebuild
from vlmprof.session.prepare import Prepared, first_info, prepare
from vlmprof.session.recipe_calls import inactions, never_called
from vlmprof.session.recipe_plan import with_recipes

IMAGE_TOKEN_COUNTS = "--enable-prompt-tokens-details"


def profile(options: RunOptions, progress: Progress) -> RunFolder:
    """Run a model under the profilers and analyse what they saw.

    Returns:
        A complete run folder, its report not yet written.

    Raises:
        VlmprofError: with the folder kept and marked `partial` or `failed`, where there was one.
    """
    with terminate_as_interrupt():
        prepared = prepare(options, progress)
        folder = prepared.folder
        journal = Journal(folder, first_info(prepared, _command(prepared, prepared.plan.launch)))
        with concluding(journal):
            for part in _by_server(prepared):
                _serve_and_measure(part, journal, progress)
            journal.close("complete")
            analyse(folder, journal, progress)
            _check_called(journal)
    return folder


@contextmanager
def concluding(journal: Journal) -> Iterator[None]:
    """Whatever ends a run, its folder keeps what there is and says what is missing."""
    folder = journal.folder
    try:
        with disk_errors(folder.path):
            yield
    except KeyboardInterrupt as error:
        journal.close("partial", "interrupted")
        raise Interrupted(
            f"interrupted; {journal.finished_requests} requests are kept in {folder.path}",
            hint=f"`vlmprof report {folder.path} --rebuild` shows what they say",
        ) from error
    except RecipeMisfit:
        raise
    except VlmprofError as error:
        journal.close("partial" if journal.finished_requests else "failed", error.message)
        raise


def analyse(folder: RunFolder, journal: Journal, progress: Progress) -> None:
    """Tables and results; what it writes into run.json stays there when the journal has another last word."""
    try:
        rebuild(folder, progress)
    finally:
        journal.info = folder.read_info()


def _check_called(journal: Journal) -> None:
    """What was on and never acted, a recipe or the baseline, makes the run invalid; all that it captured is kept.

    Raises:
        RecipeMisfit: names the recipes, or says what is wrong with the baseline.
    """
    log = journal.folder.raw / "server.log"
    idle = never_called(journal.info)
    if idle:
        numbers = ", ".join(f"{use.number} ({use.slug})" for use in idle)
        _close_invalid(
            journal,
            f"never called though on: recipe {numbers}",
            f"{log} says which plugins the engine loaded; is VLLM_PLUGINS set?",
        )
    inert = inactions(journal.info)
    if inert:
        _close_invalid(
            journal,
            "; ".join(inert),
            "leave out what has nothing to act on; `vlmprof recipes show` says on what it acts",
        )
    fault = fault_of(journal.info.baseline, watched=bool(journal.info.agents))
    if fault:
        _close_invalid(
            journal, fault, f"do the arguments after -- tell the engine otherwise? Its log is {log}"
        )


def _close_invalid(journal: Journal, fault: str, hint: str) -> NoReturn:
    error = f"{fault}; the run is invalid"
    journal.close("invalid", error)
    raise RecipeMisfit(error, hint=hint)


def _by_server(prepared: Prepared) -> Iterator[Prepared]:
    """The run in parts that are served by one server each; the profilers watch the first."""
    for server, blocks in groupby(prepared.blocks, key=lambda block: block.server):
        if server == 0:
            yield replace(prepared, blocks=list(blocks))
        else:
            yield replace(prepared, blocks=list(blocks), cpu=None, gpu=None)


def _command(prepared: Prepared, launch: Launch) -> list[str]:
    options = prepared.options
    own = [argument for collector in prepared.collectors for argument in collector.engine_args()]
    if IMAGE_TOKEN_COUNTS not in options.engine_args:
        own.append(IMAGE_TOKEN_COUNTS)
    own += launch.arguments
    command = serve_command(prepared.engine, options.model, prepared.port, [*own, *options.engine_args])
    for collector in prepared.collectors:
        command = collector.wrap_command(command)
    return command


def _serve_and_measure(prepared: Prepared, journal: Journal, progress: Progress) -> None:
    ending = ExitStack()
    try:
        _run(prepared, journal, progress, ending)
    finally:
        with ignoring_interrupts():
            ending.close()


def _run(prepared: Prepared, journal: Journal, progress: Progress, ending: ExitStack) -> None:
    """Start, measure; what has to be ended afterwards is left with `ending`."""
    agent = AgentControl(prepared.folder.raw)
    progress.step(f"Starting vLLM {prepared.engine.version}")
    with journal.step("Start server"):
        server = _start(prepared, agent)
        ending.callback(_stop_server, server, progress)
        server.wait_until_ready(prepared.options.ready_timeout_s, progress.detail)
    ending.callback(_flush_spans, agent, journal)
    for collector in prepared.collectors:
        ending.callback(stop_collector, collector, journal, progress)
        collector.attach(Served(server.pid, server.url))
    before = read_counters(server.url)
    if prepared.options.load_command:
        measure_load(prepared, server, journal, progress)
    else:
        measure(prepared, server, journal, progress)
    note_cache_counters(journal, difference(before, read_counters(server.url)))


def _start(prepared: Prepared, agent: AgentControl) -> Server:
    """Start the server of a part of the run, the recipes of its last block taking part."""
    environment = serve_environment(prepared.engine) | agent.environment(beacons=prepared.cpu is not None)
    for collector in prepared.collectors:
        environment |= collector.environment()
    raw, plan = prepared.folder.raw, prepared.plan
    launch = plan.launch_of(prepared.blocks[-1].arm)
    environment = with_recipes(environment, plan.environment(raw, prepared.engine), launch)
    url = f"http://{HOST}:{prepared.port}"
    return start_server(_command(prepared, launch), environment, url, raw / "server.log")


def note_cache_counters(journal: Journal, counters: dict[str, float]) -> None:
    """Add what a server's caches counted to what earlier servers of the run did."""
    policy = journal.info.cache_policy
    if policy is None:
        return
    counters = {name: policy.counters.get(name, 0.0) + count for name, count in counters.items()}
    journal.update(cache_policy=msgspec.structs.replace(policy, counters=counters))
    hits = counters.get("mm_cache_hits", 0.0)
    if policy.distinct_images and hits:
        again = "; had it seen them before, or were others served?" if journal.info.attached_to else ""
        journal.warn(f"the multimodal cache answered {hits:.0f} requests although all images differ{again}")


def _flush_spans(agent: AgentControl, journal: Journal) -> None:
    for pid in agent.wait_for_flush():
        journal.warn(f"process {pid} did not write its last spans")


def stop_collector(collector: Collector, journal: Journal, progress: Progress) -> None:
    """End one collector and note how it fared."""
    progress.step(f"Stopping {collector.name}")
    collector.stop()
    journal.set_collector(collector.info)


def _stop_server(server: Server, progress: Progress) -> None:
    progress.step("Stopping the server")
    server.stop()
