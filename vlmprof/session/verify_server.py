"""Recipes in a real server: one server, recipes switched between requests, each request sent twice."""

import itertools
import mimetypes
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from vlmprof.engines.log import failure_cause
from vlmprof.engines.server import Server, start_server
from vlmprof.engines.vllm import HOST, VllmInstallation, choose_port, serve_command, serve_environment
from vlmprof.errors import EngineFailed
from vlmprof.model.request import ImageInfo
from vlmprof.model.verification import ServerCheck
from vlmprof.patching import Launch, RecipeSwitch
from vlmprof.patching.ledger import read_ledgers
from vlmprof.session.counters import difference, read_counters
from vlmprof.session.recipe_plan import RecipePlan, with_recipes
from vlmprof.workload.chat import ChatOptions, chat_request
from vlmprof.workload.images import WorkloadImage
from vlmprof.workload.stream import error_message

TOKENS = 16
_REPLY_WITHIN_S = 300.0
_DEATH_WAIT_S = 10.0
_WHEN = "while recipes were verified"
_HITS = "mm_cache_hits"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to one request.

    Attributes:
        hits: how often the multimodal cache answered for an image of it; None where `/metrics` did not say.
    """

    text: str = ""
    tokens: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    refused: str = ""
    hits: int | None = None


class Conversation:
    """Sends requests to one server, the recipes of its live switch set as asked.

    Args:
        raw: the folder of the server's switch and ledgers; dtype: what the server computes in.
    """

    def __init__(self, server: Server, model: str, raw: Path, dtype: str) -> None:
        self._server = server
        self._raw = raw
        self._dtype = dtype
        self._switch = RecipeSwitch.shared(raw / "switch")
        self._options = ChatOptions(
            model=model,
            run_token=secrets.token_hex(4),
            max_tokens=TOKENS,
            extra={"stream": False, "stream_options": None, "logprobs": True},
        )
        self._seen: set[tuple[tuple[int, ...], Path]] = set()

    def check(self, numbers: Sequence[int], prompt: Sequence[Path], place: int, plain: Answer) -> ServerCheck:
        """Send a prompt twice under a set of recipes and compare with the answer without.

        Raises:
            EngineFailed: the server ended, or did not answer.
        """
        calls, failures = self._counted()
        held = sum((tuple(numbers), path) in self._seen for path in prompt)
        first = self.ask(numbers, prompt, place)
        again = self.ask(numbers, prompt, place)
        calls_after, failures_after = self._counted()
        return ServerCheck(
            recipes=list(numbers),
            dtype=self._dtype,
            images=[path.name for path in prompt],
            refused=first.refused,
            refused_without=plain.refused,
            text_equal=first.text == plain.text,
            logprob_difference=logprob_difference(first, plain),
            repeat_equal=(first.text, first.refused) == (again.text, again.refused),
            hits=again.hits,
            foreign_hits=None if first.hits is None else max(0, first.hits - held),
            calls=calls_after - calls,
            failures=failures_after - failures,
        )

    def ask(self, numbers: Sequence[int], prompt: Sequence[Path], place: int) -> Answer:
        """One answer under a set of recipes; prompts of one place are the same to the last byte.

        Raises:
            EngineFailed: the server ended, or did not answer.
        """
        self._switch.set(numbers)
        self._seen |= {(tuple(numbers), path) for path in prompt}
        before = read_counters(self._server.url)
        response = self._sent(chat_request(self._options, place, [_image(path) for path in prompt]).body)
        self._server.check_alive(_WHEN)
        return _answer(response, hits_between(before, read_counters(self._server.url)))

    def _sent(self, body: bytes) -> httpx.Response:
        """The server's response to a request, whatever it says.

        Raises:
            EngineFailed: the server ended, with the cause from its log, or gave none in time.
        """
        try:
            with httpx.Client(trust_env=False, timeout=_REPLY_WITHIN_S) as client:
                return client.post(
                    f"{self._server.url}/v1/chat/completions",
                    content=body,
                    headers={"Content-Type": "application/json"},
                )
        except httpx.HTTPError as error:
            if not isinstance(error, httpx.TimeoutException):
                self._wait_for_death()
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            raise EngineFailed(
                f"the engine gave no answer {_WHEN} ({said}): {failure_cause(self._server.log)}",
                hint=f"its log is {self._server.log}",
            ) from error

    def _wait_for_death(self) -> None:
        """A connection is cut before the process that held it has an exit code.

        Raises:
            EngineFailed: the server has ended.
        """
        deadline_s = time.monotonic() + _DEATH_WAIT_S
        while time.monotonic() < deadline_s:
            self._server.check_alive(_WHEN)
            time.sleep(0.2)

    def _counted(self) -> tuple[int, int]:
        """Calls and failures of all replacements in all processes until now."""
        counts = [each for of_pid in read_ledgers(self._raw).values() for each in of_pid.values()]
        return sum(each.calls for each in counts), sum(each.failures for each in counts)


def hits_between(before: dict[str, float], after: dict[str, float]) -> int | None:
    """How many images the multimodal cache answered for; None where one of the readings does not say."""
    if _HITS not in before or _HITS not in after:
        return None
    return round(difference(before, after)[_HITS])


def _answer(response: httpx.Response, hits: int | None) -> Answer:
    if response.status_code != httpx.codes.OK:
        said = error_message(response.content) or response.reason_phrase
        return Answer(refused=said or f"HTTP {response.status_code}", hits=hits)
    choice = msgspec.json.decode(response.content)["choices"][0]
    tokens = choice["logprobs"]["content"]
    return Answer(
        text=choice["message"]["content"] or "",
        tokens=tuple(token["token"] for token in tokens),
        logprobs=tuple(token["logprob"] for token in tokens),
        hits=hits,
    )


def check_server(
    conversation: Conversation, sets: Sequence[Sequence[int]], prompts: Sequence[Sequence[Path]]
) -> Iterator[ServerCheck]:
    """Every set and prompt against the same prompt without recipes, in one server."""
    plain = [conversation.ask((), prompt, place) for place, prompt in enumerate(prompts)]
    for numbers in sets:
        for place, prompt in enumerate(prompts):
            yield conversation.check(numbers, prompt, place, plain[place])


def start_with_recipes(
    engine: VllmInstallation, plan: RecipePlan, raw: Path, arguments: Sequence[str], model: str
) -> Server:
    """A server in which every live recipe of a plan is installed and off; `raw` gets its log and switch."""
    raw.mkdir(parents=True, exist_ok=True)
    RecipeSwitch.shared(raw / "switch").set(())
    port = choose_port(None)
    command = serve_command(engine, model, port, list(arguments))
    environment = with_recipes(serve_environment(engine), plan.environment(raw, engine), Launch())
    return start_server(command, environment, f"http://{HOST}:{port}", raw / "server.log")


def logprob_difference(one: Answer, other: Answer) -> float | None:
    """Largest difference of log-probabilities over the tokens that both begin with; None where there is none."""
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one.tokens, other.tokens, strict=False))
    count = len(list(shared))
    pairs = zip(one.logprobs[:count], other.logprobs[:count], strict=True)
    return max((abs(first - second) for first, second in pairs), default=None)


def _image(path: Path) -> WorkloadImage:
    content = path.read_bytes()
    mime = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return WorkloadImage(ImageInfo(path.name, 0, 0, len(content)), content, mime)
