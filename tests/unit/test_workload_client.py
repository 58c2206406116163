"""The timing client against a small HTTP server that behaves and misbehaves like vLLM."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from vlmprof.errors import UsageError
from vlmprof.model.request import Phase, Request
from vlmprof.workload.chat import ChatOptions, ChatRequest, chat_request
from vlmprof.workload.client import ChatClient
from vlmprof.workload.images import generated_images
from vlmprof.workload.schedule import Block, ClosedLoop, Load, OpenLoop

ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 70, "completion_tokens": 2, "total_tokens": 72}}
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Reply:
    """What the server does with one request: the writer, and the request's headers and body."""

    writer: asyncio.StreamWriter
    headers: dict[str, str]
    body: bytes

    async def head(self) -> None:
        self.writer.write(STREAM_HEAD)
        await self.writer.drain()

    async def event(self, payload: dict[str, Any] | str) -> None:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        event = f"data: {text}\n\n".encode()
        self.writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        await self.writer.drain()

    async def token(self, text: str) -> None:
        await self.event({"choices": [{"index": 0, "delta": {"content": text}}]})

    async def done(self) -> None:
        await self.event("[DONE]")
        self.writer.write(b"0\r\n\r\n")

    def plain(self, status: str, body: bytes) -> None:
        self.writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body))


Behaviour = Callable[[Reply], Awaitable[None]]


async def caption(reply: Reply) -> None:
    """A whole reply of two tokens."""
    await reply.head()
    await reply.event(ROLE)
    await reply.token("A")
    await reply.token(" cat")
    await reply.event(USAGE)
    await reply.done()


@dataclass
class FakeServer:
    """Answers every chat request with one behaviour; counts connections and keeps what it was sent."""

    behaviour: Behaviour = caption
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    chats: list[Reply] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    def kill(self) -> None:
        """Stop listening and cut every connection, as the kernel does for a killed process."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while not writer.is_closing():
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        reply = Reply(writer, headers, body)
        if first.startswith("GET"):
            # All connections that are opened together are asked before the first is answered.
            await asyncio.sleep(0.02)
            reply.plain("200 OK", b"")
            return
        self.chats.append(reply)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.behaviour(reply)
        finally:
            self.at_once -= 1


def requests_of(count: int) -> list[ChatRequest]:
    """Requests `vp-t-0` to `vp-t-<count - 1>` with a small image each."""
    images = generated_images(count, seed=0, width=64, height=48)
    options = ChatOptions(model="m", run_token="t")
    return [chat_request(options, number, [images[number]]) for number in range(count)]


def run_block(
    server: FakeServer,
    count: int,
    load: Load | None = None,
    *,
    timeout_s: float = 20.0,
    on_request: Callable[[Request], None] = lambda request: None,
) -> list[Request]:
    """Start the server, send one block of requests and return its records."""

    async def send() -> list[Request]:
        url = await server.start()
        try:
            async with ChatClient(url, timeout_s=timeout_s) as client:
                block = Block(3, Phase.CONTROL, count)
                return await client.run_block(
                    block, requests_of(count), load or ClosedLoop(1), on_request=on_request, recipe_set="r1"
                )
        finally:
            server.kill()

    return asyncio.run(send())


def test_a_request_is_recorded_from_before_it_is_sent_to_its_last_event() -> None:
    """Two tokens, usage of 70 and 2 tokens, one image; times lie in order between the block's own."""
    before_ns = time.perf_counter_ns()
    server = FakeServer()
    (request,) = run_block(server, 1)
    assert request.first_token_ns is not None
    assert request.done_ns is not None
    assert before_ns < request.sent_ns < request.first_token_ns <= request.done_ns < time.perf_counter_ns()
    assert (request.id, request.phase, request.block, request.recipe_set) == (
        "vp-t-0",
        Phase.CONTROL,
        3,
        "r1",
    )
    assert (request.http_status, request.error, request.text) == (200, "", "A cat")
    assert (request.prompt_tokens, request.output_tokens, request.image_tokens) == (70, 2, 0)
    assert [image.name for image in request.images] == ["generated-0-00000.jpg"]
    assert server.chats[0].headers["x-request-id"] == "vp-t-0"
    assert server.chats[0].body == requests_of(1)[0].body


