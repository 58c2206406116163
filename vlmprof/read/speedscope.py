"""speedscope's JSON: sampled and evented profiles that share their frames.

Source:
    https://www.speedscope.app/file-format-schema.json
"""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa

from vlmprof.errors import FileUnreadable
from vlmprof.model.speedscope import Evented, Sampled, SpeedscopeFile
from vlmprof.read.stack_trace import Frame, StackBuilder, StackTrace, known_line
from vlmprof.units import NS_PER_MS, NS_PER_S, NS_PER_US

_HINT = "make one with py-spy record --format speedscope, or `vlmprof export RUN --to speedscope`"
_PLACE = re.compile(r"process (\d+)\W+thread (0x[0-9a-f]+|\d+)", re.IGNORECASE)
# "none" counts samples: each stands for 1 ms.
_UNITS = {
    "nanoseconds": 1,
    "microseconds": NS_PER_US,
    "milliseconds": NS_PER_MS,
    "seconds": NS_PER_S,
    "none": NS_PER_MS,
}


class _Foreign(Exception):
    """A profile contradicts itself."""


_Stretch = tuple[list[int], float, float]


def read_speedscope(path: Path) -> StackTrace:
    """All profiles of a file, one thread each.

    Raises:
        FileUnreadable: it is absent, no JSON, of another schema, in bytes, or contradicts itself.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=SpeedscopeFile)
        return _trace(file)
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror}", hint=_HINT) from error
    except msgspec.ValidationError as error:
        raise FileUnreadable(f"{path} is no file of speedscope: {error}", hint=_HINT) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileUnreadable(f"{path} is truncated or no JSON: {error}", hint=_HINT) from error
    except (_Foreign, OverflowError, pa.ArrowInvalid) as error:
        raise FileUnreadable(f"{path} contradicts itself: {error}", hint=_HINT) from error


def _trace(file: SpeedscopeFile) -> StackTrace:
    frames = [Frame(each.name, each.file or "", known_line(each.line or 0)) for each in file.shared.frames]
    builder, threads = StackBuilder(), {}
    for index, profile in enumerate(file.profiles):
        if profile.unit not in _UNITS:
            raise _Foreign(f"profile {profile.name!r} is in {profile.unit}, which is no time")
        unit_ns = _UNITS[profile.unit]
        found = _PLACE.search(profile.name)
        pid, tid = (int(found[1]), int(found[2], 0)) if found else (0, index + 1)
        threads[pid, tid] = profile.name
        for stack, start, end in _stretches(profile):
            if stack and not 0 <= min(stack) <= max(stack) < len(frames):
                raise _Foreign(f"profile {profile.name!r} refers to a frame that is not there")
            if stack and end > start:
                start_ns = round(start * unit_ns)
                duration_ns = round(end * unit_ns) - start_ns
                builder.add(
                    pid, tid, [frames[frame] for frame in stack], file.origin_ns + start_ns, duration_ns
                )
    return builder.build(file.exporter or "speedscope", timed=True, threads=threads)


def _stretches(profile: Sampled | Evented) -> Iterator[_Stretch]:
    """Stacks with their start and end, in the profile's unit."""
    if isinstance(profile, Evented):
        yield from _evented(profile)
        return
    if len(profile.samples) != len(profile.weights):
        counts = f"{len(profile.samples)} samples and {len(profile.weights)} weights"
        raise _Foreign(f"profile {profile.name!r} has {counts}")
    at = profile.start_value
    for stack, weight in zip(profile.samples, profile.weights, strict=True):
        yield stack, at, at + weight
        at += weight


def _evented(profile: Evented) -> Iterator[_Stretch]:
    stack: list[int] = []
    since = profile.start_value
    for edge in profile.events:
        yield list(stack), since, edge.at
        since = edge.at
        if edge.type == "O":
            stack.append(edge.frame)
        elif not stack or stack.pop() != edge.frame:
            raise _Foreign(f"profile {profile.name!r} closes frame {edge.frame}, which is not the innermost")
