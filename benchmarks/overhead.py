"""What the profiler costs: TTFT with spans off and on, and under austin, in interleaved blocks of one server.

    python -m benchmarks.overhead CHECKPOINT [--rounds 8] [--block 5]

Two servers started alike differ by more than what is measured here, so that all conditions alternate in one.
Ratios are paired: each round serves one block of every condition, in random order.
"""

import argparse
import asyncio
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.record import write_results
from vlmprof.agent.control import AgentControl
from vlmprof.analysis.stats import paired_ratio, percentiles
from vlmprof.collect.austin import AustinCollector, find_austin
from vlmprof.collect.base import Served
from vlmprof.engines.server import Server, start_server
from vlmprof.engines.vllm import HOST, choose_port, find_vllm, serve_command, serve_environment
from vlmprof.model.request import Phase, Request
from vlmprof.model.run_info import RatioInterval
from vlmprof.read.spans import read_spans
from vlmprof.units import NS_PER_MS
from vlmprof.workload.chat import ChatOptions, chat_request
from vlmprof.workload.client import ChatClient
from vlmprof.workload.images import generated_images
from vlmprof.workload.schedule import Block, ClosedLoop

CONDITIONS = ("spans off", "spans on", "austin 2 ms", "austin 10 ms")
COMPARED = (("spans on", "spans off"), ("austin 2 ms", "spans on"), ("austin 10 ms", "spans on"))
INTERVALS_MS = {"austin 2 ms": 2, "austin 10 ms": 10}

Times = dict[str, list[list[float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("checkpoint")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--block", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder)
        agent = AgentControl(raw)
        with served(options.checkpoint, agent, raw) as server:
            times = asyncio.run(measure(options, agent, server, raw))
            agent.wait_for_flush()
        figures = summarise(times, raw)
    write_results("overhead", figures, markdown(figures))


@contextmanager
def served(checkpoint: str, agent: AgentControl, raw: Path) -> Iterator[Server]:
    """A vLLM server with the agent in it."""
    engine = find_vllm()
    port = choose_port(None)
    command = serve_command(engine, checkpoint, port, ["--max-model-len", "8192", "--enforce-eager"])
    environment = serve_environment(engine) | agent.environment(beacons=True)
    server = start_server(command, environment, f"http://{HOST}:{port}", raw / "server.log")
    try:
        server.wait_until_ready(600, lambda _line: None)
        yield server
    finally:
        server.stop()


async def measure(options: argparse.Namespace, agent: AgentControl, server: Server, raw: Path) -> Times:
    """TTFT in ns by condition and round."""
    order = random.Random(0)
    images = generated_images((options.rounds * len(CONDITIONS) + 2) * options.block, 0)
    chat = ChatOptions(model=options.checkpoint, run_token="overhead")
    samplers = attach_samplers(server, raw)
    times: Times = {condition: [] for condition in CONDITIONS}
    number = 0
    async with ChatClient(server.url) as client:
        for round_number in range(-1, options.rounds):
            for condition in order.sample(CONDITIONS, len(CONDITIONS)) if round_number >= 0 else ["spans on"]:
                numbers = range(number, number + options.block)
                number = numbers.stop
                requests = [chat_request(chat, index, [images[index]]) for index in numbers]
                ended: list[Request] = []
                with under(condition, agent, samplers):
                    block = Block(number, Phase.CONTROL, options.block)
                    await client.run_block(block, requests, ClosedLoop(1), on_request=ended.append)
                if round_number >= 0:
                    times[condition].append([float(request.ttft_ns) for request in ended if request.ttft_ns])
                    print(
                        f"round {round_number} {condition}: {median_ms(times[condition][-1]):.1f} ms",
                        flush=True,
                    )
    for sampler in samplers.values():
        sampler.stop()
    return times


def attach_samplers(server: Server, raw: Path) -> dict[str, AustinCollector]:
    """One austin for each interval, attached and paused."""
    samplers = {}
    for condition, interval_ms in INTERVALS_MS.items():
        folder = raw / condition.replace(" ", "-")
        folder.mkdir()
        sampler = AustinCollector(folder, find_austin(), interval_ns=interval_ms * NS_PER_MS, reason="")
        sampler.attach(Served(server.pid, server.url))
        samplers[condition] = sampler
    return samplers


@contextmanager
def under(condition: str, agent: AgentControl, samplers: dict[str, AustinCollector]) -> Iterator[None]:
    """One condition for the length of a block."""
    agent.record_spans(condition != "spans off")
    sampler = samplers.get(condition)
    if sampler is not None:
        sampler.resume()
    try:
        yield
    finally:
        if sampler is not None:
            sampler.pause()


def median_ms(times_ns: list[float]) -> float:
    found = percentiles(times_ns)
    return found.p50 / NS_PER_MS if found else float("nan")


def summarise(times: Times, raw: Path) -> dict[str, Any]:
    """Medians, paired ratios, and what a span cost by the agents' own measurement."""
    spans = read_spans(raw)
    ratios = {
        f"{after} / {before}": as_dict(paired_ratio(times[before], times[after]))
        for after, before in COMPARED
    }
    return {
        "ttft_ms": {
            name: [[value / NS_PER_MS for value in block] for block in blocks]
            for name, blocks in times.items()
        },
        "median_ttft_ms": {
            name: median_ms(list(chain.from_iterable(blocks))) for name, blocks in times.items()
        },
        "ratios": ratios,
        "span_cost_ns": {agent.role: agent.span_cost_ns for agent in spans.agents},
    }


def as_dict(ratio: RatioInterval | None) -> dict[str, Any]:
    if ratio is None:
        return {}
    return {
        name: getattr(ratio, name) for name in ("ratio", "low", "high", "pairs", "noise_low", "noise_high")
    }


def markdown(figures: dict[str, Any]) -> str:
    lines = [
        "# What profiling costs",
        "",
        "TTFT of distinct 640x480 JPEGs at concurrency 1, conditions in random order in each round of one server.",
        "",
        "| condition | median TTFT, ms |",
        "|---|---|",
        *(f"| {name} | {value:.1f} |" for name, value in figures["median_ttft_ms"].items()),
        "",
        "| paired ratio | estimate | 95% interval | noise floor | pairs |",
        "|---|---|---|---|---|",
    ]
    for name, ratio in figures["ratios"].items():
        lines.append(
            f"| {name} | {ratio['ratio']:.3f} | {ratio['low']:.3f} to {ratio['high']:.3f} "
            f"| {ratio['noise_low']:.3f} to {ratio['noise_high']:.3f} | {ratio['pairs']} |"
        )
    costs = ", ".join(f"{role} {cost} ns" for role, cost in figures["span_cost_ns"].items())
    return "\n".join([*lines, "", f"CPU time of one span, measured by each agent when it starts: {costs}."])


if __name__ == "__main__":
    main()
