"""`vlmprof`: the commands, and the one place where an error becomes a message and an exit code."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vlmprof import __version__
from vlmprof.cli import (
    attach,
    compare,
    doctor,
    export,
    gpu,
    import_,
    kernels,
    ladder,
    models,
    recipes,
    report,
    run,
    suggest,
)
from vlmprof.errors import ExitCode, Interrupted, VlmprofError


class _Commands(TyperGroup):
    """Typer would end an interrupted command without a word."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted") from error


app = typer.Typer(
    name="vlmprof",
    cls=_Commands,
    help="Where each millisecond of a vision-language model's time to first token goes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("run", context_settings={"allow_extra_args": False})(run.run)
app.command("attach")(attach.attach)
app.command("report")(report.report)
app.command("suggest")(suggest.suggest)
app.command("compare")(compare.compare)
app.command("ladder", context_settings={"allow_extra_args": False})(ladder.ladder)
app.command("doctor")(doctor.doctor)
app.command("import")(import_.import_)
app.command("export")(export.export)
app.command("kernels")(kernels.kernels)
app.command("gpu")(gpu.gpu)
app.add_typer(models.app, name="models")
app.add_typer(recipes.app, name="recipes")


def _show_version(asked: bool) -> None:
    if asked:
        print(f"vlmprof {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        # Where the locale has no box drawing, a question mark does; the result is worth more than its looks.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        app()
    except VlmprofError as error:
        print(f"vlmprof: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  -> {error.hint}", file=sys.stderr)
        sys.exit(int(error.exit_code))
    except KeyboardInterrupt:
        print("vlmprof: interrupted", file=sys.stderr)
        sys.exit(int(ExitCode.INTERRUPTED))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(int(ExitCode.OK))


if __name__ == "__main__":
    main()
