"""Which functions bound the stages of a request, by engine version: a new version is a new row, not new code.

Rows were checked against the sources of vLLM 0.26.0 to 0.32.0; `tests/unit/test_agent_boundaries.py` checks
them against the installed one. Span names are stable: `vlmprof.analysis.stage_rules` maps them to stages.
"""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["sync", "async"]


@dataclass(frozen=True)
class Boundary:
    """One function to time.

    Attributes:
        function: qualified name inside the module.
        requests: name of the finder in `request_finders.FINDERS`; empty for the context variable.
        since, until: engine versions [since, until) that have it; empty where it is not bounded.
    """

    module: str
    function: str
    span: str
    kind: Kind = "sync"
    requests: str = ""
    since: str = ""
    until: str = ""

    def fits(self, version: tuple[int, ...]) -> bool:
        """Whether this engine version should have the function."""
        after = not self.since or version >= parse_version(self.since)
        return after and (not self.until or version < parse_version(self.until))


def parse_version(text: str) -> tuple[int, ...]:
    """The numbers in front of a version: `"0.32.0+cpu"` and `"0.32.0rc1"` are (0, 32, 0)."""
    numbers: list[int] = []
    for part in text.split("+", maxsplit=1)[0].split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        numbers.append(int(digits.group()))
    return tuple(numbers)


def _rows(module: str, *rows: tuple[str, ...], owner: str = "", kind: Kind = "sync") -> list[Boundary]:
    """Rows (function, span[, requests]) of one module, or of one class of it."""
    prefix = f"{owner}." if owner else ""
    return [Boundary(module, prefix + row[0], row[1], kind, row[2] if len(row) > 2 else "") for row in rows]


HTTP = [
    *_rows("starlette.requests", ("body", "http.body"), ("json", "http.json"), owner="Request", kind="async"),
    *_rows("fastapi.routing", ("solve_dependencies", "http.validate"), kind="async"),
]

API_SERVER = [
    *_rows(
        "vllm.entrypoints.openai.chat_completion.serving",
        ("create_chat_completion", "api.create"),
        ("render_chat_request", "api.render"),
        owner="OpenAIServingChat",
        kind="async",
    ),
    *_rows("vllm.renderers.hf", ("parse_chat_messages_async", "api.parse_chat"), kind="async"),
    *_rows("vllm.renderers.hf", ("safe_apply_chat_template", "text.template")),
    *_rows(
        "vllm.multimodal.media.connector",
        ("load_from_url_async", "image.fetch"),
        owner="MediaConnector",
        kind="async",
    ),
    *_rows("vllm.connections", ("async_get_bytes", "image.download"), owner="HTTPConnection", kind="async"),
    *_rows(
        "vllm.multimodal.media.image",
        ("load_base64", "image.base64"),
        ("load_bytes", "image.decode"),
        owner="ImageMediaIO",
    ),
    *_rows(
        "vllm.renderers.base",
        ("_tokenize_prompt", "text.tokenize"),
        ("_process_multimodal", "mm.process"),
        owner="BaseRenderer",
    ),
    *_rows(
        "vllm.multimodal.processing.context",
        ("call_hf_processor", "mm.hf_processor"),
        owner="InputProcessingContext",
    ),
    # Inside `mm.hf_processor`, whose time it is: shows that a request was processed with PIL.
    *_rows(
        "transformers.models.idefics3.image_processing_pil_idefics3",
        ("_preprocess", "mm.pil"),
        owner="Idefics3ImageProcessorPil",
    ),
    *_rows(
        "transformers.models.smolvlm.image_processing_pil_smolvlm",
        ("_preprocess", "mm.pil"),
        owner="SmolVLMImageProcessorPil",
    ),
    *_rows(
        "vllm.v1.engine.input_processor",
        ("process_inputs", "api.process_inputs"),
        owner="InputProcessor",
    ),
    *_rows("vllm.v1.engine.async_llm", ("add_request", "api.add_request"), owner="AsyncLLM", kind="async"),
    *_rows(
        "vllm.v1.engine.core_client",
        ("add_request_async", "ipc.send", "engine_request"),
        owner="AsyncMPClient",
        kind="async",
    ),
    *_rows(
        "vllm.v1.engine.core_client",
        ("add_request_async", "ipc.send", "engine_request"),
        owner="DPAsyncMPClient",
        kind="async",
    ),
    *_rows(
        "vllm.v1.engine.output_processor",
        ("process_outputs", "out.process", "outputs_in"),
        owner="OutputProcessor",
    ),
    *_rows(
        "vllm.v1.engine.detokenizer",
        ("update", "out.detokenize", "detokenizer"),
        owner="BaseIncrementalDetokenizer",
    ),
]

