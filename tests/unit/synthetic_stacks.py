"""What a served SmolVLM does for one request: stages in order, and the Python stacks seen in each."""

from dataclasses import dataclass, field

API, POOL, CORE, WORKER, WIRE = "api", "pool", "core", "worker", "wire"
SITE = "/opt/venv/lib/python3.11/site-packages"

Frame = tuple[str, str, int]


@dataclass(frozen=True)
class Step:
    """One segment of the critical path: mean length, thread, and weighted leaf paths below `BASES`."""

    stage: str
    thread: str
    mean_ms: float
    cause: str
    leaves: list[tuple[float, list[Frame]]] = field(default_factory=list)


def _vllm(path: str) -> str:
    return f"{SITE}/vllm/{path}"


def _hf(path: str) -> str:
    return f"{SITE}/transformers/{path}"


BASES: dict[str, list[Frame]] = {
    API: [
        ("<module>", "/opt/venv/bin/vllm", 8),
        ("main", _vllm("entrypoints/cli/main.py"), 73),
        ("run_server", _vllm("entrypoints/openai/api_server.py"), 488),
        ("run", f"{SITE}/uvloop/__init__.py", 92),
    ],
    POOL: [
        ("Thread._bootstrap", "/usr/lib/python3.11/threading.py", 1002),
        ("Thread._bootstrap_inner", "/usr/lib/python3.11/threading.py", 1045),
        ("Thread.run", "/usr/lib/python3.11/threading.py", 982),
        ("_worker", "/usr/lib/python3.11/concurrent/futures/thread.py", 81),
    ],
    CORE: [
        ("<module>", "<string>", 1),
        ("spawn_main", "/usr/lib/python3.11/multiprocessing/spawn.py", 122),
        ("EngineCoreProc.run_engine_core", _vllm("v1/engine/core.py"), 1012),
        ("EngineCoreProc.run_busy_loop", _vllm("v1/engine/core.py"), 1061),
    ],
    WORKER: [
        ("<module>", "<string>", 1),
        ("spawn_main", "/usr/lib/python3.11/multiprocessing/spawn.py", 122),
        ("WorkerProc.worker_main", _vllm("v1/executor/multiproc_executor.py"), 703),
        ("WorkerProc.worker_busy_loop", _vllm("v1/executor/multiproc_executor.py"), 801),
    ],
}

IDLE: dict[str, list[Frame]] = {
    API: BASES[API],
    POOL: BASES[POOL],
    CORE: [
        *BASES[CORE],
        ("EngineCoreProc._process_input_queue", _vllm("v1/engine/core.py"), 1080),
        ("Queue.get", "/usr/lib/python3.11/queue.py", 171),
        ("Condition.wait", "/usr/lib/python3.11/threading.py", 327),
    ],
    WORKER: [
        *BASES[WORKER],
        ("MessageQueue.dequeue", _vllm("distributed/device_communicators/shm_broadcast.py"), 640),
        ("MessageQueue.acquire_read", _vllm("distributed/device_communicators/shm_broadcast.py"), 566),
    ],
}

