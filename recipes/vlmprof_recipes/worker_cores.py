"""A second thread for the CPU engine's worker, for as long as it computes a step with a prompt.

With two cores vLLM binds the worker's one OpenMP thread to the first and leaves the other to the API server and the
engine core. The second thread is bound to that one; between prompts it sleeps.
"""

import functools
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

from vlmprof.patching import PatchedCall

_CPUS = Path("/sys/devices/system/cpu")
_TASKS = Path("/proc/self/task")
# Where vLLM says which processors the threads are bound to, for GNU's OpenMP, Intel's and any other.
_BINDINGS = ("GOMP_CPU_AFFINITY", "KMP_AFFINITY", "OMP_PLACES")
# torch gives a thread no fewer elements than this.
_GRAIN = 32768

_SPINS = "GOMP_SPINCOUNT"
# How often an OpenMP thread without work looks for some before it sleeps: by itself for 6 ms, in which others need
# its core; so often, for 0.4 ms, which is longer than what Python does between two operators.
_FEW_SPINS = 20_000


def prompts_on_two_cores(call: PatchedCall, worker: Any, scheduler_output: Any) -> Any:
    """Compute a step that holds a part of a prompt with two threads; any other as the engine does."""
    processor = _second_processor()
    if processor is None:
        return call.give_way("a worker without a second core", worker, scheduler_output)
    if not holds_prompt(scheduler_output):
        return call.give_way("steps without a prompt", worker, scheduler_output)
    with second_thread(processor):
        return call.original(worker, scheduler_output)


@contextmanager
def soon_asleep(call: PatchedCall, manager: Any, rank: int, local_rank: int) -> Iterator[None]:
    """Start a worker of one bound thread so that a second one sleeps soon; a lone thread never looks for work."""
    environment: AbstractContextManager[None] = call.original(manager, rank, local_rank)
    with environment:
        if len(bound(os.environ)) != 1 or _SPINS in os.environ:
            yield
            return
        os.environ[_SPINS] = str(_FEW_SPINS)
        try:
            yield
        finally:
            del os.environ[_SPINS]


def holds_prompt(scheduler_output: Any) -> bool:
    """Whether a step computes more than the next token, and those guessed after it, of each request."""
    guessed = sum(map(len, scheduler_output.scheduled_spec_decode_tokens.values()))
    tokens: int = scheduler_output.total_num_scheduled_tokens
    return tokens - guessed > len(scheduler_output.num_scheduled_tokens)


@contextmanager
def second_thread(processor: int) -> Iterator[None]:
    """Have torch compute with two threads, of which the second is bound to a processor."""
    # vLLM puts a function that does nothing in the place of torch's own: the threads would not be bound.
    torch._C.set_num_threads(2)
    try:
        before = _tasks()
        # Starts the thread, unless it has been started before.
        torch.empty(2 * _GRAIN).fill_(0)
        for task in _tasks() - before:
            os.sched_setaffinity(task, {processor})
        yield
    finally:
        torch._C.set_num_threads(1)


@functools.cache
def _second_processor() -> int | None:
    """For the second thread of this process; None on a GPU, or where the worker has several threads already."""
    if torch.get_num_threads() > 1:
        return None
    # The worker is bound itself; the engine core that started it may run wherever the server may.
    allowed = frozenset(os.sched_getaffinity(os.getppid()))
    return next(iter(spare_processors(bound(os.environ), allowed)), None)


def bound(environment: Mapping[str, str]) -> frozenset[int]:
    """Processors that vLLM bound a worker's threads to; none where it did not, or where the user chose them."""
    if environment.get("VLLM_CPU_OMP_THREADS_BIND", "auto") != "auto":
        return frozenset()
    told = next(filter(None, map(environment.get, _BINDINGS)), "")
    return frozenset(map(int, re.findall(r"\d+", told)))


def spare_processors(own: frozenset[int], allowed: frozenset[int], cpus: Path = _CPUS) -> list[int]:
    """One processor of each core that is left over near a worker's own: of a core's the last, as vLLM chooses.

    Args:
        own: processors that the worker's threads are bound to; where there are none, nothing is left over.
        allowed: those that the server may run on.
        cpus: the kernel's folder of processors; where it does not tell, each is a core of one NUMA node.
    """
    if not own:
        return []
    node = _node(min(own), cpus)
    cores = {frozenset(_siblings(cpu, cpus)) for cpu in allowed if _node(cpu, cpus) == node}
    return sorted(max(core & allowed) for core in cores if not core & own)


def _tasks() -> set[int]:
    return set(map(int, os.listdir(_TASKS)))


def _node(cpu: int, cpus: Path) -> str:
    return next((each.name for each in (cpus / f"cpu{cpu}").glob("node[0-9]*")), "")


def _siblings(cpu: int, cpus: Path) -> set[int]:
    """The processors of a core, itself included: of a list as `0,64` or `0-1`."""
    try:
        told = (cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text()
    except OSError:
        return {cpu}
    found = {cpu}
    for part in told.split(","):
        first, _, last = part.strip().partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
