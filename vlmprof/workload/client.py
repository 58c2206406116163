"""The client that sends requests and times their tokens."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import httpx

from vlmprof.errors import UsageError
from vlmprof.model.request import Request
from vlmprof.units import NS_PER_S
from vlmprof.workload.chat import ChatRequest
from vlmprof.workload.schedule import Block, ClosedLoop, Load, OpenLoop
from vlmprof.workload.stream import ChatStream, error_message

_CHAT_PATH = "/v1/chat/completions"
_HEALTH_PATH = "/health"
_CONNECT_TIMEOUT_S = 10.0
# Uvicorn, which serves vLLM, closes a connection after 5 idle seconds: ours must be given up before that,
# or a request meets the closing.
_IDLE_CONNECTION_S = 4.0
_SIGNS_OF_DEATH = 3

INTERRUPTED = "interrupted"
"""Error of a request that was in flight when its block was cancelled."""

OnRequest = Callable[[Request], None]


@dataclass(slots=True)
class _Exchange:
    """One request on its way and what has come back; an http_status of 0 means nothing has."""

    sent_ns: int = field(default_factory=time.perf_counter_ns)
    http_status: int = 0
    stream: ChatStream = field(default_factory=ChatStream)
    error: str = ""

    def fail(self, reason: str) -> None:
        """Note why it broke off; what the server said itself goes before, and a whole reply stays whole."""
        complete = self.stream.done_ns is not None
        self.error = self.stream.ending_error() if complete else self.stream.error or reason


class ChatClient:
    """Streams chat completions from one server over connections that are kept alive.

    All times are `perf_counter_ns`, which on Linux is the session clock: `sent_ns` just before the request,
    a body of finished bytes, is handed to the transport; token times when their bytes have been read.

    Args:
        url: the server's base URL, with or without `/v1`.
        timeout_s: a reply that takes longer is given up and recorded as failed.
        headers: sent with every request, as an API key.

    Raises:
        UsageError: the URL is not one of HTTP.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 300.0, headers: Mapping[str, str] | None = None
    ) -> None:
        base = _checked(url).rstrip("/").removesuffix("/v1")
        self._chat_url, self._health_url = base + _CHAT_PATH, base + _HEALTH_PATH
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            # The user's proxy and .netrc are no part of what is measured.
            trust_env=False,
            headers={"User-Agent": "vlmprof", "Accept-Encoding": "identity"} | dict(headers or {}),
            timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=None, keepalive_expiry=_IDLE_CONNECTION_S
            ),
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def run_block(
        self,
        block: Block,
        requests: Sequence[ChatRequest],
        load: Load,
        *,
        on_request: OnRequest = lambda request: None,
        recipe_set: str = "",
    ) -> list[Request]:
        """Send a block's requests and wait for all replies.

        Connections are opened before the first request. A request that fails is recorded, never raised;
        after three in a row that got no reply at all the server counts as gone, and the rest of the block
        is recorded as failed without being sent. Cancelled, the block records what was in flight as failed.

        Args:
            on_request: called with each request as soon as it has ended; what it raises ends the block.

        Returns:
            One record a request, in the order of sending.
        """
        await self._open_connections(load.connections)
        sending = _Sending(self, block, on_request, recipe_set)
        try:
            await sending.send_all(requests, load)
        except BaseExceptionGroup as errors:
            # Requests do not raise: what is in the group came from on_request, and its kind matters.
            raise errors.exceptions[0] from None
        return sorted(sending.ended, key=lambda request: request.sent_ns)

    async def _open_connections(self, count: int) -> None:
        """Have `count` idle connections: each request holds its own until all have been answered."""
        replies = await asyncio.gather(
            *(
                self._http.send(
                    self._http.build_request("GET", self._health_url, timeout=_CONNECT_TIMEOUT_S), stream=True
                )
                for _ in range(count)
            ),
            return_exceptions=True,
        )
        for reply in replies:
            # A server that cannot be reached is found, and recorded, by the block's own requests.
            if isinstance(reply, httpx.Response):
                with suppress(httpx.HTTPError):
                    await reply.aread()

    async def perform(self, request: ChatRequest, exchange: _Exchange) -> None:
        """Send one request and read its reply to the end, whatever that is; raises only when cancelled."""
        http_request = self._http.build_request(
            "POST",
            self._chat_url,
            content=request.body,
            headers={"Content-Type": "application/json", "X-Request-Id": request.id},
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._send_and_read(http_request, exchange)
        except TimeoutError:
            exchange.fail(f"no complete reply within {self._timeout_s:g} s")
        except (httpx.HTTPError, OSError) as error:
            exchange.fail(f"{type(error).__name__}: {error}".rstrip(": "))
        except asyncio.CancelledError:
            exchange.fail(INTERRUPTED)
            raise

    async def _send_and_read(self, http_request: httpx.Request, exchange: _Exchange) -> None:
        exchange.sent_ns = time.perf_counter_ns()
        response = await self._http.send(http_request, stream=True)
        try:
            exchange.http_status = response.status_code
            if response.status_code == httpx.codes.OK:
                async for received in response.aiter_raw():
                    exchange.stream.feed(received, time.perf_counter_ns())
                exchange.error = exchange.stream.ending_error()
            else:
                exchange.error = error_message(await response.aread()) or response.reason_phrase
        finally:
            await response.aclose()


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"{url!r} is not a URL: {error}", hint="as http://127.0.0.1:8000") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError(f"{url!r} is not the URL of an HTTP server", hint="as http://127.0.0.1:8000")
    return url