def test_the_role_is_not_the_first_token() -> None:
    """The server sends the role, waits, notes the time, and only then sends a token."""
    noted_ns: list[int] = []

    async def late_token(reply: Reply) -> None:
        await reply.head()
        await reply.event(ROLE)
        await asyncio.sleep(0.05)
        noted_ns.append(time.perf_counter_ns())
        await reply.token("")
        await reply.done()

    (request,) = run_block(FakeServer(late_token), 1)
    assert request.error == ""
    assert request.first_token_ns is not None
    assert request.first_token_ns > noted_ns[0]


def test_a_block_uses_the_connections_that_were_opened_before_it() -> None:
    """Eight requests of four clients: four connections in all, and never more than four requests at once."""
    server = FakeServer()
    requests = run_block(server, 8, ClosedLoop(4))
    assert [request.error for request in requests] == [""] * 8
    assert server.connections == 4
    assert server.most_at_once <= 4
    assert {request.id for request in requests} == {f"vp-t-{number}" for number in range(8)}
    assert [request.sent_ns for request in requests] == sorted(request.sent_ns for request in requests)


def test_an_open_loop_does_not_wait_for_replies() -> None:
    """Five requests, 10 ms apart, each answered only when all five have arrived."""
    server = FakeServer()

    async def all_together(reply: Reply) -> None:
        while len(server.chats) < 5:
            await asyncio.sleep(0.005)
        await caption(reply)

    server.behaviour = all_together
    requests = run_block(server, 5, OpenLoop(100, poisson=False))
    assert [request.error for request in requests] == [""] * 5
    assert server.most_at_once == 5
    assert [request.id for request in requests] == [f"vp-t-{number}" for number in range(5)]


def test_each_request_is_handed_over_when_it_ends() -> None:
    """The callback has the first request before the server has been sent the second."""
    server = FakeServer()
    seen: list[tuple[str, int]] = []
    run_block(server, 3, on_request=lambda request: seen.append((request.id, len(server.chats))))
    assert seen == [("vp-t-0", 1), ("vp-t-1", 2), ("vp-t-2", 3)]


def test_what_the_callback_raises_ends_the_block() -> None:
    """As when the disk is full: the error itself arrives, not a group of errors."""

    def full(request: Request) -> None:
        raise OSError(28, "No space left on device")

    server = FakeServer()
    with pytest.raises(OSError, match="No space"):
        run_block(server, 5, ClosedLoop(2), on_request=full)
    assert len(server.chats) <= 3


def test_a_refused_request_is_recorded_with_the_servers_words() -> None:
    """Every second request is refused; the others are answered on the same connection."""
    server = FakeServer()

    async def refuse_every_second(reply: Reply) -> None:
        if len(server.chats) % 2:
            reply.plain("400 Bad Request", b'{"error":{"message":"image too large","code":400}}')
        else:
            await caption(reply)

    server.behaviour = refuse_every_second
    requests = run_block(server, 4)
    assert [(request.http_status, request.error) for request in requests] == [
        (400, "image too large"),
        (200, ""),
        (400, "image too large"),
        (200, ""),
    ]
    assert requests[0].first_token_ns is None
    assert requests[0].ttft_ns is None
    assert server.connections == 1


def test_a_refusal_without_a_body_is_named_by_its_status() -> None:
    async def unavailable(reply: Reply) -> None:
        reply.plain("503 Service Unavailable", b"")

    (request,) = run_block(FakeServer(unavailable), 1)
    assert (request.http_status, request.error) == (503, "Service Unavailable")


def test_a_connection_dropped_in_mid_stream_keeps_the_first_token() -> None:
    """One token, then the connection is cut; the next request finds a new connection."""
    server = FakeServer()

    async def drop_the_first(reply: Reply) -> None:
        if len(server.chats) > 1:
            await caption(reply)
            return
        await reply.head()
        await reply.event(ROLE)
        await reply.token("A")
        reply.writer.close()

    server.behaviour = drop_the_first
    dropped, whole = run_block(server, 2)
    assert dropped.http_status == 200
    assert dropped.error.startswith("RemoteProtocolError")
    assert dropped.text == "A"
    assert dropped.first_token_ns is not None
    assert dropped.done_ns is None
    assert whole.error == ""


