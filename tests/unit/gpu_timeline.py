"""Tables of a GPU's timeline, made from a few rows by hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from vlmprof.analysis.gpu_tables import GpuTables
from vlmprof.model.tables import SCHEMAS

PID = 30


def table(name: str, rows: Sequence[dict[str, Any]]) -> Any:
    """Rows under a table's schema, sorted by start; what a row leaves out is null."""
    schema = SCHEMAS[name]
    plain = pa.schema(
        [(each.name, pa.string() if pa.types.is_dictionary(each.type) else each.type) for each in schema]
    )
    rows = [{each.name: row.get(each.name) for each in schema} for row in rows]
    made = pa.Table.from_pylist(rows, schema=plain).cast(schema)
    return made.sort_by("start_ns") if "start_ns" in schema.names and name != "gpu_attribution" else made


@dataclass
class Timeline:
    """Collects rows; one process with one device unless a row says otherwise."""

    kernels: list[dict[str, Any]] = field(default_factory=list)
    copies: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    syncs: list[dict[str, Any]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def launch(self, start_ns: int, end_ns: int, number: int, **more: Any) -> None:
        """A call that launches; `number` is its correlation id."""
        self.calls.append(_row(start_ns, end_ns, number, {"name": "cudaLaunchKernel", **more}))

    def kernel(self, start_ns: int, end_ns: int, number: int, **more: Any) -> None:
        self.kernels.append(_row(start_ns, end_ns, number, {"name": "gemm", **more}))

    def copy(self, start_ns: int, end_ns: int, number: int, **more: Any) -> None:
        """A copy from pinned memory of the host, of 1000 bytes."""
        memory = {"kind": "HtoD", "source_memory": "pinned", "target_memory": "device", "size_bytes": 1000}
        self.copies.append(_row(start_ns, end_ns, number, memory | more))

    def span(self, name: str, start_ns: int, end_ns: int, *requests: str, tid: int = PID) -> None:
        place = {"pid": PID, "tid": tid, "name": name, "request_ids": list(requests), "depth": 0}
        self.spans.append({**place, "start_ns": start_ns, "end_ns": end_ns})

    def sample(self, start_ns: int, duration_ns: int, stack_id: int) -> None:
        place = {"pid": PID, "tid": PID, "stack_id": stack_id}
        self.samples.append({**place, "start_ns": start_ns, "duration_ns": duration_ns})

    def gpu(self) -> GpuTables:
        return GpuTables(
            table("gpu_kernels", self.kernels),
            table("gpu_copies", self.copies),
            table("cuda_api", self.calls),
            table("gpu_syncs", self.syncs),
        )

    def span_table(self) -> Any:
        return table("spans", self.spans)

    def sample_table(self) -> Any:
        return table("samples", self.samples)


def _row(start_ns: int, end_ns: int, number: int, more: dict[str, Any]) -> dict[str, Any]:
    place = {"pid": PID, "tid": PID, "device": 0, "stream": 7}
    return {**place, "start_ns": start_ns, "end_ns": end_ns, "correlation_id": number, **more}
