"""Sends the blocks of a run, with the profilers on in the profiled ones and off in the control."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from vlmprof.collect.base import Collector
from vlmprof.engines.server import ServedEngine
from vlmprof.errors import EngineFailed
from vlmprof.model.arms import REPEAT_ARM
from vlmprof.model.request import Phase, Request
from vlmprof.patching import RecipeSwitch
from vlmprof.session.journal import Journal
from vlmprof.session.options import Progress, RunOptions
from vlmprof.session.prepare import Prepared
from vlmprof.workload.chat import ChatOptions, ChatRequest, chat_request
from vlmprof.workload.client import ChatClient
from vlmprof.workload.schedule import WARM_UP_BLOCK, Block, ClosedLoop, Load, OpenLoop

_DEATH_WAIT_S = 5.0


def measure(prepared: Prepared, server: ServedEngine, journal: Journal, progress: Progress) -> None:
    """Send every block with its recipes on; each request is on disk as soon as it has ended.

    Raises:
        EngineFailed: the server died, or no request of a block worked, none of the run or not for its pictures.
    """
    options = prepared.options
    chat = ChatOptions(
        model=options.model,
        run_token=secrets.token_hex(4),
        prompt=options.prompt,
        max_tokens=options.max_tokens,
        seed=options.seed,
    )
    switch = RecipeSwitch.shared(prepared.folder.raw / "switch")
    with asyncio.Runner() as runner:
        client = runner.run(_opened(server))
        try:
            for position, block in enumerate(prepared.blocks, 1):
                progress.step(f"{_title(block)}, {position} of {len(prepared.blocks)}")
                # Made before the block: generating an image beside a request would slow that request down.
                requests = _requests(prepared, block, chat)
                switch.set(block.recipes)
                with journal.step(_title(block)), _watched(block, prepared.collectors):
                    ended = _Ended(journal, progress, block)
                    runner.run(_send(client, block, requests, _load(options), ended))
                server.remember_family()
                _check(server, block, ended.requests, journal)
                for collector in prepared.collectors:
                    journal.set_collector(collector.info)
        finally:
            runner.run(client.__aexit__(None, None, None))


def _requests(prepared: Prepared, block: Block, chat: ChatOptions) -> list[ChatRequest]:
    """The requests of a block; the baseline's second arm shows the same pictures with other pixels.

    A request's number is that of its content: those of two arms that are to get the same reply share it.
    """
    old, images = prepared.plan.old, prepared.images
    of_block = replace(
        chat,
        run_token=f"{chat.run_token}-{block.index - WARM_UP_BLOCK}",
        extra=old.fields(block.behaviour) if old else {},
    )
    picture = images.repeated if block.arm == REPEAT_ARM else images.__getitem__
    numbers = range(block.first_content, block.first_content + block.request_count)
    return [chat_request(of_block, number, [picture(number)]) for number in numbers]


class _Ended:
    """Receives each request as it ends."""

    def __init__(self, journal: Journal, progress: Progress, block: Block) -> None:
        self.requests: list[Request] = []
        self._journal, self._progress, self._block = journal, progress, block

    def __call__(self, request: Request) -> None:
        self.requests.append(request)
        self._journal.add_request(request)
        self._progress.detail(f"{len(self.requests)} of {self._block.request_count} requests")


async def _opened(server: ServedEngine) -> ChatClient:
    return await ChatClient(server.url, headers=server.headers).__aenter__()


async def _send(
    client: ChatClient, block: Block, requests: list[ChatRequest], load: Load, ended: _Ended
) -> None:
    await client.run_block(block, requests, load, on_request=ended, recipe_set=block.recipe_set)


def _load(options: RunOptions) -> Load:
    if options.rate_per_s is not None:
        return OpenLoop(options.rate_per_s, seed=options.seed)
    return ClosedLoop(options.concurrency)


def _title(block: Block) -> str:
    if block.phase == Phase.WARM_UP:
        return "Warm-up"
    part = str(block.phase) if block.round is None else f"round {block.round}, {block.arm}"
    return f"Block {block.index} ({part})"


@contextmanager
def _watched(block: Block, collectors: list[Collector]) -> Iterator[None]:
    """The profilers record in a profiled block, and only there."""
    if block.phase != Phase.PROFILED:
        yield
        return
    for collector in collectors:
        collector.resume()
    try:
        yield
    finally:
        for collector in collectors:
            collector.pause()


def _check(server: ServedEngine, block: Block, requests: list[Request], journal: Journal) -> None:
    """What a block's failures mean for the rest of the run.

    A server that did not answer at last is dying. One that refuses a whole block refuses this workload, unless it
    has answered before: then it refuses these pictures, as those of a block of one request, and the run goes on.

    Raises:
        EngineFailed: the server has ended, or no request of the block worked and it was not for the pictures.
    """
    server.check_alive("in mid-run")
    failed = [request for request in requests if request.error]
    nothing_worked = len(failed) >= max(1, len(requests))
    refused = all(400 <= request.http_status < 500 for request in failed)
    silent = bool(failed) and requests[-1] is failed[-1] and failed[-1].http_status == 0
    if silent or (nothing_worked and not refused):
        _wait_for_death(server)
    if not nothing_worked:
        return
    if refused and journal.finished_requests:
        # Without the block's number: one picture that meets every arm in every round is one warning.
        journal.warn(f"the engine refused every request of a block: {failed[0].error}")
        return
    raise EngineFailed(
        f"all {len(requests)} requests of {_title(block).lower()} failed: {failed[0].error}",
        hint=f"the engine's log is {server.log}",
    )


def _wait_for_death(server: ServedEngine) -> None:
    """A connection is cut before the process that held it has an exit code."""
    deadline_s = time.monotonic() + _DEATH_WAIT_S
    while time.monotonic() < deadline_s:
        server.check_alive("in mid-run")
        time.sleep(0.2)
