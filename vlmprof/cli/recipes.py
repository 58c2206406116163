"""`vlmprof recipes list` and `show`: what each recipe is, and whether a model and an engine still need it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlmprof.cli.recipes_verify import verify_recipes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vlmprof.patching import Family, Recipe
    from vlmprof.patching.availability import Availability
    from vlmprof.patching.source import InstalledSource

app = typer.Typer(
    help="What each recipe changes, whether a model needs it, and proof of equal output.",
    no_args_is_help=True,
)

app.command("verify")(verify_recipes)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Python = Annotated[Path | None, typer.Option(help="Interpreter that has the engine.")]
_FAMILY_NAMES = {
    "IDEFICS3": "smolvlm",
    "INTERNVL_CHAT": "internvl-chat",
    "INTERNVL_HF": "internvl",
    "QWEN3_VL": "qwen3-vl",
}
_STYLES = {"needed": "bold", "flag": "cyan", "upstream": "dim", "not applicable": "dim"}
_SHORT = {"not applicable": "n/a"}
_TITLE_WIDTH = 26
_LEGEND = (
    "[green]✓[/] can be switched on here   [red]✗[/] written for other versions   "
    "~ outputs within a tolerance   ↻ by restart"
)


@app.command("list")
def list_recipes(
    *,
    model: Annotated[str | None, typer.Option(help="A checkpoint: what is true of its family.")] = None,
    family: Annotated[str | None, typer.Option(help=f"One of {', '.join(_FAMILY_NAMES.values())}.")] = None,
    python: Python = None,
    as_json: AsJson = False,
) -> None:
    """Show every recipe: still needed or not, exact or not, and whether it fits what is installed."""
    from rich.console import Console

    from vlmprof.patching.registry import load_recipes

    families, installed = _asked_for(model, family), _installed(python)
    recipes = list(load_recipes(installed).values())
    if as_json:
        documents = [_document(recipe, families, installed) for recipe in recipes]
        typer.echo(json.dumps({"recipes": documents}, indent=2))
        return
    found = {
        (each.number, name): _availability(each, name, installed) for each in recipes for name in families
    }
    console = Console(highlight=False)
    console.print(
        _by_family(recipes, families, found) if len(families) > 1 else _of_one(recipes, families[0], found)
    )
    console.print(_LEGEND, style="dim")
    for misfit in dict.fromkeys(each.misfit for each in found.values() if each.misfit):
        console.print(misfit, markup=False, style="yellow")


@app.command("show")
def show_recipe(
    number: Annotated[str, typer.Argument(help="The recipe's number.")],
    *,
    python: Python = None,
    as_json: AsJson = False,
) -> None:
    """Show one recipe: what the paper says, what it means here, and what it changes where."""
    from rich.console import Console

    from vlmprof.patching import Family
    from vlmprof.patching.registry import load_recipes

    installed = _installed(python)
    recipe = _numbered(number, load_recipes(installed))
    if as_json:
        typer.echo(json.dumps(_document(recipe, list(Family), installed), indent=2))
        return
    console = Console(highlight=False)
    console.print(f"\n[bold]{recipe.number}  {recipe.title}[/]  [dim]{recipe.slug}[/]\n")
    console.print(_facts(recipe))
    for family in Family:
        _print_standing(console, recipe, family, installed)
    console.print(f"\nTry it   [bold]{_command(recipe)}[/]\n")


def _installed(python: Path | None) -> "InstalledSource":
    """What an interpreter has; this one's without starting it."""
    from vlmprof.engines.vllm import find_vllm
    from vlmprof.patching.source import InstalledSource

    return InstalledSource() if python is None else InstalledSource(find_vllm(python).search_path)


def _asked_for(model: str | None, family: str | None) -> list["Family"]:
    from vlmprof.errors import UsageError
    from vlmprof.patching import Family

    if model is not None and family is not None:
        raise UsageError("--model and --family together", hint="name one of them")
    if model is not None:
        return [_family_of_checkpoint(model)]
    return [_family_named(family)] if family is not None else list(Family)


def _family_of_checkpoint(model: str) -> "Family":
    from vlmprof.engines.vllm import resolve_model
    from vlmprof.errors import UsageError
    from vlmprof.patching import family_of

    info = resolve_model(model)
    architectures = [info.architecture] if info.architecture else []
    found = family_of({"architectures": architectures, "model_type": info.model_type})
    if found is None:
        what = info.architecture or info.model_type or "a model that is not on this machine"
        raise UsageError(
            f"no recipe speaks about {model}: {what}",
            hint=f"name the family instead: --family {' or '.join(_FAMILY_NAMES.values())}",
        )
    return found


def _family_named(text: str) -> "Family":
    from vlmprof.errors import UsageError
    from vlmprof.patching import Family

    for key, name in _FAMILY_NAMES.items():
        if text.lower() == name:
            return Family[key]
    raise UsageError(f"no family {text!r}", hint=f"one of {', '.join(_FAMILY_NAMES.values())}")


def _numbered(text: str, recipes: dict[int, "Recipe"]) -> "Recipe":
    from vlmprof.errors import UsageError

    if text.isdigit() and int(text) in recipes:
        return recipes[int(text)]
    raise UsageError(f"there is no recipe {text!r}", hint=f"recipes: {', '.join(map(str, recipes))}")


def _availability(recipe: "Recipe", family: "Family", installed: "InstalledSource") -> "Availability":
    from vlmprof.patching.availability import availability

    return availability(recipe, family, installed)


_Found = dict[tuple[int, "Family"], "Availability"]


