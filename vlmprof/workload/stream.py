"""A streamed chat completion, read from its bytes as they arrive."""

from typing import Any

import msgspec

_DATA = b"data:"
_DONE = b"[DONE]"
_LONGEST_ERROR = 500


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None

    @property
    def text(self) -> str:
        return self.content or ""

    @property
    def is_token(self) -> bool:
        if self.text or self.reasoning or self.reasoning_content:
            return True
        return self.role is None and self.content is not None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: dict[str, Any] | None = None

    @property
    def image_tokens(self) -> int:
        """Image tokens in the prompt where the server tells them, under vLLM's name or another; else 0."""
        details = self.prompt_tokens_details or {}
        count = (details.get("multimodal_tokens") or details).get("image", details.get("image_tokens"))
        return count if isinstance(count, int) else 0


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode


class ChatStream:
    """The state of one reply.

    The first token is the first event after the one that only names the role which carries `content`, even
    an empty string: a token that is part of a character decodes to nothing, and vLLM may send the role
    before the prompt is through. A token of a reasoning model's thinking counts too.

    Attributes:
        first_token_ns, done_ns: arrival of the bytes that held the first token and the end of the stream;
            None until then.
        error: what the server reported within the stream, or what made it unreadable; empty if nothing did.
    """

    def __init__(self) -> None:
        self.first_token_ns: int | None = None
        self.done_ns: int | None = None
        self.error = ""
        self.usage = _Usage()
        self._pieces: list[str] = []
        self._rest = b""

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def feed(self, received: bytes, arrived_ns: int) -> None:
        """Take in bytes of the body, cut anywhere; comments and blank lines are passed over."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            if line.startswith(_DATA):
                self._take(line[len(_DATA) :].strip(), arrived_ns)

    def ending_error(self) -> str:
        """Why a stream that the server has closed is not a whole reply; empty for one that is."""
        if self.error:
            return self.error
        if self.done_ns is None:
            return "the stream ended before [DONE]"
        return "" if self.first_token_ns is not None else "the stream had no token in it"

    def _take(self, payload: bytes, arrived_ns: int) -> None:
        if payload == _DONE:
            self.done_ns = arrived_ns
            return
        try:
            event = _decode_event(payload)
        except msgspec.DecodeError as error:
            self.error = self.error or f"an event is not a chat completion chunk: {error}"
            return
        if event.error is not None:
            self.error = self.error or error_message(payload)
        if event.usage is not None:
            self.usage = event.usage
        for choice in event.choices:
            self._pieces.append(choice.delta.text)
            if self.first_token_ns is None and choice.delta.is_token:
                self.first_token_ns = arrived_ns


def error_message(body: bytes) -> str:
    """What a server's error reply says: the message of the usual JSON forms, else the start of the text."""
    try:
        reply = msgspec.json.decode(body)
    except msgspec.DecodeError:
        reply = None
    if isinstance(reply, dict):
        inner = reply.get("error", reply)
        message = inner.get("message") or inner.get("detail") if isinstance(inner, dict) else inner
        if message:
            return str(message)[:_LONGEST_ERROR]
    return body.decode("utf-8", "replace").strip()[:_LONGEST_ERROR]
