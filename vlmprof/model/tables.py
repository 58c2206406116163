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
    "processes": PROCESSES,
}
