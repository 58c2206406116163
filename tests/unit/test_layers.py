"""The layers: imports point down, the agent stays light, and only the command line prints or exits."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_PACKAGE = _ROOT / "vlmprof"
_LAYERS = (
    ("errors", "units", "lifetime"),
    ("model",),
    # Standard library alone, and nothing of this package: others may build on it.
    ("agent",),
    ("patching",),
    ("analysis",),
    ("read", "export"),
    ("workload", "collect", "engines", "models"),
    ("plugin",),
    ("session",),
    ("cli",),
)
_RANK = {name: rank for rank, names in enumerate(_LAYERS) for name in names}
_MODULES = sorted(_PACKAGE.rglob("*.py"))
_HEAVY = ("numpy", "pandas", "pyarrow", "numba", "torch", "plotly", "httpx", "transformers")
# Of the agent, only these modules run in the profiler's own process.
_PROFILER_SIDE = {"control.py", "standing.py"}
# The bindings of NVTX: whichever the engine's environment has, asked for when ranges are wanted.
_LAZY_IN_AGENT = {"nvtx", "torch"}


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _imports(tree: ast.AST) -> Iterator[str]:
    """Absolute names of all that is imported, inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from names if node.module == "vlmprof" else [node.module]


def _layer(path: Path) -> str:
    """`vlmprof/agent/wrap.py` is of `agent`, `vlmprof/units.py` of `units`; the package itself of none."""
    part = path.relative_to(_PACKAGE).parts[0].removesuffix(".py")
    return "" if part == "__init__" else part


def _label(path: Path) -> str:
    return str(path.relative_to(_ROOT))


@pytest.mark.parametrize("path", _MODULES, ids=_label)
def test_imports_point_down_and_siblings_do_not_meet(path: Path) -> None:
    """session (6) may import collect (5); collect may import neither session nor agent, which is its sibling."""
    own = _layer(path)
    wrong = []
    for name in _imports(_parsed(path)):
        package, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if package == "vlmprof" and other in _RANK and other != own and _RANK[other] >= _RANK.get(own, -1):
            wrong.append(name)
    assert wrong == []


def test_every_module_belongs_to_a_layer() -> None:
    """A new folder has to be given its place in the order, or the test above would not see it."""
    assert {_layer(path) for path in _MODULES} - {""} <= set(_RANK)


@pytest.mark.parametrize("path", _MODULES, ids=_label)
def test_the_package_knows_neither_recipes_nor_reports(path: Path) -> None:
    """Both come through entry points, so that other people's packages can add theirs; plotly comes with reports."""
    packages = {name.partition(".")[0] for name in _imports(_parsed(path))}
    assert packages.isdisjoint({"vlmprof_recipes", "vlmprof_reports", "plotly"})


@pytest.mark.parametrize("path", sorted((_PACKAGE / "agent").rglob("*.py")), ids=_label)
def test_the_agent_imports_the_standard_library_alone(path: Path) -> None:
    """It is loaded into the engine's environment under another name: absolute imports of its own would fail."""
    tree = _parsed(path)
    foreign = {name.partition(".")[0] for name in _imports(tree)} - set(sys.stdlib_module_names)
    lazy = foreign & _LAZY_IN_AGENT
    assert foreign - _LAZY_IN_AGENT == set()
    assert lazy.isdisjoint(name.partition(".")[0] for node in tree.body for name in _imports_at_top(node))


def _imports_at_top(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from _imports(node)


@pytest.mark.parametrize(
    "path",
    [path for path in (_PACKAGE / "agent").glob("*.py") if path.name not in _PROFILER_SIDE],
    ids=_label,
)
def test_served_modules_of_the_agent_do_not_need_the_profiler_side(path: Path) -> None:
    """control.py creates folders and waits: nothing that a served process should load."""
    siblings = {
        node.module
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.ImportFrom) and node.level and node.module
    }
    assert siblings.isdisjoint(name.removesuffix(".py") for name in _PROFILER_SIDE)


def _exits(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "exit", "quit", "os._exit"):
            yield ast.unparse(node)
        if isinstance(node, ast.Raise) and node.exc is not None and "SystemExit" in ast.unparse(node.exc):
            yield ast.unparse(node)


@pytest.mark.parametrize("path", [path for path in _MODULES if _layer(path) != "cli"], ids=_label)
def test_only_the_command_line_exits(path: Path) -> None:
    """Everything else raises a VlmprofError, which a program that imports vlmprof can catch."""
    assert list(_exits(_parsed(path))) == []


def _loaded_by(program: str) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded after a program; its own output is left out."""
    ask = f"import json, sys\n{program}\nprint(json.dumps(sorted(set(sys.modules) & set({_HEAVY!r}))))"
    run = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, cwd=_ROOT)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_help_loads_nothing_heavy() -> None:
    """numba alone takes a second to import: a person who asks for help must not wait for it."""
    program = (
        "from vlmprof.cli.main import app\n"
        "for arguments in (['--help'], ['run', '--help'], ['report', '--help'], ['doctor', '--help'],\n"
        "                  ['models', '--help']):\n"
        "    app(arguments, standalone_mode=False)\n"
    )
    assert _loaded_by(program) == set()


def test_the_agent_loads_nothing_heavy() -> None:
    """The profiler's side of the agent is light too: it is standard library throughout."""
    assert _loaded_by("import vlmprof.agent.control") == set()
