"""What a running server says of itself over HTTP: is it ready, is it vLLM, which model does it serve."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from vlmprof.errors import EngineFailed, UsageError

API_KEY_VARIABLE = "VLMPROF_API_KEY"
"""Environment variable with the key of a server that asks for one; an argument would end up in run.json."""

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A vLLM server that is ready.

    Attributes:
        name: what requests call the model; root: the folder or hub's name that it was loaded from.
        version: vLLM's.
    """

    name: str
    root: str
    version: str


def base_url(url: str) -> str:
    """A server's URL without `/v1` and slashes at its end.

    Raises:
        UsageError: it is no URL of an HTTP server.
    """
    text = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is not a URL: {error}", hint="as http://127.0.0.1:8000") from error
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"{url!r} is not the URL of an HTTP server", hint="as http://127.0.0.1:8000")
    return text.rstrip("/").removesuffix("/v1").rstrip("/")


def port_of(url: str) -> int:
    """The port that a URL names or implies."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def key_headers(key: str) -> dict[str, str]:
    """What a request needs to be let in; nothing without a key."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def ask_server(url: str, headers: Mapping[str, str], wanted: str = "") -> ServedModel:
    """Ask a server for its state, version and model.

    Args:
        wanted: the name of one of its models, where it serves several.

    Raises:
        EngineFailed: nothing answers, it is not ready, it is not vLLM, or it does not let us in.
        UsageError: it serves no such model.
    """
    with httpx.Client(base_url=url, trust_env=False, timeout=_TIMEOUT_S, headers=dict(headers)) as client:
        health = _get(client, "/health")
        if health.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise EngineFailed(f"{url} is not ready: its /health says 503", hint="wait until it is")
        version = _field(_get(client, "/version"), "version", str)
        if health.status_code != httpx.codes.OK or not version:
            raise EngineFailed(
                f"{url} answers, but not as vLLM does: /health gives {health.status_code} and /version no version",
                hint="name the URL of a vLLM server, as http://127.0.0.1:8000",
            )
        models = _get(client, "/v1/models")
        if models.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise EngineFailed(
                f"{url} asks for an API key", hint=f"put it into the environment: {API_KEY_VARIABLE}=KEY"
            )
        return _model(url, _field(models, "data", list) or [], version, wanted)


def offers_profiling(url: str) -> bool:
    """Whether the server has `/start_profile`: a GET of a route that wants a POST is refused and starts nothing."""
    try:
        answer = httpx.get(f"{url}/start_profile", trust_env=False, timeout=_TIMEOUT_S)
    except httpx.HTTPError:
        return False
    return answer.status_code == httpx.codes.METHOD_NOT_ALLOWED


def is_answering(url: str) -> bool:
    """Whether `/health` answers at all."""
    try:
        httpx.get(f"{url}/health", trust_env=False, timeout=_TIMEOUT_S)
    except httpx.TransportError:
        return False
    return True


def _get(client: httpx.Client, path: str) -> httpx.Response:
    try:
        return client.get(path)
    except httpx.HTTPError as error:
        raise EngineFailed(
            f"no answer from {client.base_url}: {error}",
            hint="is the server running, and is this its host and port?",
        ) from error


def _field(answer: httpx.Response, name: str, kind: type) -> Any:
    """A field of a JSON object; None where the answer is none, or lacks it."""
    try:
        content = answer.json()
    except ValueError:
        return None
    value = content.get(name) if answer.is_success and isinstance(content, dict) else None
    return value if isinstance(value, kind) else None


def _model(url: str, listed: list[Any], version: str, wanted: str) -> ServedModel:
    """The wanted model, or the first that is no adapter of another one."""
    models = [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    if not models:
        raise EngineFailed(
            f"{url} lists no model in /v1/models", hint="is this a server of chat completions?"
        )
    whole = [entry for entry in models if not entry.get("parent")] or models
    chosen = [entry for entry in models if entry["id"] == wanted] if wanted else whole[:1]
    if not chosen:
        names = ", ".join(entry["id"] for entry in models)
        raise UsageError(f"{url} serves no model {wanted!r}", hint=f"one of: {names}")
    return ServedModel(chosen[0]["id"], str(chosen[0].get("root") or chosen[0]["id"]), version)
