"""`vlmprof`: the commands, and the one place where an error becomes a message and an exit code."""

import sys
import traceback
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
from vlmprof.cli.streams import lasting_streams
from vlmprof.errors import ExitCode, Interrupted, VlmprofError

_DEFECT = (
    "vlmprof: this is a defect of vlmprof; please report it with the lines above, the whole command and what "
    "`vlmprof doctor` prints"
)


class _Commands(TyperGroup):
    """Keeps from Typer what it would end without a word, or with 1, the exit code of a regression."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted") from error
        except (EOFError, BrokenPipeError) as error:
            raise RuntimeError(f"{type(error).__name__}: {error}") from error


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
    with lasting_streams():
        sys.exit(_exit_code())


def _exit_code() -> int:
    """Run the command, say what went wrong, and what that is to a script."""
    try:
        return _completed()
    except VlmprofError as error:
        print(f"vlmprof: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  -> {error.hint}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("vlmprof: interrupted", file=sys.stderr)
        return int(ExitCode.INTERRUPTED)
    except Exception:  # noqa: BLE001 - Python's own exit code for it, 1, is a regression to whoever waits for a gate
        traceback.print_exc()
        print(_DEFECT, file=sys.stderr)
        return ExitCode.DEFECT


def _completed() -> int:
    """The exit code of the command as Typer has it, with all of its output written.

    Raises:
        FileUnreadable: the output cannot be written.
        Exception: whatever the command raises.
    """
    try:
        app()
    except SystemExit as ended:
        code = ended.code or int(ExitCode.OK)
        return code if isinstance(code, int) else ExitCode.DEFECT
    finally:
        # In here, since at the interpreter's end a failed write could only be reported, with exit code 120.
        sys.stdout.flush()
    return int(ExitCode.OK)


if __name__ == "__main__":
    main()
