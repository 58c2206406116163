"""Recipe 16: the second thread of a CPU engine's worker, where it may run, and for how long."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.unit.synthetic_run import write_synthetic_run
from vlmprof.patching import PatchedCall
from vlmprof.patching.registry import load_recipes
from vlmprof_recipes.worker_cores import bound, holds_prompt, soon_asleep, spare_processors

_TWO = sorted(os.sched_getaffinity(0))[:2]
_GNU_OPENMP = Path(torch.__file__).parent / "lib" / "libgomp.so.1"


def _processors(root: Path, siblings: dict[int, str], nodes: dict[int, int]) -> Path:
    for cpu, told in siblings.items():
        folder = root / f"cpu{cpu}"
        (folder / "topology").mkdir(parents=True)
        (folder / "topology" / "thread_siblings_list").write_text(told + "\n")
        (folder / f"node{nodes[cpu]}").mkdir()
    return root


def test_a_core_of_the_worker_s_node_that_it_has_no_thread_on_is_spare(tmp_path: Path) -> None:
    """Two nodes of two cores of two threads, numbered as Linux does: siblings far apart."""
    siblings = {cpu: f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)}
    cpus = _processors(tmp_path, siblings, {cpu: cpu % 4 // 2 for cpu in range(8)})
    everywhere = frozenset(range(8))
    assert spare_processors(frozenset({4}), everywhere, cpus) == [5]
    assert spare_processors(frozenset({6}), everywhere, cpus) == [7]
    assert spare_processors(frozenset({0}), frozenset({0, 1, 4}), cpus) == [1]
    assert spare_processors(frozenset({4, 5}), everywhere, cpus) == []
    assert spare_processors(frozenset({4}), frozenset({0, 4}), cpus) == []


def test_siblings_may_be_told_as_a_range(tmp_path: Path) -> None:
    cpus = _processors(tmp_path, {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, dict.fromkeys(range(4), 0))
    assert spare_processors(frozenset({1}), frozenset(range(4)), cpus) == [3]


def test_where_the_kernel_tells_nothing_each_processor_is_a_core(tmp_path: Path) -> None:
    assert spare_processors(frozenset({0}), frozenset({0, 3}), tmp_path) == [3]


@pytest.mark.parametrize(
    "told",
    [
        {"GOMP_CPU_AFFINITY": "0 12"},
        {"KMP_AFFINITY": "granularity=fine,explicit,proclist=[0,12]"},
        {"OMP_PLACES": "{0,12}"},
    ],
)
def test_every_openmp_is_told_in_its_own_words(told: dict[str, str]) -> None:
    assert bound(told) == {0, 12}
    assert bound(told | {"VLLM_CPU_OMP_THREADS_BIND": "auto"}) == {0, 12}


def test_what_the_user_chose_or_nobody_bound_has_nothing_to_spare() -> None:
    assert not bound({"GOMP_CPU_AFFINITY": "0", "VLLM_CPU_OMP_THREADS_BIND": "0"})
    assert not bound({})
    assert spare_processors(frozenset(), frozenset({0, 1})) == []


def _step(tokens: dict[str, int], guessed: dict[str, list[int]]) -> SimpleNamespace:
    return SimpleNamespace(
        num_scheduled_tokens=tokens,
        total_num_scheduled_tokens=sum(tokens.values()),
        scheduled_spec_decode_tokens=guessed,
    )


@pytest.mark.parametrize(
    ("tokens", "guessed", "holds"),
    [
        ({"a": 1, "b": 1}, {}, False),
        ({"a": 1, "b": 300}, {}, True),
        ({"a": 4, "b": 1}, {"a": [7, 8, 9]}, False),
        ({"a": 4, "b": 2}, {"a": [7, 8, 9]}, True),
        ({}, {}, False),
    ],
)
def test_a_step_with_more_than_the_next_tokens_holds_a_prompt(
    tokens: dict[str, int], guessed: dict[str, list[int]], holds: bool
) -> None:
    assert holds_prompt(_step(tokens, guessed)) is holds


@contextmanager
def _started(processors: str) -> Iterator[None]:
    """What vLLM's own tells the worker, as far as it matters here."""
    os.environ["GOMP_CPU_AFFINITY"] = processors
    yield
    del os.environ["GOMP_CPU_AFFINITY"]


