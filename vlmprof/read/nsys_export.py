"""An SQLite export of Nsight Systems: recognising it, and asking it for columns.

Tables exist only where they have rows, and columns come and go with versions: every query looks first. The
environment that an export may hold (TARGET_INFO_SYSTEM_ENV, META_DATA_CAPTURE) is never read.
"""

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vlmprof.errors import FileUnreadable
from vlmprof.read.compiled import Integers
from vlmprof.read.gpu_trace import recoded
from vlmprof.read.sqlite_pages import NULL, PageScan, read_integers

Rows = list[tuple[Any, ...]]
Columns = dict[str, Integers]

ROW_ID = "rowid"

_HEADER_BYTES = 100
_EXPORT_AGAIN = "export it again: nsys export --type sqlite REPORT.nsys-rep"

# Written with the first events, or about them: an export with none of these broke off before it began.
_SIGNS_OF_A_RECORDING = {
    "ANALYSIS_DETAILS",
    "TARGET_INFO_SESSION_START_TIME",
    "NVTX_EVENTS",
    "CUPTI_ACTIVITY_KIND_KERNEL",
    "CUPTI_ACTIVITY_KIND_RUNTIME",
    "CUPTI_ACTIVITY_KIND_MEMCPY",
}


@dataclass(frozen=True, slots=True)
class NsysSession:
    """When and by what a recording was made.

    Attributes:
        version: of the nsys that exported it, empty where it does not say.
        start_unix_ns: unix time at the recording's time 0, None where it does not say.
        length_ns: how long the recording was, None where it does not say.
    """

    version: str
    start_unix_ns: int | None
    length_ns: int | None = None


@contextmanager
def open_export(path: Path) -> Iterator["NsysExport"]:
    """An export, read-only; every failure of SQLite inside the block becomes one of the file.

    Raises:
        FileUnreadable: it is absent, empty, truncated, damaged, or not an export of Nsight Systems.
    """
    _check_whole(path)
    try:
        # Immutable: no journal beside the file is looked for, so a read-only folder will do.
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        ) as database:
            yield NsysExport(path, database)
    except (sqlite3.Error, pa.ArrowInvalid) as error:
        raise FileUnreadable(f"{path} is damaged: {error}", hint=_EXPORT_AGAIN) from error
    except UnicodeDecodeError as error:
        raise FileUnreadable(
            f"{path} holds text that is not UTF-8: {error.object[:60]!r}",
            hint="export it again with a newer nsys, or under LC_ALL=C.UTF-8",
        ) from error


