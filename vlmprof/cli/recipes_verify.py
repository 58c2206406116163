"""`vlmprof recipes verify MODEL`: proof that recipes leave inputs and outputs as they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from vlmprof.model.verification import SetVerdict, Verification

_ALL_DTYPES = "float32,bfloat16"
_FAULTS_SHOWN = 8
_SKIPPED_SHOWN = 8


def verify_recipes(
    model: Annotated[str, typer.Argument(help="A checkpoint folder, or a model hub's owner/name.")],
    engine_args: Annotated[
        list[str] | None, typer.Argument(help="After --: arguments for the engine, passed on as they are.")
    ] = None,
    *,
    images: Annotated[
        Path | None, typer.Option(help="Folder of pictures, beside the odd ones that are always tried.")
    ] = None,
    recipes: Annotated[str, typer.Option(help="Which: 1,2,8, exact or all.")] = "all",
    dtypes: Annotated[
        str, typer.Option(help="Of the servers to start; empty to verify in the processor alone.")
    ] = _ALL_DTYPES,
    out: Annotated[
        Path | None, typer.Option(help="Also write the whole result to this file, as JSON.")
    ] = None,
    python: Annotated[Path | None, typer.Option(help="Interpreter that has the engine.")] = None,
    ready_timeout: Annotated[float, typer.Option(help="Seconds to wait for a server.")] = 900.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Verify each recipe and all together, in the engine's own processor and in a real server.

    Exits with 4 when a recipe changes what it says it does not, or when that could not be shown.

    vlmprof recipes verify checkpoints/smolvlm-256m-small -- --max-model-len 8192 --enforce-eager
    """
    import msgspec
    from rich.console import Console

    from vlmprof.cli.progress import ConsoleProgress
    from vlmprof.model.run_folder import write_atomically
    from vlmprof.session.verify import VerifyOptions, verify

    options = VerifyOptions(
        model=model,
        images=images,
        recipes=recipes,
        dtypes=_dtypes(dtypes),
        python=python,
        ready_timeout_s=ready_timeout,
        engine_args=tuple(engine_args or ()),
    )
    with ConsoleProgress() as progress:
        result = verify(options, progress)
    document = msgspec.json.format(msgspec.json.encode(result), indent=2)
    if out is not None:
        write_atomically(out, document)
    if as_json:
        print(document.decode())
    else:
        console = Console(highlight=False)
        console.print(_table(result))
        for line in _notes(result):
            console.print(line, markup=False, soft_wrap=True)
    _refuse_faults(result)


def _dtypes(text: str) -> tuple[str, ...]:
    from vlmprof.errors import UsageError

    named = tuple(each.strip() for each in text.split(",") if each.strip())
    unknown = [each for each in named if each not in ("float32", "bfloat16", "float16")]
    if unknown:
        raise UsageError(f"no dtype {unknown[0]!r}", hint=f"--dtypes {_ALL_DTYPES}")
    return named


def _table(result: "Verification") -> "Table":
    """A row per set of recipes: how many prompts are alike, and the largest differences.

    Inputs are token ids, placeholder ranges and whether the prompt is taken at all; pixels are those that the
    vision encoder gets, of the prompts that are taken.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("recipes", overflow="fold", min_width=14)
    for head in ("prompts", "inputs", "pixels", "max diff", "mean", "texts", "logprob"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for verdict in result.verdicts:
        table.add_row(*_cells(result, verdict))
    return table


def _cells(result: "Verification", verdict: "SetVerdict") -> list[str]:
    from vlmprof.model.verification import PixelsCompared

    processed = [check for check in result.processor if check.recipes == verdict.recipes]
    served = [check for check in result.server if check.recipes == verdict.recipes]
    inputs = sum(check.ids_equal and check.ranges_equal and check.same_decision for check in processed)
    pixels = [check.pixels for check in processed if check.taken]
    compared = [each for each in pixels if isinstance(each, PixelsCompared)]
    largest = max((each.max_difference for each in compared), default=None)
    mean = max((each.mean_difference for each in compared), default=None)
    logprobs = [check.logprob_difference for check in served if check.logprob_difference is not None]
    mark = "[red]fault[/]" if verdict.faults else "[green]exact[/]" if verdict.claims_exact else "allowed"
    return [
        ",".join(map(str, verdict.recipes)),
        str(len(processed)),
        f"{inputs}/{len(processed)}",
        f"{sum(not each.max_difference for each in compared)}/{len(pixels)}",
        _number(largest),
        _number(mean),
        f"{sum(check.text_equal for check in served)}/{len(served)}" if served else "–",
        _number(max(logprobs, default=None)),
        mark,
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else "0" if value == 0 else f"{value:.2g}"


def _notes(result: "Verification") -> list[str]:
    """Why differences are allowed, what was not verified, and what is wrong."""
    notes = dict.fromkeys(f"note: {verdict.allowed}" for verdict in result.verdicts if verdict.allowed)
    skipped = ", ".join(map(str, sorted(result.skipped)))
    faults = [
        f"fault of {','.join(map(str, verdict.recipes))}: {fault}"
        for verdict in result.verdicts
        for fault in verdict.faults[:_FAULTS_SHOWN]
    ]
    return [
        *notes,
        *([f"not verified, see `recipes list`: {skipped}"] if skipped else []),
        *_skipped_images(result.skipped_images),
        *faults,
    ]


def _skipped_images(skipped: list[str]) -> list[str]:
    more = len(skipped) - _SKIPPED_SHOWN
    named = "; ".join(skipped[:_SKIPPED_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    return [f"skipped, no pictures: {named}"] if skipped else []


def _refuse_faults(result: "Verification") -> None:
    from vlmprof.errors import RecipeMisfit

    faulty = [verdict for verdict in result.verdicts if verdict.faults]
    if faulty:
        sets = " and ".join(",".join(map(str, verdict.recipes)) for verdict in faulty)
        raise RecipeMisfit(
            f"recipes {sets} change what they must not, or could not be shown not to: {faulty[0].faults[0]}",
            hint="leave them out; --out FILE keeps every check",
        )
