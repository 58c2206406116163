"""Boundaries that a table row cannot describe: HTTP entry, thread pools, context managers, module globals."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from .context import Batch, current_request
from .recorder import now_ns
from .request_finders import of_rpc
from .wrap import MARK, Instrument, replace

_HEADER = b"x-request-id"

_MM_STAGES = {
    "get_mm_hashes": "mm.hash",
    "get_cache_missing_items": "mm.cache",
    "apply_hf_processor": "mm.transform",
    "merge_mm_kwargs": "mm.merge",
    "apply_prompt_updates": "text.expand",
}


def hook_uvicorn(module: ModuleType, instrument: Instrument) -> None:
    """Name each request where it enters, and time its bytes in and out; httptools and h11 alike."""
    _hook_request_cycle(module.RequestResponseCycle, instrument)
    protocol = getattr(module, "HttpToolsProtocol", None) or module.H11Protocol
    _hook_received(protocol, instrument)


def _request_id(scope: Any) -> str:
    """The client's id; a request without one gets one, because vLLM makes up its own only after rendering."""
    headers = scope["headers"]
    for name, value in headers:
        if name == _HEADER:
            return str(value.decode("latin-1"))
    made_up = f"vp-{now_ns():x}"
    headers.append((_HEADER, made_up.encode()))
    return made_up


def _hook_request_cycle(cycle: Any, instrument: Instrument) -> None:
    add, switch = instrument.recorder.add, instrument.switch
    handled, sent = instrument.recorder.name_id("http.handle"), instrument.recorder.name_id("http.send")
    run_asgi, send = cycle.run_asgi, cycle.send
    if hasattr(run_asgi, MARK):
        return

    async def named_run_asgi(self: Any, app: Any) -> None:
        request = _request_id(self.scope)
        current_request.set(request)
        start_ns = now_ns()
        try:
            await run_asgi(self, app)
        finally:
            if switch[0]:
                add(handled, start_ns, now_ns(), request)

    async def timed_send(self: Any, message: Any) -> None:
        if not switch[0]:
            await send(self, message)
            return
        start_ns = now_ns()
        try:
            await send(self, message)
        finally:
            add(sent, start_ns, now_ns(), current_request.get())

    setattr(named_run_asgi, MARK, run_asgi)
    cycle.run_asgi, cycle.send = named_run_asgi, timed_send


def _hook_received(protocol: Any, instrument: Instrument) -> None:
    """Bytes of a request arrive in several reads; those before the end of its headers are not yet named."""
    add, switch = instrument.recorder.add, instrument.switch
    received = instrument.recorder.name_id("http.receive")
    data_received = protocol.data_received

    def timed_data_received(self: Any, data: bytes) -> None:
        if not switch[0]:
            data_received(self, data)
            return
        start_ns = now_ns()
        try:
            data_received(self, data)
        finally:
            end_ns = now_ns()
            scope = getattr(self, "scope", None)
            # httptools makes the scope with a request's first byte: its id may still be on the way.
            named = scope and "path" in scope
            add(received, start_ns, end_ns, _request_id(scope) if named else None)

    protocol.data_received = timed_data_received


