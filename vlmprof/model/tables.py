"""Schemas of `tables/*.parquet`; times are int64 ns on the session clock."""

from typing import Any

import pyarrow as pa

_NAME = pa.dictionary(pa.int32(), pa.string())

REQUESTS = pa.schema(
    [
        ("id", pa.string()),
        ("phase", _NAME),
        ("block", pa.int32()),
        ("sent_ns", pa.int64()),
        ("first_token_ns", pa.int64()),
        ("done_ns", pa.int64()),
        ("prompt_tokens", pa.int32()),
        ("image_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("image_names", pa.list_(pa.string())),
        ("image_widths", pa.list_(pa.int32())),
        ("image_heights", pa.list_(pa.int32())),
        ("image_bytes", pa.list_(pa.int64())),
        ("recipe_set", _NAME),
        ("http_status", pa.int32()),
        ("error", pa.string()),
        ("text", pa.string()),
    ]
)

SPANS = pa.schema(
    [
        ("pid", pa.int32()),
        ("tid", pa.int32()),
        ("name", _NAME),
        ("request_ids", pa.list_(pa.string())),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("depth", pa.int16()),
    ]
)

FRAMES = pa.schema(
    [("frame_id", pa.int32()), ("function", pa.string()), ("file", pa.string()), ("line", pa.int32())]
)
"""Each distinct (function, file, line) once. line is the line that was executing, 0 where unknown."""

STACKS = pa.schema([("stack_id", pa.int32()), ("frame_ids", pa.list_(pa.int32()))])
"""Each distinct stack once, frames from the root to the leaf."""

SAMPLES = pa.schema(
    [
        ("pid", pa.int32()),
        ("tid", pa.int32()),
        ("stack_id", pa.int32()),
        ("start_ns", pa.int64()),
        ("duration_ns", pa.int64()),
        ("on_cpu", pa.bool_()),
        ("holds_gil", pa.bool_()),
    ]
)
"""A sample stands for [start_ns, start_ns + duration_ns): the interval that ended when it was taken.
on_cpu and holds_gil are null where the sampler did not look."""

GPU_KERNELS = pa.schema(
    [
        ("pid", pa.int32()),
        ("device", pa.int16()),
        ("stream", pa.int32()),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("name", _NAME),
        ("correlation_id", pa.int64()),
        ("graph_node_id", pa.int64()),
    ]
)

GPU_COPIES = pa.schema(
    [
        ("pid", pa.int32()),
        ("device", pa.int16()),
        ("stream", pa.int32()),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("kind", _NAME),
        ("size_bytes", pa.int64()),
        ("source_memory", _NAME),
        ("target_memory", _NAME),
        ("correlation_id", pa.int64()),
    ]
)

CUDA_API = pa.schema(
    [
        ("pid", pa.int32()),
        ("tid", pa.int32()),
        ("name", _NAME),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("correlation_id", pa.int64()),
    ]
)

GPU_SYNCS = pa.schema(
    [
        ("pid", pa.int32()),
        ("device", pa.int16()),
        ("stream", pa.int32()),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("kind", _NAME),
        ("correlation_id", pa.int64()),
    ]
)
"""Waits for an event, a stream or a context; kind is one of `read.gpu_trace.SYNC_KINDS`, stream is -1 where all
are waited for. `stream_wait_event` is a wait of the stream, the others are the host's."""

GPU_ATTRIBUTION = pa.schema(
    [
        ("table", _NAME),
        ("row", pa.int64()),
        ("call_row", pa.int64()),
        ("tid", pa.int32()),
        ("span_row", pa.int64()),
        ("stage", _NAME),
        ("phase", _NAME),
        ("stack_id", pa.int32()),
    ]
)
"""Where each piece of GPU work came from: first every row of `gpu_kernels` in its order, then of `gpu_copies`.

table and row say which; call_row is the row in `cuda_api` of the call that launched it (a whole CUDA graph's for
its nodes) and tid that call's thread; span_row the row in `spans` of the innermost span of that thread around the
call: its `request_ids` are the work's; stage the one of the innermost span that has one; phase is `vision`,
`prefill` or `decode`; stack_id the Python stack of the thread, from the nearest sample. Each is null where it is
not known."""

PROCESSES = pa.schema(
    [
        ("pid", pa.int32()),
        ("parent_pid", pa.int32()),
        ("role", _NAME),
        ("rank", pa.int32()),
        ("name", pa.string()),
        ("threads", pa.list_(pa.struct([("tid", pa.int32()), ("name", pa.string())]))),
    ]
)

SCHEMAS: dict[str, Any] = {
    "requests": REQUESTS,
    "spans": SPANS,
    "frames": FRAMES,
    "stacks": STACKS,
    "samples": SAMPLES,
    "gpu_kernels": GPU_KERNELS,
    "gpu_copies": GPU_COPIES,
    "cuda_api": CUDA_API,
    "gpu_syncs": GPU_SYNCS,
    "gpu_attribution": GPU_ATTRIBUTION,
    "processes": PROCESSES,
}
