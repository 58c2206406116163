"""A page that can be sent to somebody: paths of the machine it was made on give way to what they mean."""

from pathlib import PurePath
from typing import Any

import msgspec
import pyarrow as pa

from vlmprof.model.run_info import RunInfo
from vlmprof.model.source_path import portable_path


def portable_frames(frames: Any) -> Any:
    """The table `frames` with portable paths."""
    files = frames["file"].to_pylist()
    known = {file: portable_path(file) for file in set(files) if file is not None}
    place = frames.schema.get_field_index("file")
    field = frames.schema.field(place)
    column = pa.array([known.get(file) for file in files], pa.string()).cast(field.type)
    return frames.set_column(place, field, column)


def portable_files(result: Any) -> Any:
    """A result as plain values, with every `file` in it portable."""
    return _walked(msgspec.to_builtins(result))


def _walked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: portable_path(each) if key == "file" else _walked(each) for key, each in value.items()}
    return [_walked(each) for each in value] if isinstance(value, list) else value


def portable_info(info: RunInfo) -> RunInfo:
    """run.json with the names of programs instead of their places; run.json itself keeps them."""
    engine = info.engine and msgspec.structs.replace(info.engine, command=_command(info.engine.command))
    collectors = [
        msgspec.structs.replace(collector, command=_command(collector.command))
        for collector in info.collectors
    ]
    return msgspec.structs.replace(info, command=_command(info.command), engine=engine, collectors=collectors)


def _command(command: list[str]) -> list[str]:
    return [PurePath(command[0]).name, *command[1:]] if command else []
