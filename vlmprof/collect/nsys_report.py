"""From what nsys recorded to a database that can be kept: import, export, redact."""

import mmap
import os
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path

from vlmprof.collect.tools import Tool, find_tool
from vlmprof.errors import FileUnreadable, ToolMissing

_CONVERT_TIMEOUT_S = 600
_SECRET_NAMES = ("TOKEN", "KEY", "SECRET", "PASSW", "CREDENTIAL", "AUTH")
_SHORTEST_SECRET = 8

_PLACES = (Path("/usr/local/cuda/bin"), Path("/opt/nvidia/nsight-systems"))


def find_nsys(named: Path | None = None) -> Tool:
    """nsys on PATH, in CUDA's folder or in NVIDIA's, newest first, or where the user says.

    Raises:
        ToolMissing: there is none that runs.
    """
    releases = sorted(_PLACES[1].glob("*/bin"), reverse=True)
    return find_tool(
        "nsys",
        named=named,
        places=[_PLACES[0], *releases],
        hint="install Nsight Systems (Debian: apt-get install nsight-systems, from non-free), "
        "or pass --gpu-profiler torch",
    )


def find_importer(nsys: Tool) -> Path | None:
    """The program that turns nsys's raw stream into a report; None where only the target half is installed.

    nsys looks for it in `host-linux-x64` beside itself. Debian's package puts it beside another link of the
    chain from PATH to nsys, where nsys does not look.
    """
    link, seen = nsys.path, list[Path]()
    while link not in seen:
        seen.append(link)
        if link.is_symlink():
            link = Path(os.path.normpath(link.parent / link.readlink()))
    folders = [*(link.parent.parent for link in seen), nsys.path.resolve().parent.parent]
    for folder in folders:
        importer = folder / "host-linux-x64" / "QdstrmImporter"
        if importer.is_file():
            return importer
    return None


def nsys_finds_importer(nsys: Tool) -> bool:
    """Whether nsys itself writes finished reports; without, `make_report` finishes them."""
    return (nsys.path.resolve().parent.parent / "host-linux-x64" / "QdstrmImporter").is_file()


def make_report(nsys: Tool, stem: Path) -> Path:
    """The finished report of one recording; imports the raw stream where nsys left only that.

    Raises:
        ToolMissing: the importer is not installed.
        FileUnreadable: nothing was recorded, or the importer refused it.
    """
    report, stream = stem.with_name(f"{stem.name}.nsys-rep"), stem.with_name(f"{stem.name}.qdstrm")
    if not report.exists():
        if not stream.exists():
            raise FileUnreadable(f"nsys recorded nothing into {stem.name}", hint="see raw/nsys.log")
        importer = find_importer(nsys)
        if importer is None:
            raise ToolMissing(
                f"nsys {nsys.version} came without its importer (QdstrmImporter)",
                hint="apt-get install nsight-systems",
            )
        _convert([str(importer), "-i", str(stream), "-o", str(report)], report)
    stream.unlink(missing_ok=True)
    return report


def export_report(nsys: Tool, report: Path) -> Path:
    """The report as an SQLite database beside it.

    Raises:
        FileUnreadable: nsys refused the report.
    """
    database = report.with_suffix(".sqlite")
    command = [str(nsys.path), "export", "--type", "sqlite", "--quiet", "true", "--force-overwrite", "true"]
    _convert([*command, "--output", str(database), str(report)], database)
    return database


def redact(database: Path, environment: Mapping[str, str]) -> None:
    """Remove the environment and the server's output that nsys copied, and the pages that held them.

    Args:
        environment: what the server was started with; none of its secrets is left, which is checked.

    Raises:
        FileUnreadable: it is no database, or a secret is left in it; it is deleted then.
    """
    try:
        _remove_known_copies(database)
    except sqlite3.DatabaseError as error:
        database.unlink()
        raise FileUnreadable(
            f"{database.name} cannot be redacted: {error}", hint="see raw/nsys.log"
        ) from error
    if leaked := leaked_names(database, environment):
        database.unlink()
        raise FileUnreadable(
            f"{database.name} was deleted: it still held the values of {', '.join(leaked)}",
            hint="start the server without these variables",
        )


_REDACTIONS = {
    "TARGET_INFO_SYSTEM_ENV": "DELETE FROM TARGET_INFO_SYSTEM_ENV",
    "META_DATA_CAPTURE": "DELETE FROM META_DATA_CAPTURE WHERE name LIKE '%ENVIRONMENT%'",
    "ProcessStreams": "UPDATE StringIds SET value = '' WHERE id IN (SELECT contentId FROM ProcessStreams)",
    # No table refers to the environments that nsys's libraries read inside the processes: "A=1\0B=2\0".
    "StringIds": "UPDATE StringIds SET value = '' WHERE instr(CAST(value AS BLOB), x'00')",
}


def _remove_known_copies(database: Path) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("PRAGMA secure_delete = ON")
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table in _REDACTIONS:
                connection.execute(_REDACTIONS[table])
        connection.execute("VACUUM")
    finally:
        connection.close()


def leaked_names(file: Path, environment: Mapping[str, str]) -> list[str]:
    """Variables with a secret's name whose value stands in the file."""
    secrets = {
        name: value.encode()
        for name, value in environment.items()
        if len(value) >= _SHORTEST_SECRET and any(part in name.upper() for part in _SECRET_NAMES)
    }
    if file.stat().st_size == 0:
        return []
    with file.open("rb") as content, mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        return sorted(name for name, value in secrets.items() if memory.find(value) >= 0)


def _convert(command: list[str], result: Path) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_CONVERT_TIMEOUT_S, check=False, errors="replace"
        )
        said = (done.stderr or done.stdout).strip()[-300:]
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if not result.exists():
        program = Path(command[0]).name
        raise FileUnreadable(f"{program} made no {result.name}: {said}", hint="see raw/nsys.log")