IPC = [
    *_rows(
        "vllm.v1.serial_utils",
        ("encode", "ipc.encode", "encoded"),
        ("encode_into", "ipc.encode", "encoded"),
        owner="MsgpackEncoder",
    ),
    *_rows("vllm.v1.serial_utils", ("decode", "ipc.decode", "decoded"), owner="MsgpackDecoder"),
    *_rows(
        "vllm.distributed.device_communicators.shm_broadcast",
        ("enqueue", "ipc.enqueue", "rpc_message"),
        owner="MessageQueue",
    ),
]

ENGINE_CORE = [
    *_rows(
        "vllm.v1.engine.core",
        ("preprocess_add_request", "core.preprocess", "engine_request"),
        ("add_request", "core.add", "engine_request"),
        owner="EngineCore",
    ),
    *_rows(
        "vllm.v1.engine.core", ("_process_engine_step", "core.step", "last_batch"), owner="EngineCoreProc"
    ),
    *_rows(
        "vllm.v1.core.sched.scheduler",
        ("schedule", "core.schedule", "scheduled"),
        ("update_from_output", "core.update", "batch"),
        owner="Scheduler",
    ),
    *_rows(
        "vllm.v1.executor.multiproc_executor",
        ("collective_rpc", "core.rpc", "last_batch"),
        owner="MultiprocExecutor",
    ),
    *_rows(
        "vllm.v1.executor.multiproc_executor",
        ("result", "core.wait_worker", "last_batch"),
        owner="FutureWrapper",
    ),
    *_rows(
        "vllm.v1.executor.uniproc_executor",
        ("execute_model", "worker.rpc", "batch"),
        ("sample_tokens", "worker.rpc", "last_batch"),
        owner="UniProcExecutor",
    ),
    *_rows(
        "vllm.v1.executor.uniproc_executor",
        ("result", "core.wait_gpu", "last_batch"),
        owner="AsyncOutputFuture",
    ),
]

_V1_RUNNER = "vllm.v1.worker.gpu_model_runner"
_V2_RUNNER = "vllm.v1.worker.gpu.model_runner"

