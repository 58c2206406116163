"""What the `perfetto` package reads in a trace of ours."""

from pathlib import Path
from typing import Any

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent


def packets_of(path: Path) -> list[Any]:
    """All packets of a file."""
    trace = Trace()
    trace.ParseFromString(path.read_bytes())
    return list(trace.packet)


def slices_of(packets: list[Any]) -> list[tuple[str, int, int]]:
    """Name, start and end of every slice, matched on its track as Perfetto does."""
    names: dict[int, str] = {}
    stacks: dict[int, list[tuple[str, int]]] = {}
    found = []
    for packet in packets:
        names |= {interned.iid: interned.name for interned in packet.interned_data.event_names}
        event = packet.track_event
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            stacks.setdefault(event.track_uuid, []).append((names[event.name_iid], packet.timestamp))
        elif event.type == TrackEvent.TYPE_SLICE_END:
            name, start_ns = stacks[event.track_uuid].pop()
            found.append((name, start_ns, packet.timestamp))
    assert not any(stacks.values())
    return sorted(found)