def test_a_stream_closed_early_but_cleanly_is_incomplete() -> None:
    async def no_done(reply: Reply) -> None:
        await reply.head()
        await reply.token("A")
        reply.writer.write(b"0\r\n\r\n")

    (request,) = run_block(FakeServer(no_done), 1)
    assert request.error == "the stream ended before [DONE]"


def test_an_error_event_within_the_stream_fails_the_request() -> None:
    """The engine dies after the role: HTTP said 200 long ago."""

    async def die(reply: Reply) -> None:
        await reply.head()
        await reply.event(ROLE)
        await reply.event({"error": {"message": "EngineCore encountered an issue", "code": 500}})
        await reply.done()

    (request,) = run_block(FakeServer(die), 1)
    assert (request.http_status, request.error) == (200, "EngineCore encountered an issue")
    assert request.first_token_ns is None


def test_a_reply_that_does_not_come_is_given_up() -> None:
    async def never(reply: Reply) -> None:
        await asyncio.sleep(3600)

    (request,) = run_block(FakeServer(never), 1, timeout_s=0.1)
    assert request.error == "no complete reply within 0.1 s"
    assert request.http_status == 0


def test_a_dead_server_ends_the_block_early_with_every_request_recorded() -> None:
    """Killed during the second of ten requests: that fails, two more meet no server, seven are not sent."""
    server = FakeServer()

    async def die_at_the_second(reply: Reply) -> None:
        if len(server.chats) == 2:
            server.kill()
        else:
            await caption(reply)

    server.behaviour = die_at_the_second
    recorded: list[Request] = []
    requests = run_block(server, 10, on_request=recorded.append)
    assert [request.id for request in requests] == [f"vp-t-{number}" for number in range(10)]
    assert [bool(request.error) for request in requests] == [False] + [True] * 9
    unsent = ["not sent: the server no longer answers"]
    assert [request.error for request in requests[4:]] == unsent * 6
    assert requests[1].error.startswith(("RemoteProtocolError", "ReadError"))
    assert all(request.error.startswith("ConnectError") for request in requests[2:4])
    assert all(request.http_status == 0 for request in requests[1:])
    assert len(recorded) == 10


@pytest.mark.parametrize("load", [ClosedLoop(2), OpenLoop(1000)])
def test_no_server_at_all_fails_every_request_without_waiting(load: Load) -> None:
    """A port that was just given up: each request is recorded, the first ones as refused."""

    async def send() -> list[Request]:
        server = FakeServer()
        url = await server.start()
        server.kill()
        async with ChatClient(url) as client:
            return await client.run_block(Block(0, Phase.PROFILED, 6), requests_of(6), load)

    requests = asyncio.run(send())
    assert len(requests) == 6
    assert requests[0].error.startswith("ConnectError")
    assert all(request.error and request.first_token_ns is None for request in requests)


def test_a_cancelled_block_records_what_was_in_flight() -> None:
    """The first request is answered; Ctrl-C comes while the second waits; the third is never sent."""
    server = FakeServer()
    recorded: list[Request] = []

    async def hang_at_the_second(reply: Reply) -> None:
        if len(server.chats) == 2:
            await asyncio.sleep(3600)
        await caption(reply)

    async def cancel() -> None:
        url = await server.start()
        async with ChatClient(url) as client:
            block = Block(0, Phase.CONTROL, 3)
            sending = asyncio.ensure_future(
                client.run_block(block, requests_of(3), ClosedLoop(1), on_request=recorded.append)
            )
            while len(server.chats) < 2:
                await asyncio.sleep(0.005)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        server.kill()

    server.behaviour = hang_at_the_second
    asyncio.run(cancel())
    assert [(request.id, request.error) for request in recorded] == [
        ("vp-t-0", ""),
        ("vp-t-1", "interrupted"),
    ]


def test_the_base_url_may_end_in_v1_and_headers_are_passed_on() -> None:
    server = FakeServer()

    async def send() -> None:
        url = await server.start()
        async with ChatClient(url + "/v1/", headers={"Authorization": "Bearer x"}) as client:
            await client.run_block(Block(0, Phase.CONTROL, 1), requests_of(1), ClosedLoop(1))
        server.kill()

    asyncio.run(send())
    assert server.chats[0].headers["authorization"] == "Bearer x"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://[::1"])
def test_a_url_that_is_not_http_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        ChatClient(url)
    assert refused.value.hint
