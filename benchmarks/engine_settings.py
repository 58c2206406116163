"""TTFT under settings of the engine that no recipe switches: threads, renderer workers, how tensors are handed on.

    python -m benchmarks.engine_settings CHECKPOINT [--rounds 3] [--requests 24] [--settings NAME...]

Each round starts one server for each setting, in random order, and sends all of them the same images: one request
at a time, then four. Ratios are of rounds, each setting's medians against the defaults' of the same round.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.overhead import as_dict, median_ms
from benchmarks.record import write_results
from vlmprof.analysis.stats import paired_ratio
from vlmprof.engines.server import start_server
from vlmprof.engines.vllm import HOST, choose_port, find_vllm, serve_command, serve_environment
from vlmprof.model.request import Phase, Request
from vlmprof.units import NS_PER_MS
from vlmprof.workload.chat import ChatOptions, chat_request
from vlmprof.workload.client import ChatClient
from vlmprof.workload.images import generated_images
from vlmprof.workload.schedule import Block, ClosedLoop

BINDING = "VLLM_CPU_OMP_THREADS_BIND"
ENGINE_ARGS = ["--max-model-len", "8192", "--enforce-eager", "--trust-remote-code"]
WARM_UP = 4
IN_FLIGHT = (1, 4)
DEFAULTS = "defaults"


@dataclass(frozen=True, slots=True)
class Setting:
    """How a server is started beside the defaults."""

    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return " ".join([*variables, *self.arguments]) or "-"


def settings() -> dict[str, Setting]:
    """Every setting by its name, the defaults first."""
    every_processor = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    return {
        DEFAULTS: Setting(),
        "worker threads on every processor": Setting(environment={BINDING: every_processor}),
        "worker threads unbound": Setting(environment={BINDING: "nobind"}),
        "tensors in shared memory": Setting(("--mm-tensor-ipc", "torch_shm")),
        "processor cache in shared memory": Setting(("--mm-processor-cache-type", "shm")),
        "2 renderer workers": Setting(("--renderer-num-workers", "2", "--mm-processor-cache-gb", "0")),
    }


Times = dict[str, list[list[float]]]
"""TTFT in ns by setting and round."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("checkpoint")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=24, help="Of each server and number in flight.")
    parser.add_argument("--settings", nargs="+", choices=list(settings()), default=list(settings()))
    options = parser.parse_args()
    chosen = {name: settings()[name] for name in dict.fromkeys([DEFAULTS, *options.settings])}
    times: dict[int, Times] = {in_flight: {name: [] for name in chosen} for in_flight in IN_FLIGHT}
    order = random.Random(0)
    for number in range(options.rounds):
        for name in order.sample(list(chosen), len(chosen)):
            for in_flight, found in asyncio.run(measured(options, chosen[name], number)).items():
                times[in_flight][name].append(found)
                print(f"round {number}, {name}, {in_flight}: {median_ms(found):.1f} ms", file=sys.stderr)
    figures = summarised(options, chosen, times)
    write_results("engine_settings", figures, markdown(figures))


async def measured(options: argparse.Namespace, setting: Setting, number: int) -> dict[int, list[float]]:
    """TTFT in ns of one server's requests, by how many were in flight."""
    engine, port = find_vllm(), choose_port(None)
    command = serve_command(engine, options.checkpoint, port, [*ENGINE_ARGS, *setting.arguments])
    environment = serve_environment(engine) | setting.environment
    per_round = len(IN_FLIGHT) * options.requests + WARM_UP
    images = generated_images((number + 1) * per_round, 0)
    chat = ChatOptions(model=options.checkpoint, run_token="settings")
    first = number * per_round
    found: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        server = start_server(command, environment, f"http://{HOST}:{port}", Path(folder) / "server.log")
        try:
            server.wait_until_ready(600, lambda _line: None)
            async with ChatClient(server.url) as client:
                for in_flight, count in ((0, WARM_UP), *((each, options.requests) for each in IN_FLIGHT)):
                    requests = [
                        chat_request(chat, index, [images[index]]) for index in range(first, first + count)
                    ]
                    ended: list[Request] = []
                    block = Block(first, Phase.CONTROL, count)
                    await client.run_block(
                        block, requests, ClosedLoop(max(1, in_flight)), on_request=ended.append
                    )
                    first += count
                    found[in_flight] = [float(each.ttft_ns) for each in ended if each.ttft_ns]
        finally:
            server.stop()
    return {in_flight: found[in_flight] for in_flight in IN_FLIGHT}


def summarised(
    options: argparse.Namespace, chosen: dict[str, Setting], times: dict[int, Times]
) -> dict[str, Any]:
    """Medians and ratios of every setting, for each number of requests in flight."""
    return {
        "model": Path(options.checkpoint).name,
        "rounds": options.rounds,
        "requests": options.requests,
        "rows": [
            {
                "in_flight": in_flight,
                "setting": name,
                "given": str(chosen[name]),
                "ttft_ms": [[value / NS_PER_MS for value in block] for block in blocks],
                "median_ms": median_ms([value for block in blocks for value in block]),
                "ratio": as_dict(paired_ratio(of_setting[DEFAULTS], blocks)) if name != DEFAULTS else {},
            }
            for in_flight, of_setting in times.items()
            for name, blocks in of_setting.items()
        ],
    }


def markdown(figures: dict[str, Any]) -> str:
    lines = [
        "# Settings of the engine that no recipe switches",
        "",
        f"{figures['model']}, {figures['rounds']} rounds of a server for each setting, {figures['requests']} "
        "requests with distinct 640x480 JPEGs each; ratios to the defaults' server of the same round, "
        "with 95% intervals.",
        "",
        "| in flight | setting | given | median TTFT, ms | ratio | noise floor |",
        "|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        ratio = row["ratio"]
        told = f"{ratio['ratio']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]" if ratio else ""
        noise = f"{ratio['noise_low']:.3f} to {ratio['noise_high']:.3f}" if ratio else ""
        named = f"| {row['in_flight']} | {row['setting']} | `{row['given']}` "
        lines.append(f"{named}| {row['median_ms']:.1f} | {told} | {noise} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