WORKER = [
    Boundary(
        "vllm.v1.executor.multiproc_executor",
        "WorkerProc._execute_worker_rpc",
        "worker.rpc",
        requests="rpc_message",
        since="0.29.0",
    ),
    Boundary(
        "vllm.v1.executor.multiproc_executor",
        "WorkerProc.handle_output",
        "worker.enqueue_output",
        requests="last_batch",
    ),
    *_rows(
        "vllm.v1.executor.multiproc_executor",
        ("enqueue_output", "worker.enqueue_output", "last_batch"),
        owner="WorkerProc",
    ),
    *_rows(
        "vllm.v1.worker.worker_base",
        ("execute_model", "worker.execute", "batch"),
        ("_apply_mm_cache", "worker.mm_cache", "batch"),
        owner="WorkerWrapperBase",
    ),
    *_rows("vllm.v1.worker.gpu_worker", ("sample_tokens", "worker.execute", "last_batch"), owner="Worker"),
    *_rows("vllm.multimodal.inputs", ("_nested_tensors_h2d", "worker.h2d", "last_batch")),
    *_rows(
        "vllm.multimodal.inputs",
        ("reduce_data", "worker.mm_batch", "last_batch"),
        owner="BaseMultiModalField",
    ),
    *_rows(
        _V1_RUNNER,
        ("_update_states", "worker.update_states", "batch"),
        ("_prepare_inputs", "worker.prepare_inputs", "batch"),
        ("_build_attention_metadata", "worker.attention_metadata", "last_batch"),
        ("_batch_mm_inputs_from_scheduler", "worker.mm_batch", "batch"),
        ("_execute_mm_encoder", "worker.encoder", "batch"),
        ("_gather_mm_embeddings", "worker.gather_mm", "batch"),
        ("_preprocess", "worker.preprocess", "last_batch"),
        ("_model_forward", "worker.forward", "last_batch"),
        ("_sample", "worker.sample", "last_batch"),
        ("_bookkeeping_sync", "worker.bookkeeping", "last_batch"),
        ("execute_model", "worker.execute_model", "batch"),
        ("sample_tokens", "worker.sample_tokens", "last_batch"),
        owner="GPUModelRunner",
    ),
    *_rows(
        _V2_RUNNER,
        ("add_requests", "worker.update_states", "batch"),
        ("update_requests", "worker.update_states", "batch"),
        ("prepare_inputs", "worker.prepare_inputs", "last_batch"),
        ("prepare_attn", "worker.attention_metadata", "last_batch"),
        ("sample", "worker.sample", "last_batch"),
        ("postprocess_sampled", "worker.bookkeeping", "last_batch"),
        ("execute_model", "worker.execute_model", "batch"),
        ("sample_tokens", "worker.sample_tokens", "last_batch"),
        owner="GPUModelRunner",
    ),
    *_rows(
        "vllm.v1.worker.gpu.mm.encoder_runner",
        ("prepare_mm_inputs", "worker.mm_batch", "last_batch"),
        ("execute_mm_encoder", "worker.encoder", "last_batch"),
        ("gather_mm_embeddings", "worker.gather_mm", "last_batch"),
        ("get_inputs_embeds", "worker.preprocess", "last_batch"),
        owner="EncoderRunner",
    ),
    *_rows(
        "vllm.v1.worker.gpu.cudagraph_utils",
        ("run_fullgraph", "worker.forward", "last_batch"),
        owner="ModelCudaGraphManager",
    ),
    *_rows(
        "vllm.model_executor.layers.logits_processor",
        ("forward", "worker.logits", "last_batch"),
        owner="LogitsProcessor",
    ),
]

# Never the forward of a class under @support_torch_compile: dynamo would trace the wrapper. None of these is.
CONNECTORS = [
    *_rows(
        "vllm.model_executor.models.idefics3",
        ("forward", "worker.connector", "last_batch"),
        owner="Idefics3Connector",
    ),
    *_rows(
        "vllm.model_executor.models.interns1",
        ("forward", "worker.connector", "last_batch"),
        owner="InternS1MultiModalProjector",
    ),
    *_rows(
        "vllm.model_executor.models.qwen3_vl",
        ("forward", "worker.connector", "last_batch"),
        owner="Qwen3_VisionPatchMerger",
    ),
]

# Wrapped by code of their own in `engine_hooks`; what they record is named here with the rest.
SPECIAL_MODULES = (
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.http.h11_impl",
    "concurrent.futures.thread",
    "vllm.multimodal.processing.context",
    "vllm.distributed.device_communicators.shm_broadcast",
    "vllm.model_executor.models.internvl",
    _V2_RUNNER,
)

BOUNDARIES: tuple[Boundary, ...] = (*HTTP, *API_SERVER, *IPC, *ENGINE_CORE, *WORKER, *CONNECTORS)
MODULES: tuple[str, ...] = tuple(
    dict.fromkeys([*(boundary.module for boundary in BOUNDARIES), *SPECIAL_MODULES])
)