class _Sending:
    """The requests of one block while they are being sent; `ended` holds the records of those that have."""

    def __init__(self, client: ChatClient, block: Block, on_request: OnRequest, recipe_set: str) -> None:
        self.ended: list[Request] = []
        self._client = client
        self._block = block
        self._on_request = on_request
        self._recipe_set = recipe_set
        self._unanswered = 0

    @property
    def _server_is_gone(self) -> bool:
        return self._unanswered >= _SIGNS_OF_DEATH

    async def send_all(self, requests: Sequence[ChatRequest], load: Load) -> None:
        async with asyncio.TaskGroup() as group:
            match load:
                case ClosedLoop():
                    waiting = iter(requests)
                    for _ in range(load.concurrency):
                        group.create_task(self._send_one_after_another(waiting))
                case OpenLoop():
                    start_ns = time.perf_counter_ns()
                    offsets_ns = load.offsets_ns(len(requests), self._block.index)
                    for request, offset_ns in zip(requests, offsets_ns, strict=True):
                        if not self._server_is_gone:
                            await asyncio.sleep((start_ns + offset_ns - time.perf_counter_ns()) / NS_PER_S)
                        group.create_task(self._send(request))

    async def _send_one_after_another(self, waiting: Iterator[ChatRequest]) -> None:
        for request in waiting:
            await self._send(request)

    async def _send(self, request: ChatRequest) -> None:
        exchange = _Exchange()
        try:
            if self._server_is_gone:
                exchange.fail("not sent: the server no longer answers")
            else:
                await self._client.perform(request, exchange)
        finally:
            self._unanswered = 0 if exchange.http_status else self._unanswered + 1
            self._record(request, exchange)

    def _record(self, request: ChatRequest, exchange: _Exchange) -> None:
        stream = exchange.stream
        record = Request(
            id=request.id,
            phase=self._block.phase,
            block=self._block.index,
            sent_ns=exchange.sent_ns,
            first_token_ns=stream.first_token_ns,
            done_ns=stream.done_ns,
            prompt_tokens=stream.usage.prompt_tokens,
            image_tokens=stream.usage.image_tokens,
            output_tokens=stream.usage.completion_tokens,
            images=request.images,
            recipe_set=self._recipe_set,
            http_status=exchange.http_status,
            error=exchange.error,
            text=stream.text,
        )
        self.ended.append(record)
        self._on_request(record)
