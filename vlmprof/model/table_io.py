"""Reading and writing `tables/*.parquet` against their schemas."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlmprof.errors import FileUnreadable
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.tables import SCHEMAS

_DELTA_COLUMNS = ("start_ns", "end_ns", "duration_ns", "stack_id", "correlation_id")


def write_table(folder: RunFolder, name: str, table: Any) -> Path:
    """Write a table under its schema; columns are cast, an absent column is an error."""
    table = table.select(SCHEMAS[name].names).cast(SCHEMAS[name])
    # Sorted times shrink to about a byte a row as differences; dictionary pages would hide that.
    delta = {column: "DELTA_BINARY_PACKED" for column in _DELTA_COLUMNS if column in table.column_names}
    dictionary = [column for column in table.column_names if column not in delta]
    path = folder.table_path(name)
    partial = path.with_name(f".{path.name}")
    pq.write_table(
        table, partial, compression="zstd", column_encoding=delta or None, use_dictionary=dictionary
    )
    partial.replace(path)
    return path


def read_table(folder: RunFolder, name: str) -> Any:
    """Read a table of a run as a `pyarrow.Table`; an absent one comes back empty, with its schema.

    Raises:
        FileUnreadable: the file is damaged or lacks a column.
    """
    path = folder.table_path(name)
    if not path.exists():
        return SCHEMAS[name].empty_table()
    try:
        return pq.read_table(path).select(SCHEMAS[name].names).cast(SCHEMAS[name])
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise FileUnreadable(
            f"{path} is damaged: {error}", hint="run `vlmprof report RUN --rebuild`"
        ) from error
