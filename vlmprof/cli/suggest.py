"""`vlmprof suggest RUN`: which recipes would save how much of a run's TTFT, and what shows it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vlmprof.model.run_folder import RunFolder
    from vlmprof.model.suggestions import SuggestionsResult


def suggest(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    *,
    again: Annotated[
        bool,
        typer.Option("--rebuild", help="Conclude it anew from the run's tables, with the recipes of today."),
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Rank the recipes by what each would save of the time to first token, with the evidence.

    vlmprof suggest runs/demo
    """
    import msgspec
    from rich.console import Console

    from vlmprof.cli.render_suggestions import render_suggestions
    from vlmprof.model.run_folder import RunFolder

    folder = RunFolder.open(run)
    result = _concluded(folder, again=again)
    if json_:
        print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())
        return
    console = Console()
    console.print(render_suggestions(result, console.width, evidence=True))


def _concluded(folder: "RunFolder", *, again: bool) -> "SuggestionsResult":
    from vlmprof.model.suggestions import read_suggestions
    from vlmprof.session.suggest import suggest_again

    if not again and (folder.results / "suggestions.json").exists():
        return read_suggestions(folder)
    return suggest_again(folder)