_CHAT: list[Frame] = [
    ("RequestResponseCycle.run_asgi", f"{SITE}/uvicorn/protocols/http/httptools_impl.py", 409),
    ("OpenAIServingChat.create_chat_completion", _vllm("entrypoints/openai/chat_completion/serving.py"), 228),
]
_PROCESSOR: list[Frame] = [
    ("BaseRenderer._process_multimodal", _vllm("renderers/base.py"), 512),
    ("BaseMultiModalProcessor.apply", _vllm("multimodal/processing/processor.py"), 1410),
    ("InputProcessingContext.call_hf_processor", _vllm("multimodal/processing/context.py"), 301),
    ("SmolVLMProcessor.__call__", _hf("models/smolvlm/processing_smolvlm.py"), 330),
    ("SmolVLMImageProcessor._preprocess", _hf("models/smolvlm/image_processing_smolvlm.py"), 340),
]
_EXECUTE: list[Frame] = [
    ("GPUModelRunner.execute_model", _vllm("v1/worker/gpu_model_runner.py"), 3020),
]
_ENCODER: list[Frame] = [
    *_EXECUTE,
    ("GPUModelRunner._execute_mm_encoder", _vllm("v1/worker/gpu_model_runner.py"), 2333),
    ("Idefics3ForConditionalGeneration.embed_multimodal", _vllm("model_executor/models/idefics3.py"), 690),
    ("Idefics3Model.image_pixels_to_features", _vllm("model_executor/models/idefics3.py"), 521),
]
_LAYER: list[Frame] = [
    ("Idefics3VisionTransformer.forward", _vllm("model_executor/models/idefics2_vision_model.py"), 380),
    ("Idefics2EncoderLayer.forward", _vllm("model_executor/models/idefics2_vision_model.py"), 259),
]
_LINEAR: Frame = ("UnquantizedLinearMethod.apply", _vllm("model_executor/layers/linear.py"), 229)
_PREFILL: list[Frame] = [
    *_EXECUTE,
    ("GPUModelRunner._model_forward", _vllm("v1/worker/gpu_model_runner.py"), 2711),
    ("LlamaModel.forward", _vllm("model_executor/models/llama.py"), 402),
    ("LlamaDecoderLayer.forward", _vllm("model_executor/models/llama.py"), 311),
]
_PREPROCESS = _hf("models/smolvlm/image_processing_smolvlm.py")
_UTILS = _hf("image_processing_backends.py")

