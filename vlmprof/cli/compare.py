"""`vlmprof compare RUN` and `vlmprof compare A B ...`: what changed, and whether that is more than noise."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlmprof.errors import FileUnreadable, RegressionFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlmprof.analysis.compare_gates import Gate
    from vlmprof.model.comparison import ComparisonResult, GateResult
    from vlmprof.model.run_folder import RunFolder


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="One run with arms, or the baseline's run folder and others to hold against it."),
    ],
    *,
    gate: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit with 1 unless this holds, as 'ttft_p50<+5%', 'stage.image_transform<=.5ms' or "
            "'tokens_per_s_p50>-5%'; may be given several times."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="A gate that the noise leaves undecided fails as well.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results instead of the last run's own.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, as for a pull request.")
    ] = False,
) -> None:
    """Compare the arms of one run, or runs with one another: paired differences, noise floor, verdict."""
    from rich.console import Console

    from vlmprof.analysis.compare_gates import parse_gate
    from vlmprof.model.run_folder import RunFolder
    from vlmprof.session.compare import output_folder

    gates = [parse_gate(text) for text in gate or []]
    folders = [RunFolder.open(path) for path in runs]
    with Console(stderr=True).status("Comparing"):
        result = compared(folders, gates)
        page = write_comparison(folders, result, output_folder(folders, out))
    _print(result, page, as_json=json_, as_markdown=markdown)
    raise_violated(result, strict=strict)


def compared(folders: "Sequence[RunFolder]", gates: "Sequence[Gate]") -> "ComparisonResult":
    """Compare, and hold every gate against every trial."""
    import msgspec

    from vlmprof.analysis.compare_gates import check_gate
    from vlmprof.session.compare import compare_folders

    result = compare_folders(folders)
    checked = [check_gate(gate, each) for gate in gates for each in result.comparisons]
    return msgspec.structs.replace(result, gates=checked)


def write_comparison(folders: "Sequence[RunFolder]", result: "ComparisonResult", target: "RunFolder") -> Path:
    """Write `results/comparison.json`, `comparison.md` and `comparison.html`; the last one's path.

    Raises:
        FileUnreadable: the folder cannot be written.
        ToolMissing: no package that renders the page is installed.
    """
    from vlmprof.cli.compare_markdown import render_markdown
    from vlmprof.cli.report import find_report
    from vlmprof.model.run_folder import write_atomically

    page = target.path / "comparison.html"
    html = find_report("comparison")(folders, result)
    try:
        target.write_result("comparison", result)
        write_atomically(target.path / "comparison.md", render_markdown(result).encode())
        write_atomically(page, html.encode())
    except OSError as error:
        raise FileUnreadable(
            f"cannot write {target.path}: {error.strerror}", hint="name another place with --out"
        ) from error
    return page


def _print(result: "ComparisonResult", page: Path, *, as_json: bool, as_markdown: bool) -> None:
    import msgspec
    from rich.console import Console
    from rich.text import Text

    from vlmprof.cli.compare_markdown import render_markdown
    from vlmprof.cli.compare_render import print_comparison

    if as_json:
        print(msgspec.json.encode({"report": str(page), **msgspec.to_builtins(result)}).decode())
    elif as_markdown:
        print(render_markdown(result), end="")
    else:
        console = Console()
        print_comparison(result, console)
        console.print(Text.assemble(("  Report  ", "bold"), (str(page), "underline")), soft_wrap=True)


def raise_violated(result: "ComparisonResult", *, strict: bool = False) -> None:
    """Raise what a gate's outcome asks for.

    Raises:
        RegressionFound: a gate does not hold.
        UsageError: all of them do, but for some that watch what was not measured.
    """
    from vlmprof.model.comparison import GateOutcome

    failing = {GateOutcome.VIOLATED, *([GateOutcome.UNDECIDED] if strict else [])}
    failed = [gate for gate in result.gates if gate.outcome in failing]
    if failed:
        raise RegressionFound(_told(failed), hint="the stages that changed are in results/comparison.json")
    unmeasured = [gate for gate in result.gates if gate.outcome == GateOutcome.UNMEASURED]
    if unmeasured:
        raise UsageError(_told(unmeasured), hint="results/comparison.json holds all that was measured")


def _told(gates: "Sequence[GateResult]") -> str:
    from vlmprof.cli.compare_render import measured_of_gate

    return "; ".join(
        f"{gate.gate} is {gate.outcome} for {gate.trial}: {gate.note or measured_of_gate(gate)}"
        for gate in gates
    )
