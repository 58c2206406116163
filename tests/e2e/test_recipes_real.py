"""Recipes in the real vLLM: switched between blocks, counted, refused, served without a profiler, gone on with."""

import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import ENGINE_ARGS, Start
from tests.e2e.vlmprof_process import Outcome, assert_refused, ended_well
from vlmprof.engines.server import start_server
from vlmprof.errors import ExitCode
from vlmprof.model.comparison import read_comparison
from vlmprof.model.ladder import read_ladder
from vlmprof.model.request import Request
from vlmprof.model.run_folder import RunFolder
from vlmprof.session.journal import read_requests
from vlmprof.workload.chat import ChatOptions, chat_request
from vlmprof.workload.images import generated_images

pytestmark = pytest.mark.e2e

Run = Callable[..., Outcome]
_QUICK = ("--cpu-profiler", "none", "--gpu-profiler", "none")


@pytest.fixture(scope="module")
def trial(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunFolder, Outcome]]:
    """`vlmprof run CHECKPOINT --ab all`: two rounds of A, A2 and B with two requests each."""
    root = tmp_path_factory.mktemp("trial")
    load = ["--requests", 4, "--warmup", 1, "--rounds", 2, "--per-block", 2, *_QUICK]
    arguments = ["run", checkpoint, "--out", root / "run", "--ab", "all", *load, *ENGINE_ARGS]
    with ended_well(arguments, root) as (_, outcome):
        yield RunFolder(root / "run"), outcome


def test_recipes_are_on_in_their_blocks_and_only_there(trial: tuple[RunFolder, Outcome]) -> None:
    """Four requests of B and two of its warm-up had them on; each recipe was called, and nothing failed."""
    folder, _ = trial
    info = folder.read_info()
    assert info.status == "complete"
    assert {use.number for use in info.recipes} >= {1, 8, 10, 11}
    assert all(sum(use.calls.values()) > 0 and use.failures == 0 for use in info.recipes)
    uses = {use.number: use.calls for use in info.recipes}
    assert uses[8].get("worker", 0) >= 6
    assert uses[11]["api_server"] >= 6
    arms = {block.index: block.arm for block in info.blocks if block.round is not None}
    sets = {(arms[each.block], each.recipe_set) for each in read_requests(folder) if each.block in arms}
    assert {arm for arm, recipes in sets if not recipes} == {"A", "A2"}
    assert {arm for arm, recipes in sets if recipes} == {"B"}


def test_arms_send_the_same_requests_and_share_no_cache_entry(trial: tuple[RunFolder, Outcome]) -> None:
    """The images of A and B are the same, and yet no cache answered for one of them."""
    folder, _ = trial
    info = folder.read_info()
    arm_of = {block.index: block.arm for block in info.blocks if block.round is not None}
    sent: dict[str, list[Any]] = {"A": [], "A2": [], "B": []}
    for request in sorted(read_requests(folder), key=_content):
        if request.block in arm_of:
            sent[arm_of[request.block]].append((_content(request), request.images, request.prompt_tokens))
    assert len(sent["A"]) == 4
    assert sent["A"] == sent["B"]
    assert {images for _, images, _ in sent["A2"]}.isdisjoint(images for _, images, _ in sent["A"])
    assert info.cache_policy is not None
    assert info.cache_policy.counters["mm_cache_hits"] == 0


def _content(request: Request) -> int:
    return int(request.id.rpartition("-")[2])


def test_the_comparison_is_printed_and_kept(trial: tuple[RunFolder, Outcome]) -> None:
    """Two rounds are too few for a verdict, but every number of it is there."""
    folder, outcome = trial
    (comparison,) = read_comparison(folder).comparisons
    assert (comparison.baseline.arm, comparison.trial.arm, comparison.rounds) == ("A", "B", 2)
    assert comparison.outputs.compared == 4
    assert comparison.change("stage.image_transform") is not None
    assert "arm B" in outcome.stdout
    assert (folder.path / "comparison.md").is_file()


def test_an_upstream_recipe_is_refused_before_anything_starts(
    run_cli: Run, checkpoint: Path, tmp_path: Path
) -> None:
    """vLLM pins memory itself; the message says where."""
    outcome = run_cli("run", checkpoint, "--out", tmp_path / "run", "--recipes", "4")
    assert_refused(outcome, ExitCode.RECIPE_MISFIT)
    assert "recipe 4 (pin_memory) has nothing to apply to SmolVLM" in outcome.stderr
    assert not (tmp_path / "run").exists()


