"""Spans of a model that transformers runs in this process, with the names that vlmprof's stages know."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlmprof.agent.context import current_request
from vlmprof.agent.recorder import Recorder, now_ns
from vlmprof.agent.wrap import Instrument

# As vLLM's boundaries: the encoder's span holds what is done to its input and output too.
_BOUNDARIES = (
    ("model", ("get_image_features",), "worker.encoder"),
    ("model.connector", ("forward",), "worker.connector"),
    ("model.multi_modal_projector", ("forward",), "worker.connector"),
    ("model.text_model", ("forward",), "worker.forward"),
    ("model.language_model", ("forward",), "worker.forward"),
    ("lm_head", ("forward",), "worker.logits"),
)


class InProcessSpans:
    """Records spans into `spans.<pid>.bin` of a run's raw folder.

    Attributes:
        forwarded_ns: when the model's last pass returned to the host.
    """

    def __init__(self, raw: Path) -> None:
        self._recorder = Recorder(str(raw))
        self._instrument = Instrument(self._recorder, [True])
        self.forwarded_ns = 0

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """One span of the current request."""
        start_ns = now_ns()
        yield
        self.add(name, start_ns, now_ns())

    def add(self, name: str, start_ns: int, end_ns: int) -> None:
        """A span that is over."""
        self._recorder.add(self._recorder.name_id(name), start_ns, end_ns, current_request.get())

    @contextmanager
    def on(self, model: Any) -> Iterator[None]:
        """The parts of a model record their calls; what is found is undone."""
        patched: list[tuple[Any, str]] = []
        hook = model.register_forward_hook(self._forwarded)
        try:
            for path, functions, name in _BOUNDARIES:
                owner = _attribute(model, path)
                for function in functions if owner is not None else ():
                    timed = self._instrument.timed(getattr(owner, function), name, None)
                    owner.__dict__[function] = timed
                    patched.append((owner, function))
            yield
        finally:
            hook.remove()
            for owner, function in patched:
                del owner.__dict__[function]

    def _forwarded(self, *_: Any) -> None:
        self.forwarded_ns = now_ns()

    def flush(self) -> None:
        """Write what was recorded."""
        self._recorder.flush()


def _attribute(owner: Any, path: str) -> Any:
    for name in path.split("."):
        owner = getattr(owner, name, None)
    return owner


class TokenTimes:
    """Takes the tokens of `generate` as they come to the host, and closes a step's spans with each.

    Attributes:
        at_ns: when each token was there.
    """

    def __init__(self, spans: InProcessSpans) -> None:
        self._spans = spans
        self._since_ns = now_ns()
        self._prompt_seen = False
        self.at_ns: list[int] = []

    def put(self, _tokens: Any) -> None:
        """The prompt's tokens first, then one token at a time."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        token_ns = now_ns()
        self._spans.add("worker.execute_model", self._since_ns, token_ns)
        self._spans.add("worker.sample", self._spans.forwarded_ns, token_ns)
        self.at_ns.append(token_ns)
        self._since_ns = token_ns

    def end(self) -> None:
        """The answer is complete."""