def _by_family(recipes: list["Recipe"], families: list["Family"], found: _Found) -> "Table":
    """A row per recipe, a column per family."""
    table = _table("", "recipe", "", *(_FAMILY_NAMES[family.name] for family in families))
    for recipe in recipes:
        cells = [_cell(recipe, family, found[recipe.number, family]) for family in families]
        table.add_row(str(recipe.number), _title(recipe), _marks(recipe), *cells)
    return table


def _of_one(recipes: list["Recipe"], family: "Family", found: _Found) -> "Table":
    """A row per recipe with the place that shows how it stands in one family."""
    table = _table("", "recipe", "", _FAMILY_NAMES[family.name])
    table.add_column("where", overflow="fold")
    for recipe in recipes:
        standing = recipe.standing.get(family)
        where = standing.where if standing else ""
        cell = _cell(recipe, family, found[recipe.number, family])
        table.add_row(str(recipe.number), _title(recipe), _marks(recipe), cell, where)
    return table


def _title(recipe: "Recipe") -> str:
    from vlmprof.cli.terminal_text import keep_start

    return keep_start(recipe.title, _TITLE_WIDTH)


def _marks(recipe: "Recipe") -> str:
    return f"{'~' * (recipe.exactness == 'tolerance')}{'↻' * (recipe.switching == 'restart')}"


def _cell(recipe: "Recipe", family: "Family", found: "Availability") -> str:
    standing = recipe.standing.get(family)
    if standing is None:
        return ""
    mark = "" if not found.changes else " [red]✗[/]" if found.misfit else " [green]✓[/]"
    name = _SHORT.get(standing.need, standing.need)
    return f"[{_STYLES[standing.need]}]{name}[/]{mark}"


def _table(*heads: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for place, head in enumerate(heads):
        table.add_column(head, no_wrap=True, justify="left" if place else "right")
    return table


def _facts(recipe: "Recipe") -> "Table":
    from rich.table import Table

    together = [
        *(
            f"needs {', '.join(map(str, recipe.needs))}, as far as the model has them"
            for _ in recipe.needs[:1]
        ),
        *(f"conflicts with {', '.join(map(str, recipe.conflicts))}" for _ in recipe.conflicts[:1]),
    ]
    rows = {
        "paper": recipe.paper,
        "here": recipe.here,
        "outputs": f"{recipe.exactness}. {recipe.tolerance}".rstrip(". ")
        if recipe.tolerance
        else recipe.exactness,
        "switched": "between two requests" if recipe.switching == "live" else "by starting another server",
        "acts in": ", ".join(recipe.processes),
        "together": "; ".join(together) or "with any other",
    }
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(f"[dim]{name}[/]", value)
    return table


def _print_standing(
    console: "Console", recipe: "Recipe", family: "Family", installed: "InstalledSource"
) -> None:
    standing = recipe.standing.get(family)
    if standing is None:
        return
    found = _availability(recipe, family, installed)
    console.print(f"\n[bold]{family}[/]: [{_STYLES[standing.need]}]{standing.need}[/], {standing.where}")
    fits = [f"{each.distributions[0]} {each.at_least} up to {each.below}" for each in recipe.fits_for(family)]
    if fits:
        verdict = "[red]does not fit[/]" if found.misfit else "[green]fits what is installed[/]"
        console.print(f"  written for {', '.join(fits)}: {verdict}")
    for patch in recipe.patches_for(family):
        place = installed.function(patch.target)
        where = f"  [cyan]{_short(str(place.file))}:{place.line}[/]" if place else "  [red]not installed[/]"
        console.print(f"  {patch.target.partition(':')[2]}{where}", soft_wrap=True)
    if found.misfit:
        console.print(f"  {found.misfit}", markup=False, style="yellow", soft_wrap=True)
    baseline = recipe.baseline.get(family)
    if baseline is not None:
        command = f"vlmprof run MODEL --baseline {baseline.name} --ab {recipe.number}"
        console.print(f"  the old behaviour, {baseline.title}: {command}", soft_wrap=True)


def _short(path: str) -> str:
    from vlmprof.model.source_path import short_path

    return short_path(path)


def _command(recipe: "Recipe") -> str:
    from vlmprof.patching.registry import load_recipes, narrowed, with_needs

    recipes = load_recipes()
    served = next((family for family in recipe.standing if recipe.patches_for(family)), None)
    numbers = sorted(with_needs([recipe.number], narrowed(recipes, served) if served else recipes))
    return f"vlmprof run MODEL --ab {','.join(map(str, numbers))}"


def _document(recipe: "Recipe", families: list["Family"], installed: "InstalledSource") -> dict[str, Any]:
    return {
        "number": recipe.number,
        "slug": recipe.slug,
        "title": recipe.title,
        "paper": recipe.paper,
        "here": recipe.here,
        "exactness": recipe.exactness,
        "tolerance": recipe.tolerance,
        "switching": recipe.switching,
        "processes": list(recipe.processes),
        "needs": list(recipe.needs),
        "conflicts": list(recipe.conflicts),
        "command": _command(recipe),
        "families": {
            _FAMILY_NAMES[family.name]: _family_document(recipe, family, installed) for family in families
        },
    }


def _family_document(recipe: "Recipe", family: "Family", installed: "InstalledSource") -> dict[str, Any]:
    standing, found = recipe.standing.get(family), _availability(recipe, family, installed)
    baseline = recipe.baseline.get(family)
    return {
        "need": standing.need if standing else None,
        "where": standing.where if standing else "",
        "available": found.is_available,
        "misfit": found.misfit,
        "patches": [patch.target for patch in recipe.patches_for(family)],
        "baseline": baseline.name if baseline else "",
    }