def test_an_unknown_recipe_is_refused_before_anything_starts(
    run_cli: Run, checkpoint: Path, tmp_path: Path
) -> None:
    """The hint lists the numbers that there are."""
    outcome = run_cli("run", checkpoint, "--out", tmp_path / "run", "--recipes", "1,77")
    assert_refused(outcome, ExitCode.USAGE)
    assert "there is no recipe '77'" in outcome.stderr
    assert not (tmp_path / "run").exists()


def test_recipes_that_the_engine_did_not_load_make_the_run_invalid(
    run_cli: Run, checkpoint: Path, tmp_path: Path
) -> None:
    """VLLM_PLUGINS keeps vLLM from loading ours: what was measured is not what was meant, and the run says so."""
    outcome = run_cli(
        *("run", checkpoint, "--out", tmp_path / "run", "--recipes", "1,10"),
        *("--requests", 4, "--warmup", 0, *_QUICK, *ENGINE_ARGS),
        environment={"VLLM_PLUGINS": "lora_filesystem_resolver"},
    )
    assert outcome.exit_code == ExitCode.RECIPE_MISFIT
    assert "10 (remove_pixel_mask)" in outcome.stderr
    assert "VLLM_PLUGINS" in outcome.stderr
    info = RunFolder(tmp_path / "run").read_info()
    assert info.status == "invalid"
    assert len(read_requests(RunFolder(tmp_path / "run"))) == 4


def test_a_server_of_ones_own_serves_with_recipes(checkpoint: Path, tmp_path: Path) -> None:
    """`VLMPROF_RECIPES=all` and nothing else of ours: one line says what was applied and what was not."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "server.log"
    module = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint)]
    command = [sys.executable, *module, "--host", "127.0.0.1", "--port", str(port), *ENGINE_ARGS[1:]]
    environment = {"VLMPROF_RECIPES": "all", "VLLM_CPU_KVCACHE_SPACE": "2"}
    server = start_server(command, environment, f"http://127.0.0.1:{port}", log)
    try:
        server.wait_until_ready(900, lambda _: None)
        image = generated_images(1, 0)[0]
        request = chat_request(ChatOptions(str(checkpoint), "own", max_tokens=4), 0, [image])
        reply = httpx.post(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            content=request.body,
            headers={"Content-Type": "application/json"},
            timeout=300,
            trust_env=False,
        )
        assert reply.status_code == httpx.codes.OK, reply.text
        assert "[DONE]" in reply.text
    finally:
        server.stop()
    said = [line for line in log.read_text().splitlines() if "vlmprof recipes applied" in line]
    assert len(said) == 1
    assert "applied: 1, " in said[0]
    assert "4 (upstream: " in said[0]


def test_a_killed_ladder_goes_on_where_it_was(
    start: Start, run_cli: Run, checkpoint: Path, tmp_path: Path
) -> None:
    """Killed outright after its first round: the same command keeps that round and measures the other."""
    out = tmp_path / "ladder"
    rows = ["--order", "1,10 8", "--recipes", "1,8,10", "--rounds", 2, "--per-block", 1]
    arguments = ["ladder", checkpoint, "--out", out, *rows, "--requests", 4, "--warmup", 1, *_QUICK[:2]]
    arguments += ENGINE_ARGS
    killed = start(*arguments)
    killed.wait_for_step("(round 1, ")
    killed.signal(signal.SIGKILL)
    killed.finish()
    assert killed.left_behind(grace_s=60) == []
    before = {
        request.id for request in read_requests(RunFolder(out)) if request.block < _first_of_round_1(out)
    }
    outcome = run_cli(*arguments)
    assert outcome.exit_code == 0, outcome.stderr
    requests = read_requests(RunFolder(out))
    assert before <= {request.id for request in requests}
    sent = Counter(request.block for request in requests)
    rounds = [block.index for block in RunFolder(out).read_info().blocks if block.round is not None]
    assert [sent[index] for index in rounds] == [1] * len(rounds)
    workload = RunFolder(out).read_info().workload
    assert workload is not None
    assert workload.warm_up == 1
    ladder = read_ladder(RunFolder(out))
    assert [step.arm for step in ladder.steps] == ["+1,10", "+8"]
    assert all(step.comparison is not None and step.comparison.rounds == 2 for step in ladder.steps)


def _first_of_round_1(out: Path) -> int:
    return min(block.index for block in RunFolder(out).read_info().blocks if block.round == 1)
