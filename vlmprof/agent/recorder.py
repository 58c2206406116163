"""Records spans: an append to a queue on the hot path, packed and written by a background thread.

Files, in the folder that `VLMPROF_AGENT_DIR` names:
    spans.<pid>.bin   records `<HHIQQI`: name id, flags, tid, start_ns, end_ns, request reference
    spans.<pid>.json  names, request ids, threads and clocks that the records refer to; replaced at each flush
"""

import atexit
import json
import multiprocessing
import os
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

RECORD = struct.Struct("<HHIQQI")
SCHEMA = 1
FLUSH_INTERVAL_S = 0.25
MAX_WAITING = 1_000_000

now_ns = time.perf_counter_ns  # CLOCK_MONOTONIC on Linux, the session clock

Requests = str | tuple[str, ...] | None
"""The request or requests that a span worked for."""


def _always() -> bool:
    return True


class Recorder:
    """Collects the spans of this process; one instance, which a forked child restarts with empty queues.

    Attributes:
        wants_flush: asked before each write of the background thread whether there may be anything to write.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.names: list[str] = []
        self.missing: list[str] = []
        self.patched = 0
        self.span_cost_ns: int | None = None
        self.wants_flush: Callable[[], bool] = _always
        self._name_ids: dict[str, int] = {}
        self._thread = threading.local()
        self._reset()

    def _reset(self) -> None:
        # Threads append while the flusher pops: a deque is safe for that without a lock.
        self._waiting: deque[tuple[int, int, int, int, Requests]] = deque()
        self._requests: list[Requests] = [None]
        self._request_refs: dict[Requests, int] = {None: 0}
        self._file: BinaryIO | None = None
        self._written_bytes = 0
        self._flush_lock = threading.Lock()
        self._started = False
        self.dropped = 0
        self.read_clocks()

    def read_clocks(self) -> None:
        """Note how the clocks stand to one another now; of a server that has run for weeks they have moved."""
        self._clock = {
            "monotonic_ns": now_ns(),
            "realtime_ns": time.time_ns(),
            "boottime_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        }

    def name_id(self, name: str) -> int:
        """The number that stands for a span name in this process's records."""
        known = self._name_ids.get(name)
        if known is None:
            known = self._name_ids[name] = len(self.names)
            self.names.append(name)
        return known

    def thread_id(self) -> int:
        """The kernel's id of the calling thread, asked for once per thread."""
        try:
            tid: int = self._thread.tid
        except AttributeError:
            tid = self._thread.tid = threading.get_native_id()
        return tid

    def add(self, name_id: int, start_ns: int, end_ns: int, requests: Requests) -> None:
        """Record one span of the calling thread; never blocks, never raises."""
        self._waiting.append((name_id, self.thread_id(), start_ns, end_ns, requests))

    def start(self) -> None:
        """Start writing; a process in which nothing is patched never gets here and has no thread of ours."""
        if self._started:
            return
        self._started = True
        threading.Thread(target=self._flush_forever, name="vlmprof-flush", daemon=True).start()
        atexit.register(self.flush)

    def restart_in_child(self) -> None:
        """After fork: the parent's thread does not exist here, and its queue and file are the parent's."""
        was_started = self._started
        self._thread = threading.local()
        self._reset()
        if was_started:
            self.start()

    def _flush_forever(self) -> None:
        recorder_started = self._flush_lock
        while recorder_started is self._flush_lock:
            time.sleep(FLUSH_INTERVAL_S)
            if self.wants_flush():
                self.flush()

    def flush(self) -> None:
        """Write what waits. A full disk costs spans, which are counted, and nothing else."""
        with self._flush_lock:
            try:
                self._write_records(self._take_waiting())
                self._write_sidecar()
            except OSError as error:
                self._note_write_failure(error)

    def _take_waiting(self) -> bytearray:
        packed = bytearray()
        if len(self._waiting) > MAX_WAITING:
            self.dropped += len(self._waiting)
            self._waiting.clear()
        with suppress(IndexError):
            while True:
                name_id, tid, start_ns, end_ns, requests = self._waiting.popleft()
                packed += RECORD.pack(name_id, 0, tid, start_ns, end_ns, self._request_ref(requests))
        return packed

    def _request_ref(self, requests: Requests) -> int:
        ref = self._request_refs.get(requests)
        if ref is None:
            ref = self._request_refs[requests] = len(self._requests)
            self._requests.append(requests)
        return ref

    def _write_records(self, packed: bytearray) -> None:
        if not packed:
            return
        try:
            file = self._opened()
            view = memoryview(packed)
            while view:
                view = view[file.write(view) :]
            self._written_bytes += len(packed)
        except OSError:
            self.dropped += len(packed) // RECORD.size
            if self._file is not None:
                # A torn record would shift every later one.
                self._file.truncate(self._written_bytes)
            raise

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._file = open(f"{self.folder}/spans.{os.getpid()}.bin", "ab", buffering=0)  # noqa: SIM115
            self._written_bytes = self._file.tell()
        return self._file

    def _note_write_failure(self, error: OSError) -> None:
        note = f"spans of pid {os.getpid()} could not be written: {error.strerror}"
        if note not in self.missing:
            self.missing.append(note)
            print(f"vlmprof: {note}", file=sys.stderr)  # noqa: T201

    def _write_sidecar(self) -> None:
        path = f"{self.folder}/spans.{os.getpid()}.json"
        with open(path + ".partial", "w", encoding="utf-8") as sidecar:
            json.dump(self.describe(), sidecar)
        os.replace(path + ".partial", path)

    def describe(self) -> dict[str, Any]:
        """What the records refer to, and who this process is."""
        role, rank = process_role()
        return {
            "schema": SCHEMA,
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "argv": sys.argv[:4],
            "role": role,
            "rank": rank,
            "name": multiprocessing.current_process().name,
            "names": list(self.names),
            "requests": list(self._requests),
            "threads": {str(thread.native_id): thread.name for thread in threading.enumerate()},
            "clock": self._clock,
            "missing": list(self.missing),
            "patched": self.patched,
            "dropped": self.dropped,
            "span_cost_ns": self.span_cost_ns,
            "flushed_ns": now_ns(),
        }


def process_role() -> tuple[str, int | None]:
    """Which part of the engine this process is, and a worker's rank.

    Source:
        vLLM names its children for multiprocessing: `EngineCore`, `VllmWorker-0`, `ApiServer_0`; the API server
        itself is the root process, where uvicorn is loaded.
    """
    name = multiprocessing.current_process().name
    if "Worker" in name:
        digits = "".join(letter for letter in name.rpartition("-")[2].rpartition("_")[2] if letter.isdigit())
        return "worker", int(digits) if digits else 0
    if "EngineCore" in name or "EngineCore" in _process_title():
        return "engine_core", None
    if "ApiServer" in name or "uvicorn" in sys.modules:
        return "api_server", None
    return "other", None


def _process_title() -> str:
    try:
        with open("/proc/self/cmdline", "rb") as cmdline:
            return cmdline.read(256).replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
