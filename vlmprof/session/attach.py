"""Profiles a server that is already running: as a run does, except that nothing of it is started or stopped."""

from collections.abc import Mapping
from contextlib import ExitStack

from vlmprof.agent.standing import HeldByAnother, StandingAgent
from vlmprof.collect.base import Served
from vlmprof.collect.running_tree import served_processes
from vlmprof.engines.running import RunningServer
from vlmprof.errors import UsageError
from vlmprof.model.run_folder import RunFolder
from vlmprof.read.served import write_served
from vlmprof.session.attach_prepare import Attachable, AttachOptions, attached_info, prepare_attach
from vlmprof.session.counters import difference, read_counters
from vlmprof.session.interrupts import ignoring_interrupts, terminate_as_interrupt
from vlmprof.session.journal import Journal
from vlmprof.session.measure import measure
from vlmprof.session.options import Progress
from vlmprof.session.profile import analyse, concluding, note_cache_counters, stop_collector


def attach(options: AttachOptions, headers: Mapping[str, str], progress: Progress) -> RunFolder:
    """Measure and profile a running server, and analyse what was seen.

    Args:
        headers: sent with every request, as an API key; they are written nowhere.

    Returns:
        A complete run folder, its report not yet written.

    Raises:
        VlmprofError: with the folder kept and marked `partial` or `failed`, where there was one.
    """
    with terminate_as_interrupt():
        target = prepare_attach(options, headers, progress)
        folder = target.prepared.folder
        journal = Journal(folder, attached_info(target))
        with concluding(journal):
            _watch_and_measure(target, journal, progress)
            journal.close("complete")
            analyse(folder, journal, progress)
    return folder


def _watch_and_measure(target: Attachable, journal: Journal, progress: Progress) -> None:
    ending = ExitStack()
    try:
        _run(target, journal, progress, ending)
    finally:
        with ignoring_interrupts():
            ending.close()


def _run(target: Attachable, journal: Journal, progress: Progress, ending: ExitStack) -> None:
    """Begin to watch, measure; what has to be ended afterwards is left with `ending`."""
    server, prepared = target.server, target.prepared
    raw = prepared.folder.raw
    ending.callback(_note_processes, server, prepared.folder)
    _note_processes(server, prepared.folder)
    if target.spans is not None:
        _begin_spans(target.spans, journal, progress, ending)
    for collector in prepared.collectors:
        progress.step(f"Attaching {collector.name}")
        ending.callback(stop_collector, collector, journal, progress)
        collector.attach(Served(server.pid or 0, server.url))
        journal.set_collector(collector.info)
    before = read_counters(server.url)
    # The recipes' switch, which no process of this server reads.
    ending.callback((raw / "switch").unlink, missing_ok=True)
    measure(prepared, server, journal, progress)
    note_cache_counters(journal, difference(before, read_counters(server.url)))


def _note_processes(server: RunningServer, folder: RunFolder) -> None:
    if server.pid is not None:
        write_served(folder.raw, served_processes(server.pid))


def _begin_spans(agent: StandingAgent, journal: Journal, progress: Progress, ending: ExitStack) -> None:
    progress.step("Asking the server's agent for spans")
    try:
        late = agent.begin()
    except HeldByAnother as error:
        raise UsageError(
            "another vlmprof records this server's spans", hint="wait until it has ended"
        ) from error
    ending.callback(_end_spans, agent, journal)
    for pid in late:
        journal.warn(f"the agent of process {pid} does not answer")


def _end_spans(agent: StandingAgent, journal: Journal) -> None:
    for pid in agent.end():
        journal.warn(f"process {pid} did not write its last spans")
    agent.copy_into(journal.folder.raw)