@pytest.mark.parametrize(
    ("processors", "before", "during"), [("0", "", "20000"), ("0", "7", "7"), ("0 1 2", "", ""), ("", "", "")]
)
def test_only_a_worker_of_one_bound_thread_is_told_to_sleep_soon(
    processors: str, before: str, during: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the user says stays; afterwards the engine core has its own environment again. A GPU's is not bound."""
    for name in ("GOMP_SPINCOUNT", "VLLM_CPU_OMP_THREADS_BIND"):
        monkeypatch.delenv(name, raising=False)
    if before:
        monkeypatch.setenv("GOMP_SPINCOUNT", before)
    call = PatchedCall(lambda *_arguments: _started(processors), 1 << 16)
    with soon_asleep(call, None, 0, 0):
        assert os.environ.get("GOMP_SPINCOUNT", "") == during
    assert os.environ.get("GOMP_SPINCOUNT", "") == before


_WORKER = """
import json, os, torch
from types import SimpleNamespace
from vlmprof.patching import PatchedCall
from vlmprof_recipes.worker_cores import prompts_on_two_cores

def threads(*_ignored):
    torch.empty(1 << 20).fill_(0)
    tasks = [int(task) for task in os.listdir("/proc/self/task")]
    return torch.get_num_threads(), sorted({cpu for task in tasks for cpu in os.sched_getaffinity(task)})

def fails(*_ignored):
    raise ValueError("out of memory")

def step(tokens, function=threads):
    scheduled = SimpleNamespace(
        num_scheduled_tokens={"a": tokens}, total_num_scheduled_tokens=tokens, scheduled_spec_decode_tokens={}
    )
    try:
        return prompts_on_two_cores(PatchedCall(function, 1 << 16), None, scheduled)
    except ValueError as error:
        return str(error)

bound_before = threads()
answers = [step(1), step(300), step(1), step(300, fails), step(1), step(300)]
print(json.dumps([bound_before, *answers]))
"""


def _worker(**environment: str) -> Any:
    """A worker's process as vLLM starts it: bound to the first of two processors that its parent may run on."""
    binding = {"LD_PRELOAD": str(_GNU_OPENMP), "OMP_NUM_THREADS": "1", "GOMP_CPU_AFFINITY": str(_TWO[0])}
    said = subprocess.run(
        [sys.executable, "-c", _WORKER],
        env={**os.environ, **binding, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(said.stdout)


@pytest.mark.skipif(len(_TWO) < 2, reason="needs two processors")
@pytest.mark.skipif(
    not _GNU_OPENMP.exists(), reason="needs a torch with GNU's OpenMP, as vLLM's CPU engine has it"
)
def test_a_prompt_s_step_has_a_thread_on_the_other_processor_and_the_next_step_has_not() -> None:
    """A step that fails leaves one thread too."""
    one, two = [1, [_TWO[0]]], [2, _TWO]
    before, *answers = _worker()
    assert before == one
    # The second thread sleeps where it is; those that compute are counted.
    assert [answers[0], answers[1]] == [one, two]
    assert [answers[2][0], answers[3], answers[4][0]] == [1, "out of memory", 1]
    assert answers[5] == two


@pytest.mark.skipif(len(_TWO) < 2, reason="needs two processors")
@pytest.mark.parametrize(
    "environment",
    [{"VLLM_CPU_OMP_THREADS_BIND": str(_TWO[0])}, {"OMP_NUM_THREADS": "2"}],
    ids=["chosen by the user", "two threads"],
)
def test_a_worker_with_other_threads_keeps_them(environment: dict[str, str]) -> None:
    before, *answers = _worker(**environment)
    assert [answer[0] for answer in answers if answer != "out of memory"] == [before[0]] * 5


@pytest.mark.parametrize(("cores", "claims"), [(2, True), (1, False), (16, False)])
def test_only_a_machine_with_two_cores_is_promised_anything(cores: int, claims: bool, tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path, cores=cores)
    assert bool(load_recipes()[16].diagnose(run).effects) is claims
