"""A GPU for `benchmarks/gpu.py` where there is none: layers on the CPU leave a trace of launches and kernels."""

import gzip
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LAUNCH_US = 1


class SimulatedGpu:
    """Writes what torch's profiler would: every call of a layer launches a kernel, and they run one by one.

    Attributes:
        kernels: duration in us by the layer's class, of those that launch one; the kernel has the class's name in
            its own.
    """

    def __init__(self, kernels: dict[str, tuple[str, int]]) -> None:
        self._kernels = kernels
        self._launches: list[tuple[float, str, int]] = []

    def watch(self, model: Any) -> None:
        """From now on, each call of a layer of the known classes launches its kernel."""
        for module in model.modules():
            module.register_forward_hook(lambda module, *_: self.launch(type(module).__name__))

    def launch(self, layer: str) -> None:
        """As the call of a layer does."""
        if layer in self._kernels:
            self._launches.append((time.time_ns() / 1000, *self._kernels[layer]))

    @contextmanager
    def profiled(self, trace: Path, _device: str) -> Iterator[None]:
        """In the place of torch's profiler."""
        self._launches.clear()
        yield
        with gzip.open(trace, "wt") as file:
            json.dump({"traceEvents": list(self._events()), "baseTimeNanoseconds": 0}, file)

    def _events(self) -> Iterator[dict[str, Any]]:
        here = {"pid": os.getpid(), "tid": threading.get_native_id()}
        idle_from_us = 0.0
        for number, (at_us, name, length_us) in enumerate(self._launches, 1):
            call = {
                "ph": "X",
                "cat": "cuda_runtime",
                "name": "cudaLaunchKernel",
                "ts": at_us,
                "dur": LAUNCH_US,
            }
            yield {**call, **here, "args": {"correlation": number}}
            start_us = max(idle_from_us, at_us + LAUNCH_US)
            idle_from_us = start_us + length_us
            kernel = {"ph": "X", "cat": "kernel", "name": name, "ts": start_us, "dur": length_us}
            yield {**kernel, "pid": 0, "tid": 7, "args": {"device": 0, "stream": 7, "correlation": number}}
