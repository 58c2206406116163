"""Chat completion requests, complete to the last byte before anything is timed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from vlmprof.errors import UsageError
from vlmprof.model.request import ImageInfo
from vlmprof.workload.images import WorkloadImage
from vlmprof.workload.prompts import DEFAULT_PROMPT, numbered_prompt


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What all requests of a run have in common.

    Attributes:
        run_token: letters, digits and `-`; makes the request ids of this run unlike any other's.
        ignore_eos: every reply has exactly `max_tokens` tokens, so that replies cost the same (vLLM's own
            parameter; other servers may refuse it).
        extra: more fields of the request's body, which win over the ones set here.
    """

    model: str
    run_token: str
    prompt: str = DEFAULT_PROMPT
    max_tokens: int = 16
    seed: int = 0
    ignore_eos: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request ready to be sent; `body` is its JSON."""

    id: str
    body: bytes
    images: tuple[ImageInfo, ...]


def chat_request(options: ChatOptions, number: int, images: Sequence[WorkloadImage]) -> ChatRequest:
    """Encode request `number` of a run: its images, then the numbered prompt, greedily sampled."""
    content: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": image.data_url}} for image in images
    ]
    content.append({"type": "text", "text": numbered_prompt(options.prompt, number)})
    body: dict[str, Any] = {
        "model": options.model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": options.max_tokens,
        "temperature": 0,
        "seed": options.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if options.ignore_eos:
        body["ignore_eos"] = True
    return ChatRequest(
        request_id(options.run_token, number),
        msgspec.json.encode(body | dict(options.extra)),
        tuple(image.info for image in images),
    )


def request_id(run_token: str, number: int) -> str:
    """The `X-Request-Id` of a request: `"vp-3f9a-17"`; vLLM's engine calls it `chatcmpl-vp-3f9a-17-<8 hex>`.

    Raises:
        UsageError: the token has a character that ids of the engine or their parsing could trip over.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]+", run_token):
        raise UsageError(f"run token {run_token!r}", hint="use letters, digits and '-' only")
    return f"vp-{run_token}-{number}"