STEPS: list[Step] = [
    Step("network", WIRE, 1.4, "client.send -> http.recv"),
    Step(
        "http_parse",
        API,
        1.1,
        "http.recv",
        [(1, [("HttpToolsProtocol.data_received", f"{SITE}/uvicorn/protocols/http/httptools_impl.py", 178)])],
    ),
    Step(
        "request_validate",
        API,
        0.9,
        "http.json",
        [(1, [("Request.json", f"{SITE}/starlette/requests.py", 255)])],
    ),
    Step(
        "chat_template",
        API,
        0.6,
        "text.template",
        [(1, [*_CHAT, ("safe_apply_chat_template", _vllm("renderers/hf.py"), 388)])],
    ),
    Step("pool_wait", WIRE, 0.5, "pool.submit -> pool.run"),
    Step(
        "image_decode",
        POOL,
        3.1,
        "mm.decode",
        [
            (
                5,
                [
                    ("ImageMediaIO.load_base64", _vllm("multimodal/media/image.py"), 88),
                    ("ImageFile.load", f"{SITE}/PIL/ImageFile.py", 390),
                ],
            ),
            (1, [("ImageMediaIO.load_base64", _vllm("multimodal/media/image.py"), 91)]),
        ],
    ),
    Step("event_loop_wait", WIRE, 0.4, "mm.decode -> mm.processor"),
    Step(
        "image_transform",
        POOL,
        38.0,
        "mm.hf_processor",
        [
            (9, [*_PROCESSOR, ("SmolVLMImageProcessor.pad", _PREPROCESS, 305)]),
            (5, [*_PROCESSOR, ("TorchvisionBackend.rescale_and_normalize", _UTILS, 512)]),
            (4, [*_PROCESSOR, ("SmolVLMImageProcessor.split_images", _PREPROCESS, 231)]),
            (
                2,
                [
                    *_PROCESSOR,
                    ("SmolVLMImageProcessor.resize", _PREPROCESS, 190),
                    ("interpolate", f"{SITE}/torch/nn/functional.py", 4812),
                ],
            ),
        ],
    ),
    Step(
        "mm_hash",
        POOL,
        0.8,
        "mm.hash",
        [(1, [("MultiModalHasher.hash_kwargs", _vllm("multimodal/hasher.py"), 122)])],
    ),
    Step(
        "tokenize",
        POOL,
        1.2,
        "text.tokenize",
        [(1, [("BaseRenderer._tokenize_prompt", _vllm("renderers/base.py"), 402)])],
    ),
    Step(
        "api_other",
        API,
        1.3,
        "api.create",
        [(1, [*_CHAT, ("AsyncLLM.generate", _vllm("v1/engine/async_llm.py"), 411)])],
    ),
    Step(
        "ipc_serialize",
        API,
        4.6,
        "ipc.encode",
        [(1, [("MsgpackEncoder.encode", _vllm("v1/serial_utils.py"), 160)])],
    ),
    Step("ipc_transfer", WIRE, 6.2, "ipc.encode -> ipc.decode"),
    Step(
        "ipc_deserialize",
        CORE,
        3.3,
        "ipc.decode",
        [(1, [("MsgpackDecoder.decode", _vllm("v1/serial_utils.py"), 338)])],
    ),
    Step("queue", CORE, 0.7, "core.add -> core.schedule", [(1, IDLE[CORE][4:])]),
    Step(
        "schedule",
        CORE,
        0.9,
        "core.schedule",
        [(1, [("Scheduler.schedule", _vllm("v1/core/sched/scheduler.py"), 402)])],
    ),
    Step(
        "input_prep",
        WORKER,
        2.2,
        "w.prepare_inputs",
        [(1, [*_EXECUTE, ("GPUModelRunner._prepare_inputs", _vllm("v1/worker/gpu_model_runner.py"), 1412)])],
    ),
    Step(
        "mm_batch",
        WORKER,
        9.4,
        "w.mm_batch",
        [(1, [*_EXECUTE, ("group_and_batch_mm_kwargs", _vllm("multimodal/utils.py"), 231)])],
    ),
    Step(
        "vision_encoder",
        WORKER,
        104.0,
        "w.encoder",
        [
            (9, [*_ENCODER, ("Idefics3Model.<listcomp>", _vllm("model_executor/models/idefics3.py"), 498)]),
            (
                14,
                [
                    *_ENCODER,
                    *_LAYER,
                    (
                        "Idefics2VisionMLP.forward",
                        _vllm("model_executor/models/idefics2_vision_model.py"),
                        214,
                    ),
                    _LINEAR,
                ],
            ),
            (
                8,
                [
                    *_ENCODER,
                    *_LAYER,
                    (
                        "Idefics2VisionAttention.forward",
                        _vllm("model_executor/models/idefics2_vision_model.py"),
                        150,
                    ),
                    _LINEAR,
                ],
            ),
            (
                6,
                [
                    *_ENCODER,
                    *_LAYER,
                    (
                        "Idefics2VisionAttention.forward",
                        _vllm("model_executor/models/idefics2_vision_model.py"),
                        155,
                    ),
                    ("scaled_dot_product_attention", f"{SITE}/torch/nn/functional.py", 6112),
                ],
            ),
            (
                3,
                [
                    *_ENCODER,
                    (
                        "Idefics2VisionEmbeddings.forward",
                        _vllm("model_executor/models/idefics2_vision_model.py"),
                        98,
                    ),
                    ("Conv2d.forward", f"{SITE}/torch/nn/modules/conv.py", 553),
                ],
            ),
        ],
    ),
    Step(
        "connector",
        WORKER,
        3.8,
        "w.connector",
        [(1, [*_ENCODER, ("Idefics3Connector.forward", _vllm("model_executor/models/idefics3.py"), 402)])],
    ),
    Step(
        "prefill",
        WORKER,
        31.0,
        "w.forward",
        [
            (5, [*_PREFILL, ("LlamaMLP.forward", _vllm("model_executor/models/llama.py"), 118), _LINEAR]),
            (
                3,
                [
                    *_PREFILL,
                    ("LlamaAttention.forward", _vllm("model_executor/models/llama.py"), 229),
                    _LINEAR,
                ],
            ),
            (1, [*_PREFILL, ("RMSNorm.forward", _vllm("model_executor/layers/layernorm.py"), 71)]),
        ],
    ),
    Step(
        "sample",
        WORKER,
        2.4,
        "w.sample",
        [(1, [*_EXECUTE, ("Sampler.forward", _vllm("v1/sample/sampler.py"), 91)])],
    ),
    Step(
        "core_other",
        CORE,
        1.0,
        "core.update",
        [(1, [("Scheduler.update_from_output", _vllm("v1/core/sched/scheduler.py"), 1120)])],
    ),
    Step(
        "detokenize",
        API,
        0.5,
        "out.detok",
        [(1, [("IncrementalDetokenizer.update", _vllm("v1/engine/detokenizer.py"), 140)])],
    ),
    Step(
        "response",
        API,
        0.9,
        "http.send",
        [(1, [("RequestResponseCycle.send", f"{SITE}/uvicorn/protocols/http/httptools_impl.py", 501)])],
    ),
    Step("unattributed", WIRE, 0.6, ""),
]
