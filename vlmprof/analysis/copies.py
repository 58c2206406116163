"""Audits the copies between host and GPU: how many, how large, pinned or not, how fast, and what less would do."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.analysis.stack_table import Ints, as_ints, distinct
from vlmprof.model.gpu_result import CopyGroup

_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
_PINNED = {"pinned": True, "pageable": False}
_KEYS = ("stage", "phase", "kind", "source_memory", "target_memory")


def copy_groups(copies: Any, attribution: Any, pixel_dtype: str = "") -> list[CopyGroup]:
    """Copies by stage, phase, direction and memory, most time first; memsets move nothing and are left out.

    Args:
        copies, attribution: the tables `gpu_copies` and `gpu_attribution` of a run.
        pixel_dtype: in which the engine sends pixel values to the GPU (vLLM: the model's); "" where not known.
    """
    origin = attribution.slice(attribution.num_rows - copies.num_rows)
    table = pa.table(
        {
            **{name: origin[name].cast(pa.string()) for name in ("stage", "phase")},
            **{name: copies[name].cast(pa.string()) for name in ("kind", "source_memory", "target_memory")},
        }
    )
    coded = [pc.fill_null(table[name], "").combine_chunks().dictionary_encode() for name in _KEYS]
    keys, group = distinct(*(as_ints(each.indices) for each in coded))
    columns = _Copies.of(copies, origin)
    found = []
    for number in range(len(keys[0])):
        names = [each.dictionary[int(key[number])].as_py() for each, key in zip(coded, keys, strict=True)]
        texts = dict(zip(_KEYS, names, strict=True))
        if texts["kind"] != "Memset":
            found.append(_group(texts, columns.where(np.flatnonzero(group == number)), pixel_dtype))
    return sorted(found, key=lambda each: -each.copy_ns)


@dataclass(frozen=True, slots=True, eq=False)
class _Copies:
    """n copies; span_row is -1 where it is not known."""

    start_ns: Ints
    end_ns: Ints
    size_bytes: Ints
    span_row: Ints

    @classmethod
    def of(cls, copies: Any, origin: Any) -> "_Copies":
        start_ns, end_ns, size_bytes = (
            as_ints(copies[name]) for name in ("start_ns", "end_ns", "size_bytes")
        )
        return cls(start_ns, end_ns, size_bytes, as_ints(pc.fill_null(origin["span_row"], -1)))

    def where(self, rows: Ints) -> "_Copies":
        return _Copies(self.start_ns[rows], self.end_ns[rows], self.size_bytes[rows], self.span_row[rows])


def _group(texts: dict[str, str], copies: _Copies, pixel_dtype: str) -> CopyGroup:
    size_bytes = int(copies.size_bytes.sum())
    is_pixels = texts["stage"] == "h2d" and texts["kind"] == "HtoD" and pixel_dtype in _DTYPE_BYTES
    host_side = {"HtoD": "source_memory", "DtoH": "target_memory"}.get(texts["kind"])
    packed = _packed(copies) if host_side else None
    return CopyGroup(
        **texts,
        pinned=_PINNED.get(texts[host_side]) if host_side else None,
        copies=len(copies.start_ns),
        size_bytes=size_bytes,
        copy_ns=int((copies.end_ns - copies.start_ns).sum()),
        dtype=pixel_dtype if is_pixels else "",
        packed_copies=packed,
        packed_ns=None if packed is None else _packed_ns(copies, packed),
        uint8_bytes=size_bytes // _DTYPE_BYTES[pixel_dtype] if is_pixels else None,
    )


def _packed(copies: _Copies) -> int:
    """How many copies are left if those of each span are one; those of no known span stay as they are."""
    in_span = copies.span_row >= 0
    return int(np.count_nonzero(~in_span)) + len(np.unique(copies.span_row[in_span]))


def _packed_ns(copies: _Copies, packed: int) -> int | None:
    """Time of the same bytes in fewer copies, by a line through the copies' sizes and durations.

    None where the copies have one size, which tells nothing of what a copy costs beside its bytes.
    """
    sizes = copies.size_bytes.astype(float)
    durations_ns = (copies.end_ns - copies.start_ns).astype(float)
    if np.ptp(sizes) == 0:
        return None
    slope, fixed_ns = np.polyfit(sizes, durations_ns, 1)
    if slope < 0 or fixed_ns < 0:
        return None
    return round(float(fixed_ns * packed + slope * sizes.sum()))
