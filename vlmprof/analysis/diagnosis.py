"""One sentence in plain words: what most of the TTFT is."""

from collections.abc import Sequence

from vlmprof.model.results import GroupSummary, StageSummary
from vlmprof.model.stages import UNATTRIBUTED

NAMED_SHARE = 0.10
NAMED_STAGES = 3

_PHRASES = {
    "network": "network and the client",
    "http_parse": "HTTP parsing in the API server",
    "mm_hash": "hashing the image",
    "mm_cache": "the multimodal cache",
    "chat_template": "the chat template",
    "tokenize": "tokenizing the prompt",
    "pool_wait": "waiting for a pool thread",
    "event_loop_wait": "waiting for the API server's event loop",
    "ipc_serialize": "serializing between processes",
    "ipc_transfer": "transfer between processes",
    "ipc_deserialize": "deserializing between processes",
    "queue": "waiting in the engine's queue",
    "schedule": "scheduling in the engine core",
    "launch": "launching kernels while the GPU idles",
    "vision_encoder": "the vision encoder",
    "connector": "the connector",
    "gpu_idle": "the GPU idling",
    "sample": "sampling the token",
    UNATTRIBUTED: "unattributed",
}
_SPEAKS_FOR_ITSELF = {"launch", "gpu_idle", "schedule", "http_parse", "h2d", "ipc_transfer"}


def diagnose(groups: Sequence[GroupSummary], stages: Sequence[StageSummary], *, gpu: bool) -> str:
    """Name the largest stages: `"58% of TTFT is the vision encoder on the GPU; 19% is image transform ..."`

    Args:
        gpu: whether the engine ran on one; without it the model's own stages are CPU time.
    """
    if not stages:
        return "No request got a first token."
    if all(stage.stage == UNATTRIBUTED for stage in stages):
        return "TTFT was timed by the client alone: nothing in the server said where it goes."
    by_share = sorted(stages, key=lambda stage: -stage.share)
    named = [stage for stage in by_share[:NAMED_STAGES] if stage.share >= NAMED_SHARE]
    if not named:
        group = max(groups, key=lambda group: group.share)
        return (
            f"TTFT is spread over many stages: the largest, {_name(by_share[0])}, is "
            f"{_percent(by_share[0].share)}; the largest group, {group.label}, {_percent(group.share)}."
        )
    places = [_place(stage, gpu=gpu) for stage in named]
    same = len(named) > 1 and len(set(places)) == 1 and places[0] != ""
    parts = [
        f"{_percent(stage.share)}{'' if number else ' of TTFT'} is {_name(stage)}{'' if same else place}"
        for number, (stage, place) in enumerate(zip(named, places, strict=True))
    ]
    return "; ".join(parts) + (f", {'both' if len(named) == 2 else 'all'}{places[0]}." if same else ".")


def _name(stage: StageSummary) -> str:
    return _PHRASES.get(stage.stage, stage.label)


def _place(stage: StageSummary, *, gpu: bool) -> str:
    if stage.stage in _SPEAKS_FOR_ITSELF or stage.where not in {"cpu", "gpu"}:
        return ""
    return f" on the {'GPU' if gpu and stage.where == 'gpu' else 'CPU'}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