class NsysExport:
    """One open export."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database
        database.text_factory = bytes.decode
        tables = database.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        self.tables = {name for (name,) in tables}
        if "StringIds" not in self.tables:
            found = ", ".join(sorted(self.tables)[:5]) or "no table at all"
            raise FileUnreadable(
                f"{path} is no export of Nsight Systems: no table StringIds, but {found}",
                hint=_EXPORT_AGAIN,
            )
        if not self.tables & _SIGNS_OF_A_RECORDING:
            raise FileUnreadable(
                f"{path} is the beginning of an export that failed: it holds neither events nor a session",
                hint=_EXPORT_AGAIN + ", with an nsys that is not older than the report",
            )

    @cached_property
    def session(self) -> NsysSession:
        version, start_unix_ns = "", None
        for table in ("META_DATA_EXPORT", "EXPORT_META_DATA"):
            for (value,) in self.rows(table, "value", where="name = 'EXPORT_PRODUCT_VERSION'"):
                version = str(value)
        for (value,) in self.rows("TARGET_INFO_SESSION_START_TIME", "utcEpochNs"):
            start_unix_ns = value
        lengths = [value for (value,) in self.rows("ANALYSIS_DETAILS", "duration") if value is not None]
        return NsysSession(version, start_unix_ns, max(lengths, default=None))

    @cached_property
    def strings(self) -> dict[int, str]:
        """The text of every string id."""
        return dict(self._database.execute("SELECT id, value FROM StringIds").fetchall())

    def texts(self, ids: Integers) -> Any:
        """The texts of string ids as a dictionary column; "" for NULL and for an id that has none."""
        coded = pa.array(ids).dictionary_encode()
        texts = [self.strings.get(number) or "" for number in coded.dictionary.to_pylist()]
        return recoded(coded.indices, texts)

    def row_texts(self, table: str, column: str) -> dict[int, str]:
        """The texts that stand in a table itself, by row id; none where it has no such column."""
        if column not in self.columns(table):
            return {}
        query = f'SELECT {ROW_ID}, "{column}" FROM "{table}" WHERE "{column}" IS NOT NULL'
        return dict(self._database.execute(query).fetchall())

    def columns(self, table: str) -> list[str]:
        """Names of a table's columns in their order; none where there is no such table."""
        return [row[1] for row in self._database.execute(f'PRAGMA table_info("{table}")')]

    def integers(self, table: str, *columns: str, needs: int = 0) -> Columns:
        """Columns of a table as arrays, and ROW_ID; NULL where a value is NULL or this version lacks the column.

        Args:
            needs: how many of the columns, from the first, must be there.

        Raises:
            FileUnreadable: one of those is not, or something else than integers is in one.
        """
        present = self._present(table, columns, needs)
        found = [column for column in columns if column in present]
        values = self._scanned(table, present, found) if found else np.empty((1, 0), np.int64)
        absent = np.full(values.shape[1], NULL, np.int64)
        return dict.fromkeys(columns, absent) | dict(zip([*found, ROW_ID], values, strict=True))

    def rows(self, table: str, *columns: str, needs: int = 0, where: str = "TRUE") -> Rows:
        """Rows of a table; none where it does not exist, None for a column that this version lacks.

        Args:
            needs: how many of the columns, from the first, must be there.

        Raises:
            FileUnreadable: one of those is not.
        """
        present = self._present(table, columns, needs)
        if not present:
            return []
        wanted = ", ".join(f'"{column}"' if column in present else "NULL" for column in columns)
        return self._database.execute(f'SELECT {wanted} FROM "{table}" WHERE {where}').fetchall()

    def _present(self, table: str, columns: Sequence[str], needs: int) -> list[str]:
        """The table's columns; none where it does not exist."""
        present = self.columns(table)
        missing = [column for column in columns[:needs] if column not in present]
        if present and missing:
            raise FileUnreadable(
                f"{self._path}: {table} has no {', '.join(missing)}, only {', '.join(sorted(present))}",
                hint="export it with another version of nsys",
            )
        return present

    def _scanned(self, table: str, present: list[str], columns: list[str]) -> Integers:
        status, values = PageScan.ELSEWHERE, np.empty((1, 0), np.int64)
        root = self._plain_root(table)
        if root:
            status, values = read_integers(self._path, root, [present.index(name) for name in columns])
        if status == PageScan.ELSEWHERE:
            return self._selected(table, columns)
        if status == PageScan.DAMAGED:
            raise FileUnreadable(f"{self._path} is damaged: the pages of {table}", hint=_EXPORT_AGAIN)
        if status == PageScan.NOT_INTEGER:
            raise self._not_integers(table, columns)
        return values

    def _plain_root(self, table: str) -> int:
        """The root page of a table whose rows the page scan understands; 0 for a view, or one with keys."""
        query = "SELECT rootpage, sql FROM sqlite_master WHERE type = 'table' AND name = ?"
        for root, definition in self._database.execute(query, (table,)):
            keyed = any(row[5] for row in self._database.execute(f'PRAGMA table_info("{table}")'))
            return 0 if keyed or "WITHOUT ROWID" in definition.upper() else int(root)
        return 0

    def _selected(self, table: str, columns: list[str]) -> Integers:
        """The columns through SQLite: slower, and whatever the table is made of."""
        row_id = ROW_ID if self._plain_root(table) else "0"
        asked = ", ".join(f'coalesce("{column}", {NULL})' for column in columns)
        rows = self._database.execute(f'SELECT {asked}, {row_id} FROM "{table}"')
        try:
            flat = np.fromiter(chain.from_iterable(rows), np.int64)
        except (ValueError, TypeError, OverflowError) as error:
            raise self._not_integers(table, columns) from error
        return flat.reshape(-1, len(columns) + 1).T

    def _not_integers(self, table: str, columns: list[str]) -> FileUnreadable:
        return FileUnreadable(
            f"{self._path}: {table} holds something else than integers in {', '.join(columns)}",
            hint="export it with another version of nsys",
        )


def _check_whole(path: Path) -> None:
    """Compare the size that the database's header states with the file's."""
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror}", hint=_EXPORT_AGAIN) from error
    if not head:
        raise FileUnreadable(f"{path} is empty", hint=_EXPORT_AGAIN)
    if len(head) < _HEADER_BYTES or not head.startswith(b"SQLite format 3\0"):
        raise FileUnreadable(
            f"{path} is no SQLite database: it begins with {head[:12]!r}", hint=_EXPORT_AGAIN
        )
    (page_bytes,) = struct.unpack_from(">H", head, 16)
    changes, pages = struct.unpack_from(">II", head, 24)
    (pages_valid_for,) = struct.unpack_from(">I", head, 92)
    stated_bytes = pages * (65536 if page_bytes == 1 else page_bytes)
    if changes == pages_valid_for and size_bytes < stated_bytes:
        raise FileUnreadable(f"{path} is truncated: {size_bytes} bytes of {stated_bytes}", hint=_EXPORT_AGAIN)
