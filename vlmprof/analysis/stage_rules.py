"""Which stage each span's own time belongs to, and which span owns an instant when several cover it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """How a span counts.

    Attributes:
        stage: whose time it is while no span of higher rank runs; empty for a frame that is never an owner itself:
            the time in it that nothing else covers is a gap, named by its neighbours.
        rank: of the spans that cover an instant the highest owns it; at the same rank the one that began last.
    """

    stage: str
    rank: int


def _rules(rank: int, **stage_by_span: str) -> dict[str, Rule]:
    return {span.replace("__", "."): Rule(stage, rank) for span, stage in stage_by_span.items()}


# The request waits for the process furthest down the pipeline: a worker's span before the engine core's, that
# before the API server's; in one process the pool thread that works before the loop that waits for it.
RULES: dict[str, Rule] = {
    **_rules(0, http__handle="", api__create="", api__render="", api__parse_chat="", pool__run=""),
    **_rules(0, image__fetch="", http__body="", core__step=""),
    **_rules(
        10,
        http__receive="http_parse",
        http__json="http_parse",
        http__validate="request_validate",
        http__send="response",
        api__add_request="input_process",
    ),
    **_rules(12, pool__wait="pool_wait", image__download="image_fetch", ipc__send="ipc_serialize"),
    **_rules(14, api__process_inputs="input_process", out__process="response", mm__process="api_other"),
    **_rules(16, image__base64="image_decode", mm__transform="image_transform", out__detokenize="detokenize"),
    **_rules(
        18,
        image__decode="image_decode",
        text__template="chat_template",
        text__tokenize="tokenize",
        text__expand="prompt_expand",
        mm__hash="mm_hash",
        mm__cache="mm_cache",
        mm__merge="mm_cache",
        mm__hf_processor="image_transform",
        mm__pil="image_transform",
    ),
    **_rules(20, ipc__encode="ipc_serialize", ipc__decode="ipc_deserialize"),
    **_rules(30, core__wait_worker="ipc_transfer", core__wait_gpu="gpu_idle", core__rpc="core_other"),
    **_rules(32, core__preprocess="core_other", core__add="core_other", core__update="core_other"),
    **_rules(34, core__schedule="schedule", ipc__enqueue="ipc_serialize"),
    **_rules(40, worker__rpc="worker_other"),
    **_rules(41, worker__execute="worker_other"),
    **_rules(42, worker__execute_model="worker_other", worker__sample_tokens="sample"),
    **_rules(
        44,
        worker__mm_cache="mm_cache",
        worker__update_states="input_prep",
        worker__prepare_inputs="input_prep",
        worker__attention_metadata="input_prep",
        worker__preprocess="input_prep",
        worker__forward="prefill",
        worker__logits="prefill",
        worker__sample="sample",
        worker__bookkeeping="sample",
        worker__enqueue_output="ipc_serialize",
        ipc__loads="ipc_deserialize",
    ),
    **_rules(46, worker__encoder="vision_encoder", worker__gather_mm="input_prep"),
    **_rules(48, worker__connector="connector", worker__mm_batch="mm_batch"),
    **_rules(50, worker__h2d="h2d"),
}

LOOP_WORK = frozenset(
    (
        "http.receive",
        "http.json",
        "api.process_inputs",
        "ipc.encode",
        "ipc.decode",
        "out.process",
        "http.send",
    )
)
"""Spans during which the API server's event loop can serve no other request."""

AFTER_HAND_OVER = frozenset(("ipc.encode", "ipc.send", "api.add_request"))
"""The last that the API server does for a request before the engine core has it."""