def hook_thread_pools(module: ModuleType, instrument: Instrument) -> None:
    """Carry the request into pool threads, which context variables do not follow, and time the wait for one."""
    add, switch = instrument.recorder.add, instrument.switch
    waited, ran = instrument.recorder.name_id("pool.wait"), instrument.recorder.name_id("pool.run")
    submit = module.ThreadPoolExecutor.submit
    if hasattr(submit, MARK):
        return

    def submit_with_request(self: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        request = current_request.get()
        if request is None or not switch[0]:
            return submit(self, function, *args, **kwargs)
        submitted_ns = now_ns()

        def run() -> Any:
            started_ns = now_ns()
            add(waited, submitted_ns, started_ns, request)
            token = current_request.set(request)
            try:
                return function(*args, **kwargs)
            finally:
                current_request.reset(token)
                add(ran, started_ns, now_ns(), request)

        return submit(self, run)

    setattr(submit_with_request, MARK, submit)
    module.ThreadPoolExecutor.submit = submit_with_request


def hook_mm_timing(module: ModuleType, instrument: Instrument) -> None:
    """vLLM's own stage marks of the multimodal processor.

    They run in every version with statistics off; switching vLLM's statistics on would synchronize the GPU.
    """
    add, switch = instrument.recorder.add, instrument.switch
    name_ids = {stage: instrument.recorder.name_id(span) for stage, span in _MM_STAGES.items()}
    record = module.TimingContext.record
    if hasattr(record, MARK):
        return

    @contextmanager
    def timed_record(self: Any, stage: str) -> Iterator[None]:
        start_ns = now_ns()
        try:
            with record(self, stage):
                yield
        finally:
            if switch[0] and stage in name_ids:
                add(name_ids[stage], start_ns, now_ns(), current_request.get())

    setattr(timed_record, MARK, record)
    module.TimingContext.record = timed_record


def hook_message_queue(module: ModuleType, instrument: Instrument) -> None:
    """Time the unpickling of an executor's messages apart from the wait for them.

    `dequeue` waits and unpickles in one call; the module's own name `pickle` is the only seam between the two.
    """
    add, switch = instrument.recorder.add, instrument.switch
    decoded = instrument.recorder.name_id("ipc.loads")
    original = module.pickle
    if hasattr(original, MARK):
        return
    substitute = ModuleType(original.__name__)
    substitute.__dict__.update(vars(original))

    def loads(*args: Any, **kwargs: Any) -> Any:
        if not switch[0]:
            return original.loads(*args, **kwargs)
        start_ns = now_ns()
        message = original.loads(*args, **kwargs)
        requests = of_rpc(message) if isinstance(message, tuple) else Batch.latest
        add(decoded, start_ns, now_ns(), requests)
        return message

    substitute.loads = loads  # type: ignore[attr-defined]
    setattr(substitute, MARK, original)
    module.pickle = substitute  # type: ignore[attr-defined]


def hook_internvl_projector(module: ModuleType, instrument: Instrument) -> None:
    """InternVLChatModel's connector is a plain nn.Sequential: time the object that its maker returns."""

    def timed(make: Callable[..., Any]) -> Callable[..., Any]:
        def make_timed(self: Any, *args: Any, **kwargs: Any) -> Any:
            projector = make(self, *args, **kwargs)
            _time_forward(projector, "worker.connector", instrument)
            return projector

        return make_timed

    replace(module.InternVLChatModel, "_init_mlp1", timed)


def hook_loaded_model(module: ModuleType, instrument: Instrument) -> None:
    """The second model runner calls its model amid other work: time the forward of the model that it has loaded.

    Only decode steps, which replay a whole CUDA graph, have a function of their own there. A model that is compiled
    as a whole stays as it is: its compiler would trace the clock.
    """

    def timed(load: Callable[..., Any]) -> Callable[..., Any]:
        def load_timed(self: Any, *args: Any, **kwargs: Any) -> Any:
            loaded = load(self, *args, **kwargs)
            model = getattr(self, "model", None)
            if hasattr(model, "forward") and not _is_compiled_whole(model):
                _time_forward(model, "worker.forward", instrument)
            return loaded

        return load_timed

    replace(module.GPUModelRunner, "load_model", timed)


def _time_forward(module: Any, name: str, instrument: Instrument) -> None:
    """Of one object, whose class may be that of others."""
    module.forward = instrument.timed(module.forward, name, lambda _args, _result: Batch.latest)


def _is_compiled_whole(model: Any) -> bool:
    """By torch's own `Module.compile`, or as a class under vLLM's `@support_torch_compile`, which says so."""
    return getattr(model, "_compiled_call_impl", None) is not None or not getattr(
        model, "do_not_compile", True
    )


HOOKS: dict[str, Callable[[ModuleType, Instrument], None]] = {
    "uvicorn.protocols.http.httptools_impl": hook_uvicorn,
    "uvicorn.protocols.http.h11_impl": hook_uvicorn,
    "concurrent.futures.thread": hook_thread_pools,
    "vllm.multimodal.processing.context": hook_mm_timing,
    "vllm.distributed.device_communicators.shm_broadcast": hook_message_queue,
    "vllm.model_executor.models.internvl": hook_internvl_projector,
    "vllm.v1.worker.gpu.model_runner": hook_loaded_model,
}
