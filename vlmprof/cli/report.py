"""`vlmprof report RUN`: the result in the terminal, and the run's pages written anew."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlmprof.errors import FileUnreadable, ToolMissing

if TYPE_CHECKING:
    from vlmprof.model.comparison import ComparisonResult
    from vlmprof.model.run_folder import RunFolder
    from vlmprof.model.suggestions import SuggestionsResult

REPORT_GROUP = "vlmprof.reports"


def report(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to write it instead of RUN/report.html: a page, with the same in Markdown beside it; "
            "Markdown alone, by a name that ends in .md; or a folder that is there."
        ),
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Analyse the raw captures again first.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, as for a pull request.")
    ] = False,
) -> None:
    """Show a run's result again and write its report, as HTML and as Markdown; of a ladder its own as well."""
    from rich.console import Console

    from vlmprof.cli.ladder import write_ladder
    from vlmprof.model.run_folder import RunFolder

    folder = RunFolder.open(run)
    with Console(stderr=True).status("Writing the report"):
        if rebuild:
            _rebuild(folder)
        page = write_report(folder, out)
        if out is None and (folder.results / "ladder.json").exists():
            write_ladder(folder)
    if markdown and not json_:
        print(report_markdown(folder), end="")
    else:
        print_result(folder, page, as_json=json_)


def write_report(folder: "RunFolder", out: Path | None = None) -> Path:
    """Render a run's page, and the same in Markdown, into the folder or elsewhere.

    Args:
        out: the page's path, with the Markdown beside it under the same name; one that ends in `.md` gets the
            Markdown and no page; a folder that is there gets both.

    Returns:
        The path of the page, or of the Markdown that was asked for alone.

    Raises:
        FileUnreadable: the run cannot be read or the page not be written.
        ToolMissing: no package that renders it is installed.
    """
    from vlmprof.model.run_folder import write_atomically

    path = _report_path(folder, out)
    contents = {path.with_suffix(".md"): report_markdown(folder)}
    if path not in contents:
        contents[path] = find_report("run")(folder)
    try:
        for place, content in contents.items():
            write_atomically(place, content.encode())
    except OSError as error:
        raise FileUnreadable(
            f"cannot write {path}: {error.strerror}", hint="name another place with --out"
        ) from error
    return path


def _report_path(folder: "RunFolder", out: Path | None) -> Path:
    if out is None:
        return folder.report
    return out / folder.report.name if out.is_dir() else out


def report_markdown(folder: "RunFolder") -> str:
    """A run's summary and suggestions as Markdown; raises `FileUnreadable`."""
    from vlmprof.cli.run_markdown import run_markdown
    from vlmprof.model.results import read_summary

    return run_markdown(read_summary(folder), folder.read_info(), _suggestions(folder))


def print_result(
    folder: "RunFolder", page: Path | None, comparison: "ComparisonResult | None" = None, *, as_json: bool
) -> None:
    """Print a run's summary, suggestions and comparison, for people or as one JSON object with the page's path."""
    import msgspec
    from rich.console import Console
    from rich.text import Text

    from vlmprof.cli.compare_render import print_comparison
    from vlmprof.cli.render import render_summary
    from vlmprof.cli.render_suggestions import render_suggestions
    from vlmprof.model.results import read_summary

    summary, suggestions = read_summary(folder), _suggestions(folder)
    if as_json:
        result: dict[str, object] = {
            "run": str(folder.path),
            "report": page and str(page),
            "summary": summary,
        }
        result |= {"suggestions": suggestions, "comparison": comparison}
        print(msgspec.json.encode(result).decode())
        return
    console = Console()
    console.print(render_summary(summary, folder.read_info(), console.width, report=page))
    if suggestions is not None and suggestions.suggestions:
        console.print(render_suggestions(suggestions, console.width))
    if comparison is not None:
        print_comparison(comparison, console)
        page = folder.path / "comparison.html"
        console.print(Text.assemble(("  Report  ", "bold"), (str(page), "underline")), soft_wrap=True)


def _suggestions(folder: "RunFolder") -> "SuggestionsResult | None":
    """None for a run that was analysed before there were any, and for one that was imported."""
    from vlmprof.model.suggestions import read_suggestions

    return read_suggestions(folder) if (folder.results / "suggestions.json").exists() else None


def find_report(name: str) -> "Callable[..., str]":
    """The function that an installed package offers for a kind of report; raises `ToolMissing`."""
    from importlib.metadata import entry_points

    offered = [point for point in entry_points(group=REPORT_GROUP) if point.name == name]
    if not offered:
        raise ToolMissing(
            f"no package offers the report {name!r}", hint="reinstall vlmprof: pip install vlmprof"
        )
    try:
        render: Callable[..., str] = offered[0].load()
    except ImportError as error:
        raise ToolMissing(
            f"the report {name!r} of {offered[0].value} cannot be loaded: {error}",
            hint="reinstall vlmprof: pip install vlmprof",
        ) from error
    return render


def _rebuild(folder: "RunFolder") -> None:
    from vlmprof.session.pipeline import rebuild

    rebuild(folder)
