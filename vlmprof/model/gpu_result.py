"""`results/gpu.json`: what the GPU's own times say of a run; absent where none were recorded."""

import msgspec

from vlmprof.model.results import RESULTS_SCHEMA_VERSION, StageSummary, read_result
from vlmprof.model.run_folder import RunFolder


class DeviceTime(msgspec.Struct, frozen=True, kw_only=True):
    """The time of one GPU: busy and idle by cause add up to the window.

    Attributes:
        window_ns: how long it was recorded while requests were measured; of a run without requests, from its first
            to its last piece of work.
        busy_ns: some kernel, or a copy that is none from the host, was running.
        idle_h2d_ns: nothing but copies from the host ran.
        idle_queue_ns: nothing ran, and something that was launched waited to begin, as for another stream.
        idle_launch_ns: nothing ran or waited while a request was in flight: the CPU had not launched it.
        idle_no_work_ns: nothing ran or waited, and no request was in flight.
    """

    device: int
    window_ns: int
    busy_ns: int
    idle_h2d_ns: int
    idle_queue_ns: int
    idle_launch_ns: int
    idle_no_work_ns: int


class CopyGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Copies of one stage and phase, in one direction, between the same kinds of memory.

    Attributes:
        stage, phase: empty where the launching thread was in no span that has one.
        kind: `HtoD`, `DtoH`, ...
        pinned: whether the host's side is page-locked; None where it is not known or there is no host's side.
        copy_ns: sum of their durations.
        dtype: of the values; known of pixel values alone (stage `h2d`), which are of the model's dtype.
        packed_copies: how many copies would be left if those of each span were one; None between device memories.
        packed_ns: sum of the durations of those, by what a copy costs beside its bytes; None where the copies do
            not tell, because all are of one size.
        uint8_bytes: the bytes if the values were moved as uint8; None where the dtype is not known.
    """

    stage: str
    phase: str
    kind: str
    source_memory: str
    target_memory: str
    pinned: bool | None
    copies: int
    size_bytes: int
    copy_ns: int
    dtype: str = ""
    packed_copies: int | None
    packed_ns: int | None
    uint8_bytes: int | None = None

    @property
    def bytes_per_s(self) -> float:
        """Achieved rate of the mean copy."""
        return self.size_bytes * 1e9 / self.copy_ns if self.copy_ns else 0.0


class Attributed(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the GPU's work could be joined to its cause: numbers of kernels and copies."""

    work: int
    with_call: int
    with_span: int
    with_stage: int
    with_stack: int


class GpuResult(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file.

    Attributes:
        kernel_ns: sum of the durations of all kernels; those that overlap count several times.
        copies: most time first.
        stages: of the profiled requests, in the order of the pipeline. The GPU is recorded while these run: the
            control requests of the summary have the stages that the host's spans give them.
    """

    kernels: int
    kernel_ns: int
    attributed: Attributed
    devices: list[DeviceTime]
    copies: list[CopyGroup]
    stages: list[StageSummary] = []
    schema_version: int = RESULTS_SCHEMA_VERSION


def read_gpu_result(folder: RunFolder) -> GpuResult:
    """Read `results/gpu.json`; raises `FileUnreadable`."""
    return read_result(folder, "gpu", GpuResult)
