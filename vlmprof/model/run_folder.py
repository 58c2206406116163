"""The run folder: the contract between collecting and everything after it."""

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from vlmprof.errors import FileUnreadable
from vlmprof.model.run_info import SCHEMA_VERSION, RunInfo


class RunFolder:
    """Paths, run.json, tables and results of one run; holds no other state."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def info_path(self) -> Path:
        return self.path / "run.json"

    @property
    def raw(self) -> Path:
        return self.path / "raw"

    @property
    def tables(self) -> Path:
        return self.path / "tables"

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @classmethod
    def create(cls, path: Path) -> "RunFolder":
        """Make an empty run folder.

        Raises:
            FileUnreadable: the folder exists and holds a run already, or cannot be written.
        """
        folder = cls(path)
        if folder.info_path.exists():
            raise FileUnreadable(
                f"{path} holds a run already",
                hint="name another folder with --out, or replace it with --overwrite",
            )
        try:
            for part in (folder.raw, folder.tables, folder.results):
                part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileUnreadable(
                f"cannot create {path}: {error.strerror}", hint="name another folder with --out"
            ) from error
        return folder

    def remove(self) -> None:
        """Delete the run; a folder that holds none is left alone.

        Raises:
            FileUnreadable: it cannot be deleted.
        """
        if not self.info_path.exists():
            return
        try:
            shutil.rmtree(self.path)
        except OSError as error:
            raise FileUnreadable(
                f"cannot delete {self.path}: {error.strerror}", hint="name another folder with --out"
            ) from error

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open a run folder for reading.

        Raises:
            FileUnreadable: no run.json in it, a damaged one, or one of a newer schema.
        """
        folder = cls(path)
        folder.read_info()
        return folder

    def read_info(self) -> RunInfo:
        """Decode run.json.

        Raises:
            FileUnreadable: it is absent, not JSON, of a newer schema or lacks what it must have.
        """
        try:
            content = self.info_path.read_bytes()
        except OSError as error:
            raise FileUnreadable(
                f"{self.path} is no run folder: {self.info_path.name}: {error.strerror}",
                hint="name a folder that `vlmprof run` or `vlmprof import` wrote",
            ) from error
        try:
            version = msgspec.json.decode(content, type=_VersionOnly).schema_version
            if version > SCHEMA_VERSION:
                raise FileUnreadable(
                    f"{self.info_path}: schema version {version}; this vlmprof reads up to {SCHEMA_VERSION}",
                    hint="upgrade vlmprof to read this run",
                )
            return msgspec.json.decode(content, type=RunInfo)
        except msgspec.DecodeError as error:
            raise FileUnreadable(
                f"{self.info_path} is damaged: {error}", hint="restore run.json from a copy"
            ) from error

    def write_info(self, info: RunInfo) -> None:
        """Replace run.json in one step, so that a kill leaves either the old or the new one."""
        write_atomically(self.info_path, msgspec.json.format(msgspec.json.encode(info), indent=2))

    def write_result(self, name: str, result: Any) -> Path:
        """Write `results/<name>.json`; result is anything that msgspec encodes."""
        path = self.results / f"{name}.json"
        write_atomically(path, msgspec.json.format(msgspec.json.encode(result), indent=1))
        return path

    def has_table(self, name: str) -> bool:
        return self.table_path(name).exists()

    def table_path(self, name: str) -> Path:
        return self.tables / f"{name}.parquet"


class _VersionOnly(msgspec.Struct):
    schema_version: int


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, meets the whole of it or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
