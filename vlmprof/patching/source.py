"""Functions as they stand in the files of an environment, found and fingerprinted without importing anything.

The environment may be another interpreter's, and importing an engine takes seconds and may start a GPU.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import sys
import textwrap
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_Definition = ast.FunctionDef | ast.AsyncFunctionDef

# Written by setuptools (command/editable_wheel.py) beside the .pth file that has them installed.
_EDITABLE_FINDERS = "__editable___*_finder.py"


@dataclass(frozen=True, slots=True)
class SourceFunction:
    """A function's parameter names, in order, and the fingerprint of its source."""

    file: Path
    line: int
    parameters: tuple[str, ...]
    fingerprint: str


class InstalledSource:
    """What the import path of an interpreter holds.

    Args:
        search_path: the interpreter's `sys.path`; None for this one's.
    """

    def __init__(self, search_path: Sequence[str] | None = None) -> None:
        self._is_own = search_path is None
        self._search_path = list(sys.path if search_path is None else search_path)
        self._versions: dict[str, str | None] = {}

    def version(self, distributions: Sequence[str]) -> tuple[str, str] | None:
        """Name and version of the first of several distributions that is installed."""
        for name in distributions:
            if name not in self._versions:
                found = importlib.metadata.distributions(name=name, path=self._search_path)
                self._versions[name] = next((each.version for each in found), None)
            version = self._versions[name]
            if version is not None:
                return name, version
        return None

    def function(self, target: str) -> SourceFunction | None:
        """The function or method `module:name` or `module:Class.name`, inherited ones included; None if absent.

        A class's bases are looked through from left to right, depth first, which is Python's order but for
        diamonds.
        """
        module, _, name = target.partition(":")
        return self._function(module, name.split("."))

    def _function(self, module: str, path: list[str]) -> SourceFunction | None:
        file = self._file(module)
        if file is None:
            return None
        tree, lines = _parsed(file)
        if len(path) == 1:
            definition = _last(tree.body, path[0], ast.FunctionDef, ast.AsyncFunctionDef)
            return _described(file, definition, lines) if definition else None
        owner = _last(tree.body, path[0], ast.ClassDef)
        if isinstance(owner, ast.ClassDef):
            return self._member(module, file, owner, path[1:])
        # Relative imports count from the package, which a package's own file is in.
        origin = _imported_from(tree, f"{module}.__init__" if file.stem == "__init__" else module, path[0])
        return self._function(origin[0], [origin[1], *path[1:]]) if origin else None

    def _member(self, module: str, file: Path, owner: ast.ClassDef, path: list[str]) -> SourceFunction | None:
        if len(path) > 1:
            inner = _last(owner.body, path[0], ast.ClassDef)
            return self._member(module, file, inner, path[1:]) if isinstance(inner, ast.ClassDef) else None
        definition = _last(owner.body, path[0], ast.FunctionDef, ast.AsyncFunctionDef)
        if definition is not None:
            return _described(file, definition, _parsed(file)[1])
        inherited = (self._function(module, [base, path[0]]) for base in _base_names(owner))
        return next(filter(None, inherited), None)

    def _file(self, module: str) -> Path | None:
        for place in self._places(module.split(".")):
            for candidate in (place / "__init__.py", place.with_suffix(".py")):
                if candidate.is_file():
                    return candidate
        return None

    def _places(self, parts: list[str]) -> Iterator[Path]:
        """Where a module may be, its suffix left out, in the order in which Python looks."""
        for entry in self._search_path:
            yield Path(entry).joinpath(*parts)
        # Packages of a namespace have entries of their own, which are longer.
        for length in range(len(parts), 0, -1):
            root = self._editable.get(".".join(parts[:length]))
            if root is not None:
                yield root.joinpath(*parts[length:])
        if self._is_own:
            for root in _found_by_finders(parts[0]):
                yield root.joinpath(*parts[1:])

    @functools.cached_property
    def _editable(self) -> Mapping[str, Path]:
        """Packages that setuptools installed as editable by a finder of theirs, which is not on the path."""
        finders = (each for entry in self._search_path for each in Path(entry).glob(_EDITABLE_FINDERS))
        return {name: Path(root) for finder in finders for name, root in _mapping_of(finder).items()}


def source_fingerprint(source: str) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a function's dedented source, decorators included."""
    return hashlib.sha256(textwrap.dedent(source).encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=64)
def _parsed(file: Path) -> tuple[ast.Module, list[str]]:
    # As `linecache` reads for `inspect`, which ends lines at line feeds alone, and the last line in any case.
    with tokenize.open(file) as opened:
        lines = opened.readlines()
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return ast.parse("".join(lines), str(file)), lines


def _found_by_finders(package: str) -> Iterator[Path]:
    """Where this interpreter's finders have a package or module of the top level; nothing is imported for it."""
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations is not None:
            yield from map(Path, spec.submodule_search_locations)
        elif spec is not None and spec.has_location and spec.origin:
            yield Path(spec.origin).with_suffix("")


def _mapping_of(finder: Path) -> Mapping[str, str]:
    """Package -> folder, or module -> file without its suffix; empty where the file says nothing of the kind."""
    with suppress(OSError, SyntaxError, ValueError):
        for statement in ast.parse(finder.read_bytes()).body:
            if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                if [ast.unparse(each) for each in targets] == ["MAPPING"]:
                    return dict(ast.literal_eval(statement.value))
    return {}


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a body and of the conditions in it, as `if TYPE_CHECKING` and `try: import`."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            yield from _statements([*statement.body, *statement.orelse])


def _last(body: Sequence[ast.stmt], name: str, *kinds: type[ast.stmt]) -> ast.stmt | None:
    found = [
        each for each in _statements(body) if isinstance(each, kinds) and getattr(each, "name", "") == name
    ]
    return found[-1] if found else None


def _base_names(owner: ast.ClassDef) -> Iterator[str]:
    """Names of the bases; `Base[T]` is `Base`."""
    for base in owner.bases:
        plain = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(plain, ast.Name):
            yield plain.id


def _imported_from(tree: ast.Module, module: str, name: str) -> tuple[str, str] | None:
    """Module and name that `from module import name` bound here."""
    for statement in _statements(tree.body):
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return _absolute(statement, module), alias.name
    return None


def _absolute(statement: ast.ImportFrom, module: str) -> str:
    if not statement.level:
        return statement.module or ""
    package = module.rsplit(".", statement.level)[0]
    return f"{package}.{statement.module}" if statement.module else package


def _described(file: Path, definition: ast.stmt, lines: list[str]) -> SourceFunction:
    assert isinstance(definition, _Definition)
    first = min([definition.lineno, *(decorator.lineno for decorator in definition.decorator_list)])
    # The very function that inspect.getsource ends a block with: comments after the last statement count too.
    source = "".join(inspect.getblock(lines[first - 1 :]))
    named = definition.args
    parameters = [*named.posonlyargs, *named.args, *filter(None, [named.vararg])]
    parameters += [*named.kwonlyargs, *filter(None, [named.kwarg])]
    return SourceFunction(
        file, definition.lineno, tuple(each.arg for each in parameters), source_fingerprint(source)
    )
