"""Perfetto: processes, threads, spans, stack samples, GPU streams, flows from launch to kernel, counters.

Times are the run's, shifted where they would be negative: Perfetto has no time before 0.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TracePacket, TrackEvent
from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

from vlmprof.export.timeline import Ints, Names, Timeline, groups, ints, stacks_by_id, texts

_SEQUENCE = 1
_GPU_PROCESS = 1 << 30
"""Parent of the GPUs' tracks: above every pid that a kernel hands out."""

_NAMED = (1 << 30) + (1 << 20)
"""Above these, threads that go by a name: their own numbers are negative, which Perfetto's cannot be."""


def write_perfetto(timeline: Timeline, path: Path) -> None:
    """Write one trace; packets go out as they are made."""
    with path.open("wb") as file:
        _Writer(StreamingTraceProtoBuilder(file), timeline).write()


class _Writer:
    """One trace: uuids of its tracks, texts that were interned, flows by launch."""

    def __init__(self, builder: StreamingTraceProtoBuilder, timeline: Timeline) -> None:
        self._builder = builder
        self._timeline = timeline
        self._shift_ns = max(0, -timeline.start_ns)
        self._tracks: dict[tuple[str, ...], int] = {}
        self._event_names: dict[str, int] = {}
        self._names = Names(timeline.processes)
        self._flows = _launched(timeline)

    def write(self) -> None:
        first = self._packet()
        first.first_packet_on_sequence = True
        first.sequence_flags = TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        self._builder.write_packet(first)
        for pid in self._names.processes:
            self._process(pid)
        self._spans()
        self._calls()
        self._gpu(self._timeline.gpu_kernels, texts(self._timeline.gpu_kernels, "name"), "")
        self._gpu(self._timeline.gpu_copies, texts(self._timeline.gpu_copies, "kind"), " copies")
        self._busy_kernels()
        self._samples()

    def _packet(self, time_ns: int | None = None) -> Any:
        packet = self._builder.create_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.sequence_flags = TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        if time_ns is not None:
            packet.timestamp = time_ns + self._shift_ns
        return packet

    def _track(self, *key: str) -> tuple[int, Any]:
        """The uuid of a track, and a packet that describes it when it is new."""
        if key in self._tracks:
            return self._tracks[key], None
        uuid = self._tracks[key] = len(self._tracks) + 1
        packet = self._packet()
        packet.track_descriptor.uuid = uuid
        return uuid, packet

    def _process(self, pid: int) -> int:
        uuid, packet = self._track("process", str(pid))
        if packet is not None:
            packet.track_descriptor.process.pid = _number(pid)
            packet.track_descriptor.process.process_name = self._names.process(pid)
            self._builder.write_packet(packet)
        return uuid

    def _thread(self, pid: int, tid: int) -> int:
        parent = self._process(pid)
        uuid, packet = self._track("thread", str(pid), str(tid))
        if packet is not None:
            packet.track_descriptor.parent_uuid = parent
            packet.track_descriptor.thread.pid = _number(pid)
            packet.track_descriptor.thread.tid = _number(tid)
            packet.track_descriptor.thread.thread_name = self._names.thread(pid, tid)
            self._builder.write_packet(packet)
        return uuid

    def _child(self, parent: int, name: str, *key: str) -> int:
        uuid, packet = self._track(*key)
        if packet is not None:
            packet.track_descriptor.parent_uuid = parent
            packet.track_descriptor.name = name
            self._builder.write_packet(packet)
        return uuid

    def _device(self, device: int) -> int:
        uuid, packet = self._track("device", str(device))
        if packet is not None:
            packet.track_descriptor.process.pid = _GPU_PROCESS + device
            packet.track_descriptor.process.process_name = f"GPU {device}"
            self._builder.write_packet(packet)
        return uuid

    def _spans(self) -> None:
        spans = self._timeline.spans
        names, requests = texts(spans, "name"), spans["request_ids"].to_pylist()
        for (pid, tid), rows in groups(ints(spans, "pid"), ints(spans, "tid")):
            for packet, row in self._nested(self._thread(pid, tid), spans, names, rows):
                for request in requests[row] or []:
                    annotation = packet.track_event.debug_annotations.add()
                    annotation.name, annotation.string_value = "request", request
                self._builder.write_packet(packet)

    def _calls(self) -> None:
        calls = self._timeline.cuda_api
        names, correlations = texts(calls, "name"), ints(calls, "correlation_id")
        for (pid, tid), rows in groups(ints(calls, "pid"), ints(calls, "tid")):
            # Of their own: on the thread's track a call that outlasts its span by a microsecond would be cut.
            uuid = self._child(self._thread(pid, tid), "CUDA API", "calls", str(pid), str(tid))
            for packet, row in self._nested(uuid, calls, names, rows):
                if (flow := self._flows.get((pid, int(correlations[row])))) is not None:
                    packet.track_event.flow_ids.append(flow)
                self._builder.write_packet(packet)

    def _gpu(self, table: Any, names: list[str], suffix: str) -> None:
        pids, correlations = ints(table, "pid"), ints(table, "correlation_id")
        for (device, stream), rows in groups(ints(table, "device"), ints(table, "stream")):
            title = f"stream {stream}{suffix}"
            uuid = self._child(self._device(device), title, "stream", str(device), title)
            for packet, row in self._nested(uuid, table, names, rows):
                if (flow := self._flows.get((int(pids[row]), int(correlations[row])))) is not None:
                    packet.track_event.terminating_flow_ids.append(flow)
                self._builder.write_packet(packet)

    def _nested(self, uuid: int, table: Any, names: list[str], rows: Ints) -> Iterator[tuple[Any, int]]:
        """A begin packet for each slice of a track, to be completed; ends are written here.

        A slice that outlasts the one around it ends with that: slices of a track nest.
        """
        starts_ns, ends_ns = ints(table, "start_ns")[rows], ints(table, "end_ns")[rows]
        open_ends: list[int] = []
        for place in np.lexsort((-ends_ns, starts_ns)).tolist():
            start_ns, end_ns = int(starts_ns[place]), int(ends_ns[place])
            while open_ends and open_ends[-1] <= start_ns:
                self._end(uuid, open_ends.pop())
            row = int(rows[place])
            yield self._begin(uuid, start_ns, names[row]), row
            open_ends.append(min([end_ns, *open_ends[-1:]]))
        while open_ends:
            self._end(uuid, open_ends.pop())

    def _begin(self, uuid: int, time_ns: int, name: str) -> Any:
        packet = self._packet(time_ns)
        packet.track_event.type = TrackEvent.TYPE_SLICE_BEGIN
        packet.track_event.track_uuid = uuid
        iid = self._event_names.setdefault(name, len(self._event_names) + 1)
        if iid == len(self._event_names):
            interned = packet.interned_data.event_names.add()
            interned.iid, interned.name = iid, name
        packet.track_event.name_iid = iid
        return packet

    def _end(self, uuid: int, time_ns: int) -> None:
        packet = self._packet(time_ns)
        packet.track_event.type = TrackEvent.TYPE_SLICE_END
        packet.track_event.track_uuid = uuid
        self._builder.write_packet(packet)

    def _busy_kernels(self) -> None:
        """A counter per GPU: how many kernels run at a time."""
        kernels = self._timeline.gpu_kernels
        for (device,), rows in groups(ints(kernels, "device")):
            uuid, description = self._track("busy", str(device))
            description.track_descriptor.parent_uuid = self._device(device)
            description.track_descriptor.name = "kernels running"
            description.track_descriptor.counter.unit_name = "kernels"
            self._builder.write_packet(description)
            times_ns, running = _running(ints(kernels, "start_ns")[rows], ints(kernels, "end_ns")[rows])
            for time_ns, value in zip(times_ns.tolist(), running.tolist(), strict=True):
                packet = self._packet(time_ns)
                packet.track_event.type = TrackEvent.TYPE_COUNTER
                packet.track_event.track_uuid = uuid
                packet.track_event.counter_value = value
                self._builder.write_packet(packet)

    def _samples(self) -> None:
        """Stack samples, at the end of the interval that each stands for: that is when it was taken."""
        timeline = self._timeline
        if timeline.samples.num_rows == 0:
            return
        self._intern_stacks()
        taken_ns = ints(timeline.samples, "start_ns") + ints(timeline.samples, "duration_ns")
        columns = [ints(timeline.samples, name) for name in ("pid", "tid", "stack_id")]
        for pid, tid, stack_id, time_ns in zip(
            *(column.tolist() for column in (*columns, taken_ns)), strict=True
        ):
            self._thread(pid, tid)
            packet = self._packet(time_ns)
            packet.perf_sample.pid = _number(pid)
            packet.perf_sample.tid = _number(tid)
            packet.perf_sample.callstack_iid = stack_id + 1
            self._builder.write_packet(packet)

    def _intern_stacks(self) -> None:
        packet = self._packet()
        data, functions, files = packet.interned_data, count(1), dict[str, int]()
        for row in self._timeline.frames.to_pylist():
            # Perfetto names frames by function and mapping: a source file takes the place of the library.
            file = row["file"] or "unknown"
            if file not in files:
                files[file] = len(files) + 1
                path, mapping = data.mapping_paths.add(), data.mappings.add()
                path.iid, path.str = files[file], file.encode()
                mapping.iid = files[file]
                mapping.path_string_ids.append(files[file])
            function, frame = data.function_names.add(), data.frames.add()
            function.iid, function.str = next(functions), row["function"].encode()
            frame.iid, frame.function_name_id = row["frame_id"] + 1, function.iid
            frame.mapping_id, frame.line_number = files[file], row["line"]
        for stack_id, frame_ids in stacks_by_id(self._timeline).items():
            callstack = data.callstacks.add()
            callstack.iid = stack_id + 1
            callstack.frame_ids.extend(frame + 1 for frame in frame_ids)
        self._builder.write_packet(packet)


def _number(number: int) -> int:
    """Of a process or thread."""
    return number if number >= 0 else min(_NAMED - number, (1 << 31) - 1)


def _launched(timeline: Timeline) -> dict[tuple[int, int], int]:
    """A flow for each (process, correlation) of something on a GPU; 0 is no correlation."""
    flows: dict[tuple[int, int], int] = {}
    for table in (timeline.gpu_kernels, timeline.gpu_copies):
        pairs = zip(ints(table, "pid").tolist(), ints(table, "correlation_id").tolist(), strict=True)
        for pid, correlation in pairs:
            if correlation:
                flows.setdefault((pid, correlation), len(flows) + 1)
    return flows


def _running(starts_ns: Ints, ends_ns: Ints) -> tuple[Ints, Ints]:
    """Times at which the number of open intervals changes, and the number from then on."""
    edges_ns = np.concatenate([starts_ns, ends_ns])
    steps = np.concatenate([np.ones(len(starts_ns), np.int64), -np.ones(len(ends_ns), np.int64)])
    order = np.argsort(edges_ns, kind="stable")
    times_ns, running = edges_ns[order], np.cumsum(steps[order])
    last = np.append(np.diff(times_ns) != 0, True)[: len(times_ns)]
    return times_ns[last], running[last]
