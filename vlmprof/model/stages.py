"""The stages of a request's time to first token: stable ids, their groups and their labels."""

from dataclasses import dataclass

UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage; `where` says whose time it is: client, network, cpu, gpu or wait."""

    id: str
    group: str
    label: str
    where: str


def _group(group: str, where: str, *stages: tuple[str, str]) -> list[Stage]:
    return [Stage(stage_id, group, label, where) for stage_id, label in stages]


STAGES: tuple[Stage, ...] = (
    *_group("client and HTTP", "network", ("network", "network and client")),
    *_group(
        "client and HTTP",
        "cpu",
        ("http_parse", "HTTP parse"),
        ("request_validate", "request validation"),
    ),
    *_group(
        "image",
        "cpu",
        ("image_fetch", "image fetch"),
        ("image_decode", "image decode"),
        ("image_transform", "image transform"),
        ("mm_hash", "multimodal hash"),
        ("mm_cache", "multimodal cache"),
    ),
    *_group(
        "text",
        "cpu",
        ("chat_template", "chat template"),
        ("tokenize", "tokenize"),
        ("prompt_expand", "prompt expansion"),
    ),
    *_group(
        "API server",
        "wait",
        ("pool_wait", "wait for a pool thread"),
        ("event_loop_wait", "wait for the event loop"),
    ),
    *_group("API server", "cpu", ("input_process", "input processing"), ("api_other", "API server, other")),
    *_group(
        "IPC",
        "cpu",
        ("ipc_serialize", "serialize"),
        ("ipc_transfer", "transfer between processes"),
        ("ipc_deserialize", "deserialize"),
    ),
    *_group("engine core", "wait", ("queue", "queue")),
    *_group("engine core", "cpu", ("schedule", "schedule"), ("core_other", "engine core, other")),
    *_group(
        "worker, CPU",
        "cpu",
        ("input_prep", "input preparation"),
        ("mm_batch", "multimodal batching"),
        ("launch", "kernel launch"),
        ("worker_other", "worker, other"),
    ),
    *_group(
        "worker, GPU",
        "gpu",
        ("h2d", "host-to-device copies"),
        ("vision_encoder", "vision encoder"),
        ("connector", "connector"),
        ("prefill", "prefill"),
        ("gpu_idle", "GPU idle"),
    ),
    *_group("out", "cpu", ("sample", "sample"), ("detokenize", "detokenize"), ("response", "response")),
    Stage(UNATTRIBUTED, UNATTRIBUTED, "unattributed", "wait"),
)

STAGE_BY_ID: dict[str, Stage] = {stage.id: stage for stage in STAGES}
STAGE_IDS: tuple[str, ...] = tuple(STAGE_BY_ID)
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(stage.group for stage in STAGES))
