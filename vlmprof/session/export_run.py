"""A run's tables into a file of another program."""

from collections.abc import Callable
from pathlib import Path

from vlmprof.errors import FileUnreadable
from vlmprof.export.chrome import write_chrome
from vlmprof.export.collapsed import write_collapsed
from vlmprof.export.perfetto import write_perfetto
from vlmprof.export.speedscope import write_speedscope
from vlmprof.export.timeline import Timeline, read_timeline
from vlmprof.model.run_folder import RunFolder

_WRITERS: dict[str, tuple[str, Callable[[Timeline, Path], None]]] = {
    "perfetto": ("trace.pftrace", write_perfetto),
    "speedscope": ("trace.speedscope.json", write_speedscope),
    "collapsed": ("stacks.collapsed.txt", write_collapsed),
    "chrome": ("trace.chrome.json", write_chrome),
}


def export_run(folder: RunFolder, file_format: str, out: Path | None = None) -> Path:
    """Write a run in another program's format, into its folder or elsewhere; replaces what is there.

    Args:
        file_format: `"perfetto"`, `"speedscope"`, `"collapsed"` or `"chrome"`.

    Raises:
        FileUnreadable: a table is damaged, has nothing that the format could hold, or the file cannot be written.
    """
    name, write = _WRITERS[file_format]
    path = out or folder.path / name
    timeline = read_timeline(folder)
    _check_content(timeline, file_format, folder)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(timeline, partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FileUnreadable(
            f"cannot write {path}: {error.strerror}", hint="name another place with --out"
        ) from error
    return path


def _check_content(timeline: Timeline, file_format: str, folder: RunFolder) -> None:
    """An empty file would look like a failed export to the program that opens it."""
    kernels = timeline.gpu_kernels.num_rows
    stacks_and_kernels = timeline.samples.num_rows + (kernels if file_format == "speedscope" else 0)
    if file_format in ("collapsed", "speedscope") and not stacks_and_kernels:
        raise FileUnreadable(
            f"{folder.path} has no stack samples, and {file_format} holds nothing else",
            hint="export it to perfetto or chrome",
        )
